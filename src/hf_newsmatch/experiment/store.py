"""The record on disk: read, changed under a lock, and found again when its folder was moved."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..data.corpus import TEST_ARGUMENTS
from ..data.fingerprints import Fingerprints, fingerprint_digest, read_fingerprints, write_fingerprints
from ..errors import NewsMatchError
from .inputs import find_moved
from .layout import Layout
from .record import DataRecord, Record

# Changes take milliseconds, on a slow network file system seconds.
_PATIENCE = 60.0
# The helpers of a process that was killed hold its lock for a few seconds more.
_TRAINING_PATIENCE = 8.0


class RecordStore:
    """A record and its file.

    Several processes may work in one folder: each changes the record under a lock, on top of what the others wrote.

    Args:
        output_dir (`str` or `Path`):
            The folder of an experiment.
        record ([`Record`]):
            The content of its `newsmatch.json`.

    Attributes:
        layout ([`Layout`]):
            The paths inside the folder.
    """

    def __init__(self, output_dir: str | Path, record: Record):
        self.output_dir = Path(output_dir)
        self.layout = Layout(self.output_dir)
        self.record = record
        self._lock = FileLock(self.layout.lock, timeout=_PATIENCE)
        self._new_pictures: Mapping[str, Fingerprints] | None = None

    @classmethod
    def read(cls, output_dir: str | Path) -> Record:
        """The record in a folder, its paths inside the folder as they are now, wherever that was moved to."""
        layout = Layout(Path(output_dir))
        record = Record.load(layout.record)
        find_moved(record, layout.root.absolute())
        return record

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock on the folder for a change of several files; it may be held already.

        Raises:
            [`NewsMatchError`]: when another process does not let go of it.
        """
        self.output_dir.mkdir(parents=True, exist_ok=True)
        with _held(self._lock, f"Another process has been changing {self.output_dir} for a minute; stop it or wait."):
            yield

    def update(self, change: Callable[[Record], None], split: str | None = None) -> None:
        """Change the record as it is now, with all that other processes have written meanwhile.

        Args:
            change (`Callable[[Record], None]`):
                Changes the record in place, and moves what it records to its place. It is called under the lock, and
                when it raises, nothing is written.
            split (`str`, *optional*):
                The split that the change is about.

        Raises:
            [`NewsMatchError`]: when the experiment was started anew, or the test list replaced, since it was opened.
        """
        with self.locked():
            record = self.read(self.output_dir) if self.layout.record.is_file() else self.record
            self._check_same(record, split)
            change(record)
            self.record = record
            self.save()

    def save(self) -> None:
        """Write the record of a new experiment, atomically; whatever is there is replaced."""
        with self.locked():
            if self._new_pictures is not None:
                write_fingerprints(self._new_pictures, self.layout.pictures)
                self._new_pictures = None
            self.record.folder = str(self.output_dir.absolute())
            self.record.save(self.layout.record)

    def known_pictures(self) -> dict[str, Fingerprints]:
        """The recorded fingerprints of the pictures of each list; those that cannot be read are left out."""
        lists = self._new_pictures if self._new_pictures is not None else read_fingerprints(self.layout.pictures)
        return {
            name: lists[name]
            for name, facts in self.record.data.pictures.items()
            if name in lists and fingerprint_digest(lists[name]) == facts.sha256
        }

    def _check_same(self, record: Record, split: str | None) -> None:
        before, now = self.record.data, record.data
        if self.record.base_model != record.base_model or trained_on(before) != trained_on(now):
            raise NewsMatchError(f"{self.output_dir} was started anew while this ran; run it again.")
        if split == "test" and (before.arguments, before.files) != (now.arguments, now.files):
            raise NewsMatchError(f"The test list of {self.output_dir} was replaced while this ran; run it again.")


@contextmanager
def only_training(output_dir: str | Path, is_first: bool = True) -> Iterator[None]:
    """Let no other training run in a folder for as long as the block lasts.

    Args:
        output_dir (`str` or `Path`):
            The folder of an experiment.
        is_first (`bool`, *optional*, defaults to `True`):
            Whether this is the process that speaks for those that were launched with it.

    Raises:
        [`NewsMatchError`]: when another training runs there.
    """
    if not is_first:
        yield
        return
    layout = Layout(Path(output_dir))
    layout.root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(layout.training_lock, timeout=_TRAINING_PATIENCE)
    with _held(lock, f"Another training runs in {output_dir}; wait for its end, or name another --output_dir."):
        yield


@contextmanager
def _held(lock: FileLock, sentence: str) -> Iterator[None]:
    try:
        lock.acquire()
    except Timeout as error:
        raise NewsMatchError(sentence) from error
    try:
        yield
    finally:
        if lock.lock_counter == 1:
            # nothing stays in the folder; a process that waits for this file notices, and makes another
            with suppress(OSError):
                os.unlink(lock.lock_file)
        lock.release()


def trained_on(data: DataRecord) -> tuple[object, ...]:
    """What a training depends on: all but the test list, which may come later."""
    without: dict[str, Any] = dict.fromkeys(TEST_ARGUMENTS)
    arguments = dataclasses.replace(data.arguments, **without)
    files = {name: file.sha256 for name, file in data.files.items() if name not in TEST_ARGUMENTS}
    return arguments, files
