"""A folder of pictures: the file of each row of a list."""

import os
import posixpath
import unicodedata
from collections.abc import Iterable, Iterator

from ..errors import NewsMatchError
from .names import canonical, is_inside

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")


class ImageFolder:
    """The pictures of a folder and its sub-folders, scanned once.

    Iterating gives the names of the pictures, relative to the folder with slashes.

    Args:
        path (`str` or `os.PathLike`):
            The folder.

    Raises:
        [`NewsMatchError`]: when it does not exist.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = os.path.abspath(path)
        if not os.path.isdir(self.path):
            raise NewsMatchError(
                f"{path} is not a folder of pictures; name one that exists with image_dir (--image_dir)."
            )
        # nearest the top first, so that a file there wins over one of the same name deeper down
        self._names = sorted(_files_below(self.path), key=lambda name: (name.count("/"), name))
        self._by_name, self._by_id = _Names(), _Names()
        for name in self._names:
            self._by_name.add(name, name)
            self._by_name.add(posixpath.basename(name), name)
        for name in self:
            for key in (name, posixpath.basename(name)):
                # an id may carry the suffix itself
                self._by_id.add(posixpath.splitext(key)[0], name)
                self._by_id.add(key, name)

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._names if name.lower().endswith(SUFFIXES))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def absolute(self, name: str) -> str:
        """The path of a picture of this folder."""
        return os.path.join(self.path, *name.split("/"))

    def find_all(
        self, image_ids: Iterable[str | None], files: Iterable[str | None], article_ids: Iterable[str | None]
    ) -> list[str | None]:
        """The name of each row's picture, relative to the folder, or `None` where there is none.

        A picture is looked for by the file name that its row gives, then by its id, then by its article's id; the
        last only if no article has the id of a picture, since it would find another article's picture. Rows without
        a file name share the picture of those that have their image id; rows with different file names never do.

        Args:
            image_ids (`Iterable[str | None]`):
                The image id of each row.
            files (`Iterable[str | None]`):
                The file name that each row gives.
            article_ids (`Iterable[str | None]`):
                The article id of each row.

        Returns:
            `list[str | None]`: The names, in the order of the rows.
        """
        image_ids, files, article_ids = list(image_ids), list(files), list(article_ids)
        article_ids_count = set(image_ids).isdisjoint(article_ids)
        # rows without an id, and rows whose file lies outside the folder, have no picture in it
        wanted = [None if file and not is_inside(file) else image_id for image_id, file in zip(image_ids, files)]
        files = [file and canonical(file) for file in files]
        named: dict[str, str] = {}
        for image_id, file in zip(wanted, files):
            if image_id is not None and file:
                named.setdefault(image_id, file)
        keys = [
            None if image_id is None else (image_id, file or named.get(image_id))
            for image_id, file in zip(wanted, files)
        ]
        found: dict[tuple[str, str | None], str | None] = {}
        for key, article_id in zip(keys, article_ids):
            if key is not None and not found.get(key):
                image_id, file = key
                found[key] = (file and self._by_name.find(file)) or self._by_id.find(image_id)
                if found[key] is None and article_id and article_ids_count:
                    found[key] = self._by_id.find(article_id)
        return [None if key is None else found[key] for key in keys]


class _Names:
    """The files that names stand for: found exactly, else in another case if only one name differs in nothing else.

    Unicode is compared composed.
    """

    def __init__(self):
        self._exact: dict[str | None, str] = {}
        self._spellings: dict[str, str | None] = {}  # lower case to the one spelling; none where there are several

    def add(self, key: str, name: str) -> None:
        """Let a key stand for a file, unless it stands for another one already."""
        key = unicodedata.normalize("NFC", key)
        self._exact.setdefault(key, name)
        if self._spellings.setdefault(key.lower(), key) != key:
            self._spellings[key.lower()] = None

    def find(self, key: str) -> str | None:
        """The file that a key stands for."""
        key = unicodedata.normalize("NFC", key)
        return self._exact.get(key) or self._exact.get(self._spellings.get(key.lower()))


def _files_below(path: str) -> Iterator[str]:
    """The files of a folder, relative to it.

    Linked sub-folders come last, so that their files hide no others, and each is followed once.
    """
    seen, waiting = set(), [path]
    while waiting:
        for folder, folders, files in os.walk(waiting.pop(0)):
            real = os.path.realpath(folder)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders.sort()
            waiting += filter(os.path.islink, (os.path.join(folder, name) for name in folders))
            prefix = os.path.relpath(folder, path).replace(os.sep, "/")
            yield from (file if prefix == "." else f"{prefix}/{file}" for file in files)
