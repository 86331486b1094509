"""Files that appear whole or not at all, and what identifies them."""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Give a path beside `target` to write to, and rename it to `target` when the block ends without an error.

    What the block makes there may be a file or a folder; an existing `target` is replaced. On an error, nothing stays.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        temporary = Path(folder) / target.name
        yield temporary
        aside = Path(folder) / "replaced"
        if temporary.is_dir() and target.exists():
            # a folder cannot be renamed over a full one: the old one steps aside first
            os.rename(target, aside)
        try:
            os.replace(temporary, target)
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


def sha256(file: str | Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
