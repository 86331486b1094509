"""The order of the training pairs: batches without the same picture or the same text twice."""

from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler


def set_sampler_epoch(dataloader: Any, epoch: int) -> None:
    """Choose the epoch of the sampler inside a data loader, through all that is wrapped around it.

    Args:
        dataloader (`torch.utils.data.DataLoader`):
            A loader, or what accelerate makes of one.
        epoch (`int`):
            The epoch whose order is drawn next.
    """
    seen: set[int] = set()
    waiting = [dataloader]
    while waiting:
        item = waiting.pop()
        if item is None or id(item) in seen:
            continue
        seen.add(id(item))
        if item is not dataloader and callable(getattr(item, "set_epoch", None)):
            item.set_epoch(epoch)
        waiting += [getattr(item, name, None) for name in ("base_dataloader", "batch_sampler", "sampler")]


class DistinctBatchSampler(Sampler[int]):
    """A random order of rows in which each run of `batch_size` rows has no picture and no text twice.

    A pair whose picture or text is already in the batch waits for a later one. Such pairs share a batch only when no
    others are left, at the end of an epoch or with a picture of more rows than there are batches;
    [`contrastive_loss`] does not count them as negatives. The order depends on the seed and the epoch alone, so every
    process draws the same order and takes its slices of it.

    Args:
        image_ids (`Sequence[Hashable]`):
            The picture of each row.
        texts (`Sequence[Hashable]`):
            The text of each row.
        batch_size (`int`):
            Pairs of one loss, of all processes together.
        seed (`int`, *optional*, defaults to 0):
            The seed of the order.
    """

    def __init__(
        self, image_ids: Sequence[Hashable], texts: Sequence[Hashable], batch_size: int, seed: int = 0
    ) -> None:
        self.keys = list(zip(image_ids, texts))
        self.batch_size, self.seed, self.epoch = batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is drawn next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        fresh = deque(torch.randperm(len(self.keys), generator=generator).tolist())
        waiting: deque[int] = deque()
        while fresh or waiting:
            batch: list[int] = []
            images, texts = set(), set()
            passed: deque[int] = deque()
            # pairs that waited come first; each is considered once
            for queue in (waiting, fresh):
                while queue and len(batch) < self.batch_size:
                    row = queue.popleft()
                    image, text = self.keys[row]
                    if image in images or text in texts:
                        passed.append(row)
                    else:
                        batch.append(row)
                        images.add(image)
                        texts.add(text)
            while passed and not fresh and not waiting and len(batch) < self.batch_size:
                batch.append(passed.popleft())
            waiting.extendleft(reversed(passed))
            yield from batch
