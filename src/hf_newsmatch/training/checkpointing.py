"""The checkpoints of a training: which ones it can resume from, and how one appears complete or not at all."""

import json
import logging
import os
import shutil
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, sort_checkpoints

from ..errors import explain, first_sentence
from ..utils.files import write_json

logger = logging.getLogger(__name__)

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


def find_best_checkpoint(checkpoint: Path, output_dir: Path) -> None:
    """Let a checkpoint know where the best one is after the folder was moved: else the last epoch's would be kept."""
    file = checkpoint / TRAINER_STATE_NAME
    state = json.loads(file.read_text(encoding="utf-8"))
    best = state.get("best_model_checkpoint")
    if not best:
        return
    moved = output_dir / Path(best).name
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
        if isinstance(error, RuntimeError) and "PytorchStreamWriter" not in str(error):
            return None
        shutil.rmtree(Path(folder) / UNFINISHED, ignore_errors=True)
        before = last_checkpoint(folder)
        remedy = f"the same command goes on from {before}" if before else "the same command starts again"
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_sentence(error)
        return f"A checkpoint could not be written to {folder} ({reason}): make room there, then {remedy}."

    return explain(OSError, SafetensorError, RuntimeError, sentence=sentence)
