"""The cache of translations by content: a sqlite table that any number of processes share."""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import datasets
from filelock import FileLock

from ..errors import explain

_AT_ONCE = 500  # keys a query, below sqlite's limit on parameters


class Generated(NamedTuple):
    """The model's output for a sentence, and its problem if it cannot be a translation."""

    text: str
    problem: str | None


class TranslationCache:
    """A table from sentence, model and settings to translation.

    Every [`put`] is a transaction: a process that is killed between two loses nothing of the first. Write-ahead
    logging lets other processes read and write meanwhile.

    Args:
        settings (`Mapping[str, Any]`):
            All settings that the output depends on beside the sentence. Every key contains them.
        file (`str` or `Path`, *optional*):
            The sqlite file; by default one in the folder where `datasets` caches.
    """

    def __init__(self, settings: Mapping[str, Any], file: str | Path | None = None):
        self.file = (
            Path(file) if file else Path(datasets.config.HF_DATASETS_CACHE) / "newsmatch" / "translations.sqlite"
        )
        self._prefix = json.dumps(settings, sort_keys=True, ensure_ascii=False, default=str).encode()
        self._connection: sqlite3.Connection | None = None
        self._pid: int | None = None

    @property
    def identity(self) -> str:
        """The SHA-256 of the settings."""
        return hashlib.sha256(self._prefix).hexdigest()

    def key(self, sentence: str) -> bytes:
        """The key of a sentence."""
        return hashlib.sha256(self._prefix + b"\0" + sentence.encode("utf-8", "surrogatepass")).digest()

    def get(self, sentences: Iterable[str]) -> dict[str, Generated]:
        """The cached results of the sentences that have one."""
        keys = {self.key(sentence): sentence for sentence in sentences}
        found, wanted = {}, list(keys)
        with self._explained():
            for start in range(0, len(wanted), _AT_ONCE):
                some = wanted[start : start + _AT_ONCE]
                query = f"SELECT key, text, problem FROM translations WHERE key IN ({','.join('?' * len(some))})"
                for key, text, problem in self._open().execute(query, some):
                    found[keys[key]] = Generated(text, problem)
        return found

    def put(self, results: Mapping[str, Generated]) -> None:
        """Store results, all of them or none."""
        rows = [(self.key(sentence), *result) for sentence, result in results.items()]
        with self._explained(), self._open() as connection:
            connection.executemany("INSERT OR REPLACE INTO translations VALUES (?, ?, ?)", rows)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if self._connection is not None and self._pid == os.getpid():
            self._connection.close()
        self._connection = None

    def _open(self) -> sqlite3.Connection:
        # a connection must not be carried into a forked process
        if self._connection is None or self._pid != os.getpid():
            self.file.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.file, timeout=60)
            # two processes that change a new file's mode at once would not wait for each other
            with FileLock(f"{self.file}.lock"):
                connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS translations (key BLOB PRIMARY KEY, text TEXT NOT NULL, problem TEXT)"
                " WITHOUT ROWID"
            )
            self._connection, self._pid = connection, os.getpid()
        return self._connection

    def _explained(self) -> AbstractContextManager[None]:
        return explain(
            sqlite3.Error,
            sentence=lambda error: (
                f"The translation cache {self.file} cannot be used ({error}); delete it, or name another file with"
                " cache_file=… (--cache_file)."
            ),
        )
