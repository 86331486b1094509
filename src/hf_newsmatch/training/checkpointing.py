"""The checkpoints of a training: which ones it can resume from, and how one appears complete or not at all."""

import dataclasses
import json
import logging
import os
import shutil
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, sort_checkpoints

from ..errors import explain, first_sentence
from ..utils.files import write_json

# What a checkpoint says of where it comes from: the record of its experiment as it was when the training began.
ORIGIN_NAME = "newsmatch.json"
# The losses since the last entry of the log, which a resumed training must count in.
UNLOGGED_NAME = "unlogged.json"

logger = logging.getLogger(__name__)

# By these, an error of PyTorch is one of writing a file; its last words about a full disk differ with the place.
_WRITERS = ("PytorchStreamWriter", "inline_container", "unexpected pos")
# The folder where a checkpoint is written until it is complete. What a killed process leaves here is never resumed.
UNFINISHED = ".unfinished"


def last_checkpoint(output_dir: str | Path) -> Path | None:
    """The checkpoint of the latest step that a training can resume from; `None` when there is none.

    Damaged ones, from a failing disk for example, are passed over with a warning.
    """
    for folder in reversed(sort_checkpoints(str(output_dir), PREFIX_CHECKPOINT_DIR, use_mtime=False)):
        defect = checkpoint_defect(folder)
        if defect is None:
            return Path(folder)
        logger.warning("%s is passed over, it is not complete: %s.", folder, defect)
    return None


def checkpoint_defect(folder: str | Path) -> str | None:
    """The reason why a training cannot resume from a folder; `None` when it can."""
    folder = Path(folder)
    try:
        json.loads((folder / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return f"{TRAINER_STATE_NAME} cannot be read"
    weights = list(folder.glob("*.safetensors"))
    for file in weights:
        try:
            with safe_open(file, framework="pt"):
                pass
        except (OSError, SafetensorError):
            return f"{file.name} is damaged"
    if not weights:
        return "it holds no weights in safetensors"
    for name in (OPTIMIZER_NAME, SCHEDULER_NAME, "rng_state*.pth"):
        # DeepSpeed keeps its optimizer's state in a folder of its own
        if not list(folder.glob(name)) and not list(folder.glob("global_step*")):
            return f"there is no {name} in it"
    return None


@dataclass
class Unlogged:
    """What a training has counted since the last entry of its log, the means of all processes.

    Args:
        loss (`float`): The sum of the losses of the steps since then.
        since (`int`): The step of that entry.
        total (`float`): The sum of the losses before it.
        epoch_time (`float`): The seconds of the epoch so far.
        epoch (`int`, *optional*): The pass over the data that goes on, from 0.
        batches (`int`, *optional*): Its batches so far; of a stream, the steps alone do not tell.
    """

    loss: float
    since: int
    total: float
    epoch_time: float
    epoch: int | None = None
    batches: int | None = None

    def write(self, folder: Path) -> None:
        """Write it into a checkpoint."""
        write_json(dataclasses.asdict(self), folder / UNLOGGED_NAME)

    @classmethod
    def read(cls, folder: str | Path) -> "Unlogged | None":
        """That of a checkpoint; `None` for one of an older version."""
        try:
            values = json.loads((Path(folder) / UNLOGGED_NAME).read_text(encoding="utf-8"))
            place = values.get("epoch"), values.get("batches")
            return cls(
                float(values["loss"]), int(values["since"]), float(values["total"]), values["epoch_time"], *place
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None


def find_best_checkpoint(checkpoint: Path) -> None:
    """Let a checkpoint know where the best one is after their folder was moved: else the last epoch would be kept."""
    file = checkpoint / TRAINER_STATE_NAME
    state = json.loads(file.read_text(encoding="utf-8"))
    best = state.get("best_model_checkpoint")
    if not best:
        return
    moved = checkpoint.parent / Path(best).name
    if str(moved) != best and moved.is_dir():
        write_json({**state, "best_model_checkpoint": str(moved)}, file)


def publish(unfinished: Path, checkpoint: Path) -> None:
    """Move a completely written checkpoint to its place. One process at a time may call it."""
    if not unfinished.exists():  # another machine on the same file system has done it
        return
    replaced = unfinished.with_name("replaced")
    if checkpoint.exists():  # saved at the same step before
        os.replace(checkpoint, replaced)
    os.replace(unfinished, checkpoint)
    shutil.rmtree(replaced, ignore_errors=True)
    with suppress(OSError):  # another process may still write its files
        unfinished.parent.rmdir()


def explained_writing(folder: str | Path) -> AbstractContextManager[None]:
    """A context that turns the error of a disk into one sentence, and removes the unfinished checkpoint."""

    def sentence(error: Exception) -> str | None:
        # PyTorch reports a full disk as a RuntimeError of its writer; its other errors are not about the disk
        if isinstance(error, RuntimeError) and not any(name in str(error) for name in _WRITERS):
            return None
        shutil.rmtree(Path(folder) / UNFINISHED, ignore_errors=True)
        before = last_checkpoint(folder)
        remedy = f"the same command goes on from {before}" if before else "the same command starts again"
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_sentence(error)
        if isinstance(error, RuntimeError):  # which names a line of PyTorch's
            reason = "the disk is full or a file too large"
        return f"A checkpoint could not be written to {folder} ({reason}): make room there, then {remedy}."

    return explain(OSError, SafetensorError, RuntimeError, sentence=sentence)
