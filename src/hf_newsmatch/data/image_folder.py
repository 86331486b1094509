"""A folder of pictures: the file of each row of a list."""

import os
import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import NewsMatchError
from .image_files import is_picture, suffixes
from .names import canonical, is_inside

# No id of a list or of a prediction file can hold these: quotes, control characters, line ends, what is no UTF-8.
_NO_ID = re.compile(r'["\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]')
_SHOWN = 3
# Why a file or folder is left out.
NO_PICTURE = "no picture"
LINK_OUT = "a link out of the folder"
NOT_REGULAR = "neither a file nor a folder"
UNREADABLE = "not readable"
NO_ID_NAME = "a picture whose name no list can hold"


class ImageFolder:
    """The pictures of a folder and its sub-folders, scanned once.

    Iterating gives the names of the pictures, relative to the folder with slashes: the files of a suffix that Pillow
    knows, and of all others those that begin as a picture does. Links are followed inside the folder; those that lead
    out of it are left out, but for the links of a Hub snapshot to its own repository.

    Args:
        path (`str` or `os.PathLike`):
            The folder.

    Attributes:
        left_out (`dict[str, list[str]]`):
            The names that are not used, by the reason.

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
        self.left_out: dict[str, list[str]] = defaultdict(list)
        names = sorted(self._files(), key=lambda name: (name.count("/"), name))
        self._by_name, self._by_id = _Names(), _Names()
        for name in names:
            self._by_name.add(name, name)
            self._by_name.add(posixpath.basename(name), name)
        self._pictures = [name for name in names if self._counts(name)]
        for name in self._pictures:
            for key in (name, posixpath.basename(name)):
                # an id may carry the suffix itself
                self._by_id.add(posixpath.splitext(key)[0], name)
                self._by_id.add(key, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._pictures)

    def __len__(self) -> int:
        return len(self._pictures)

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

    def image_ids(self) -> list[str]:
        """The id of each picture, in their order: its name without folder and suffix, where no other has the same.

        Pictures that would share an id have their path in the folder without suffix, or with it where that is shared.

        Raises:
            [`NewsMatchError`]: on two names that differ in the composition of their letters alone.
        """
        choices = []
        for name in map(canonical, self._pictures):
            choices.append((Path(name).stem, posixpath.splitext(name)[0], name))
        place = [0] * len(choices)
        while True:
            groups = defaultdict(list)
            for row, choice in enumerate(choices):
                groups[choice[place[row]]].append(row)
            shared = [rows for rows in groups.values() if len(rows) > 1]
            if not shared:
                return [choice[place[row]] for row, choice in enumerate(choices)]
            for rows in shared:
                if all(place[row] == 2 for row in rows):
                    names = " and ".join(self._pictures[row] for row in rows[:2])
                    raise NewsMatchError(
                        f"{self.path} holds two pictures whose names look the same, {names}; rename one of them."
                    )
                for row in rows:
                    place[row] = min(2, place[row] + 1)

    def describe_left_out(self) -> str:
        """What is left out, as the end of a sentence: the number for each reason and the first names."""
        parts = []
        for reason, names in self.left_out.items():
            # a name may hold anything that a terminal takes for a command
            first = ", ".join(repr(name[:60])[1:-1] for name in names[:_SHOWN])
            more = ", …" if len(names) > _SHOWN else ""
            parts.append(f"{len(names)} x {reason} ({first}{more})")
        return "; ".join(parts)

    def _counts(self, name: str) -> bool:
        """Whether a file is a picture that can be used; if not, it is noted as left out."""
        if not (posixpath.splitext(name)[1].lower() in suffixes() or is_picture(self.absolute(name))):
            self.left_out[NO_PICTURE].append(name)
            return False
        if _NO_ID.search(name):
            self.left_out[NO_ID_NAME].append(name)
            return False
        return True

    def _files(self) -> Iterator[str]:
        """The regular files of the folder, relative to it; what else there is, is noted as left out.

        Linked sub-folders come last, so that their files hide no others, and each is followed once.
        """
        roots = _roots(self.path)
        seen, linked = set(), [""]
        while linked:
            waiting = [linked.pop(0)]
            while waiting:
                folder = waiting.pop()
                path = self.absolute(folder) if folder else self.path
                real = os.path.realpath(path)
                if real in seen:
                    continue
                seen.add(real)
                try:
                    with os.scandir(path) as listing:
                        entries = sorted(listing, key=lambda entry: entry.name)
                except OSError:
                    self.left_out[UNREADABLE].append(folder or ".")
                    continue
                below: list[str] = []
                for entry in entries:
                    name = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.is_symlink() and not _is_below(os.path.realpath(entry.path), roots):
                        self.left_out[LINK_OUT].append(name)
                    elif entry.is_dir():
                        (linked if entry.is_symlink() else below).append(name)
                    elif entry.is_file():
                        yield name
                    else:
                        self.left_out[NOT_REGULAR].append(name)
                waiting += reversed(below)


def _roots(path: str) -> list[str]:
    """The folders that links may lead to: the folder itself and, of a snapshot from the Hub, its own files."""
    real = Path(os.path.realpath(path))
    roots = [str(real)]
    for folder in (real, *real.parents):
        blobs = folder.parent.parent / "blobs"
        if folder.parent.name == "snapshots" and blobs.is_dir():
            roots.append(str(blobs))
    return roots


def _is_below(path: str, roots: Iterable[str]) -> bool:
    return any(path == root or path.startswith(os.path.join(root, "")) for root in roots)


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
