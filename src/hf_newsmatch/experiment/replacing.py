"""Setting aside what a finished training left until the one that replaces it is finished, too."""

import os
import shutil
from pathlib import Path

from ..utils.files import atomic_path
from .layout import Layout
from .record import Record

# Where the artefacts that `--overwrite` is to replace wait, inside the experiment's folder.
REPLACED = ".replaced"
# A file among them from when all are there until the first is put back: without it, moving them was interrupted.
_COMPLETE = ".complete"


def is_replacing(layout: Layout) -> bool:
    """Whether a training that replaces a finished one has begun here and has not ended."""
    if not (layout.root / REPLACED).is_dir():
        return False
    return not layout.model("fine_tuned").exists() or was_interrupted(layout)


def was_interrupted(layout: Layout) -> bool:
    """Whether a process was stopped after it wrote the fine-tuned model and before it recorded it."""
    return layout.model("fine_tuned").exists() and layout.record.is_file() and Record.load(layout.record).train is None


def set_aside(layout: Layout) -> None:
    """Move the record and all that steps have made out of the way, without removing anything.

    What an interrupted attempt has left where the finished artefacts are aside already is not moved over them.
    """
    if is_replacing(layout):
        return
    folder = layout.root / REPLACED
    discard(layout)
    folder.mkdir()
    for file in (layout.record, layout.pictures):
        if file.exists():
            with atomic_path(folder / file.name) as temporary:
                shutil.copyfile(file, temporary)
    # the fine-tuned model first: once it is aside, this is a replacement that has begun
    for path in sorted(layout.derived(), key=lambda path: path != layout.model("fine_tuned")):
        os.replace(path, folder / path.name)
    (folder / _COMPLETE).touch()


def put_back(layout: Layout) -> None:
    """Move everything back to where it was, in place of what an attempt to replace it has left."""
    folder = layout.root / REPLACED
    if not folder.is_dir():
        return
    for path in list(layout.derived()):
        _remove(path)
    (folder / _COMPLETE).unlink(missing_ok=True)
    _move_back(layout)


def finish_moving(layout: Layout) -> None:
    """Put back what a process was stopped over while it set it aside or put it back itself."""
    folder = layout.root / REPLACED
    if is_replacing(layout) and not (folder / _COMPLETE).exists():
        _move_back(layout)


def _move_back(layout: Layout) -> None:
    folder = layout.root / REPLACED
    # the fine-tuned model last: until then, this is still a replacement
    for path in sorted(folder.iterdir(), key=lambda path: path.name == layout.model("fine_tuned").name):
        os.replace(path, layout.root / path.name)
    folder.rmdir()


def discard(layout: Layout) -> None:
    """Remove what was set aside; its successor is complete."""
    shutil.rmtree(layout.root / REPLACED, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
