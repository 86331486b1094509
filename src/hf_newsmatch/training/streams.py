"""Training pairs that come as a stream: whole steps of it, the same for any number of processes."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from datasets import IterableDataset as DatasetsIterableDataset
from torch.utils.data import IterableDataset, get_worker_info

from ..errors import NewsMatchError
from .arguments import ContrastiveTrainingArguments


class PairStream(IterableDataset):
    """The rows of a stream, as far as they fill steps of the optimizer with `drop_last`.

    `Trainer` ends a pass over a stream wherever that ends: with a batch of one pair, with repeated pairs where there
    are several processes, or in the midst of accumulating gradients.

    Args:
        rows (`torch.utils.data.IterableDataset`):
            The stream; each process reads all of it and takes its slice of each batch.
        step_size (`int`):
            Pairs of one step, of all its batches and of all processes.
        drop_last (`bool`):
            Whether rows that do not fill a step are left out.
    """

    def __init__(self, rows: Any, step_size: int, drop_last: bool):
        self.rows, self.step_size, self.drop_last = rows, step_size, drop_last
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass over the stream that begins next."""
        self.epoch = epoch
        if callable(getattr(self.rows, "set_epoch", None)):
            self.rows.set_epoch(epoch)

    def __len__(self) -> int:
        # of a stream that has none, a TypeError as everywhere
        return len(self.rows) // self.step_size * self.step_size if self.drop_last else len(self.rows)

    def __iter__(self) -> Iterator[Any]:
        generator = getattr(self.rows, "generator", None)
        if isinstance(generator, torch.Generator) and not hasattr(self.rows, "set_epoch"):
            generator.manual_seed(self.epoch)  # as accelerate does, so that all processes draw the same
        rows, count, last = iter(self.rows), 0, []
        while len(step := list(islice(rows, self.step_size))) == self.step_size:
            count += 1
            yield from step
        last = step
        if last and not self.drop_last:
            yield from last
        elif not count and not self._is_a_part():
            raise NewsMatchError(
                f"The stream of training data gives {len(last)} pairs and one step takes {self.step_size}; give more"
                " data, or a smaller per_device_train_batch_size or gradient_accumulation_steps."
            )

    def _is_a_part(self) -> bool:
        """Whether these are the rows of one of several workers, of which some may have none."""
        return get_worker_info() is not None and isinstance(self.rows, DatasetsIterableDataset)


def prepare_streams(train_dataset: Any, eval_dataset: Any, args: ContrastiveTrainingArguments) -> None:
    """Let every process read a stream by itself: one that reads for all cannot cut batches of texts into slices.

    Raises:
        [`NewsMatchError`]: on validation data that are a stream with several processes, whose last batch would be
            filled up with pairs that count twice.
    """
    sets = list(eval_dataset.values()) if isinstance(eval_dataset, dict) else [eval_dataset]
    if args.world_size > 1 and any(isinstance(rows, IterableDataset) for rows in sets):
        raise NewsMatchError(
            f"A stream cannot be validation data of {args.world_size} processes; give a datasets.Dataset, such as"
            " Dataset.from_list(list(stream))."
        )
    if isinstance(train_dataset, IterableDataset):
        args.accelerator_config.dispatch_batches = False
