"""Arrow files of a cache beside the hashes of their content: what is damaged or unreadable is made again."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from ..utils.files import atomic_path, sha256

logger = logging.getLogger(__name__)


def usable_folder(folder: Path) -> Path:
    """A folder of cached files of which none is damaged: the given one, or one of this user's own.

    A file whose hash is not the noted one is removed, so that it is made again. Where that cannot be done, since the
    files are another user's and this one may not read or replace them, a folder beside is used.

    Args:
        folder (`Path`):
            The folder, which need not exist.
    """
    if not folder.is_dir():
        return folder
    try:
        remove_damaged(folder.glob("*.arrow"))
        if os.access(folder, os.W_OK) or len(list(folder.glob("*.sha256"))) > 1:
            return folder
    except OSError as error:
        logger.debug("The cache %s cannot be used: %s.", folder, error)
    own = folder.with_name(f"{folder.name}-{getattr(os, 'getuid', lambda: 'own')()}")
    if own.is_dir():
        remove_damaged(own.glob("*.arrow"))
    return own


def remove_damaged(files: Iterable[Path]) -> None:
    """Remove those of the files whose content is not as it was when its hash was noted.

    Args:
        files (`Iterable[Path]`):
            Arrow files; those without a noted hash must be sound by themselves.

    Raises:
        `OSError`: when a damaged file cannot be removed.
    """
    for file in list(files):
        if not _is_sound(file):
            logger.warning("The cache file %s is damaged or cannot be read; it is made again.", file)
            file.unlink(missing_ok=True)
            _note(file).unlink(missing_ok=True)


def note_hash(file: Path, content: Path | None = None) -> None:
    """Note the hash of a file beside it, unless it is noted.

    Args:
        file (`Path`):
            The file.
        content (`Path`, *optional*):
            The file under its temporary name, while it is not there yet.
    """
    if content is None and _note(file).is_file():
        return
    with atomic_path(_note(file)) as temporary:
        temporary.write_text(sha256(content or file))


def _note(file: Path) -> Path:
    return file.with_name(f"{file.name}.sha256")


def _is_sound(file: Path) -> bool:
    try:
        if _note(file).is_file():
            return _note(file).read_text().strip() == sha256(file)
        with pa.memory_map(str(file)) as stream:
            # the file of a process that was stopped before it noted the hash, or has not done so yet
            pa.ipc.open_stream(stream).read_all().validate(full=True)
    except (OSError, ValueError, pa.ArrowException):
        return False
    return True
