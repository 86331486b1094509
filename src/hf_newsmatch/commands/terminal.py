"""The console and the logging of the commands, and the cores that they use."""

import logging
import os
from typing import TYPE_CHECKING

from ..utils.machine import usable_cores

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 100  # columns that the table of runs needs with its intervals


def make_console() -> "Console":
    """The terminal, or, in a pipe or a log, one as wide as our tables."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, WIDTH))


def set_up_logging() -> None:
    """Log to the terminal, with the time, and keep the bars of loading and saving single files out of it."""
    from huggingface_hub.utils.logging import disable_propagation
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    disable_propagation()  # it prints its warnings itself: they would appear twice
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    first = int(os.environ.get("RANK", "0")) == 0
    logging.getLogger("hf_newsmatch").setLevel(logging.INFO if first else logging.ERROR)


def use_all_cores() -> None:
    """Undo the single thread that `accelerate launch` gives a process by default.

    It sets `OMP_NUM_THREADS=1` unless the user set it, which halves the speed of one process on two cores. Only a
    launcher's value is overridden, never one in a process that was started directly.
    """
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ
    if launched and os.environ.get("OMP_NUM_THREADS") == "1" and int(os.environ.get("WORLD_SIZE", "1")) == 1:
        import torch

        torch.set_num_threads(usable_cores())
