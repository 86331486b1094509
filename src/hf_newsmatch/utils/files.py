"""Files that appear whole or not at all, and what identifies them."""

import glob
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import NewsMatchError

# What a temporary folder may hold: anything else is somebody's own and stays.
_LOCK, _ASIDE = ".lock", "replaced"
_RANDOM = re.compile(r"[a-z0-9_]{8}")  # as `tempfile` names its folders
# A file that changed so lately may change again within the same tick of its file system's clock.
_TICK = 100_000_000


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Give a path beside `target` to write to, and rename it to `target` when the block ends without an error.

    What the block makes there may be a file or a folder; an existing `target` is replaced. On an error, nothing stays;
    what a process that was killed left here is removed.
    """
    target = Path(target)
    with temporary_folder(target.parent, target.name) as folder:
        temporary = folder / target.name
        yield temporary
        replace(temporary, target)


@contextmanager
def temporary_folder(parent: str | Path, name: str) -> Iterator[Path]:
    """A folder inside `parent` for the work on `name` that goes when the block ends.

    Those that killed processes have left of the same work are removed first; a lock that ends with its process tells
    them from those of processes that still run.
    """
    parent = Path(parent)
    parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(parent, name)
    while True:
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=parent, ignore_cleanup_errors=True) as folder:
            lock = FileLock(Path(folder) / _LOCK)
            try:
                lock.acquire()
                mine = os.path.exists(lock.lock_file)
            except FileNotFoundError:
                mine = False
            if not mine:  # another process has taken it for left before it was locked
                lock.release()
                continue
            try:
                yield Path(folder)
            finally:
                lock.release()
            return


def remove_leftovers(parent: str | Path, name: str) -> None:
    """Remove the temporary folders that killed processes have left of their work on `name`."""
    for folder in Path(parent).glob(f".{glob.escape(name)}.*"):
        if not _is_temporary(folder, name) or folder.is_symlink() or not folder.is_dir():
            continue
        with suppress(OSError, Timeout):
            # work on the same name may be nested
            if all(path.name in (_LOCK, _ASIDE, name) or _is_temporary(path, name) for path in folder.iterdir()):
                with FileLock(folder / _LOCK, timeout=0):
                    aside, target = folder / _ASIDE, Path(parent) / name
                    if aside.exists() and not target.exists():
                        # killed between the two renames of `replace`: the old one is the only one that is known
                        os.rename(aside, target)
                    shutil.rmtree(folder, ignore_errors=True)


def _is_temporary(path: Path, name: str) -> bool:
    return path.name.startswith(f".{name}.") and bool(_RANDOM.fullmatch(path.name.removeprefix(f".{name}.")))


def replace(made: Path, target: Path) -> None:
    """Put a file or folder from inside a [`temporary_folder`] in the place of `target`."""
    aside = made.parent / _ASIDE
    if made.is_dir() and target.exists():
        # a folder cannot be renamed over a full one: the old one steps aside first
        os.rename(target, aside)
    try:
        os.replace(made, target)
    except OSError:
        if aside.exists():
            os.rename(aside, target)
        raise


def write_json(data: Any, file: str | Path) -> Path:
    """Write `data` as indented JSON, atomically; numbers that JSON does not have (NaN, infinity) become null."""
    text = json.dumps(_without_nan(data), indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_path(file) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return Path(file)


def _without_nan(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: _without_nan(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_without_nan(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


_digests: dict[tuple[int, ...], str] = {}


def sha256(file: str | Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal.

    It is kept in this process for as long as the file's device, inode, size and times stay what they are.
    """
    with open(file, "rb") as stream:
        key = _identity(os.fstat(stream.fileno()))
        if key not in _digests:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            after = os.fstat(stream.fileno())
            if _identity(after) != key or time.time_ns() - max(after.st_mtime_ns, after.st_ctime_ns) < _TICK:
                return digest
            _digests[key] = digest
        return _digests[key]


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def check_regular(file: str | Path) -> None:
    """Refuse a pipe, a device or a socket, which could be waited for, or read, without an end.

    Raises:
        [`NewsMatchError`]: when it is one; what is missing, or a folder, is for the caller to name.
    """
    if os.path.exists(file) and not (os.path.isfile(file) or os.path.isdir(file)):
        raise NewsMatchError(f"{file} is a pipe or a device; save what it gives as a file, and name that.")


def is_file_name(name: str) -> bool:
    """Whether a name from another's data stands for a file inside a folder and leads nowhere else."""
    return bool(name) and name not in (".", "..") and not set(name) & {"/", "\\", "\0", ":"} and name.isprintable()
