"""The processes of `accelerate launch` or `torchrun`, which share the sentences."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ..models.loading import best_device


class Processes:
    """The processes that were launched together, or this one alone.

    Args:
        share (`bool`, *optional*, defaults to `True`):
            Whether they share the work; otherwise each does all of it.
    """

    def __init__(self, share: bool = True):
        self._state = None
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from accelerate import PartialState

            self._state = PartialState()
        self._sharing = self._state if share else None

    @property
    def first(self) -> bool:
        """Whether this process is the first, which reports."""
        return self._state is None or self._state.is_main_process

    def close(self) -> None:
        """Leave the process group, after which no other method may be called."""
        if self._state is not None:
            self._state.destroy_process_group()

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return best_device() if self._state is None else self._state.device

    def translate(
        self, sentences: Sequence[str], translate: Callable[[Sequence[str]], dict[str, Any]]
    ) -> dict[str, Any]:
        """Let each process translate its share, and give all of them all results, in order."""
        if self._sharing is None:
            return translate(sentences)
        from accelerate.utils import gather_object

        # dealt out by length, so that the shares take the same time; the order is the same in every process
        ordered = sorted(sentences, key=lambda sentence: (len(sentence), sentence))
        own = translate(ordered[self._sharing.process_index :: self._sharing.num_processes])
        results = {sentence: result for share in gather_object([own]) for sentence, result in share.items()}
        return {sentence: results[sentence] for sentence in sentences}


@contextmanager
def launched_together() -> Iterator[bool]:
    """Tell a command whether its process is the first of those launched together, and end them together.

    If the process group were not closed, a process could end while another still waits for it.
    """
    processes = Processes()
    try:
        yield processes.first
    finally:
        processes.close()
