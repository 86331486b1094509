"""Find pictures, open whatever they are as RGB, and tell which ones cannot be used and why."""

import io
import logging
import os
import posixpath
import re
import threading
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import PIL.Image
from datasets import Dataset, Image
from tqdm.auto import tqdm

from ..errors import NewsMatchError
from ..utils.machine import usable_cores

logger = logging.getLogger(__name__)

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
# A picture of more pixels is refused before it is decoded: it would take half a GB. Pillow stops at the same size.
MAX_PIXELS = 178_956_970

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
# Filters of warnings belong to the whole process, so only one thread at a time changes them.
_warnings_lock = threading.Lock()


class PictureError(NewsMatchError):
    """A picture that cannot be used.

    Args:
        reason (`str`): One of `"missing"`, `"outside the folder"`, `"unreadable"`, `"empty file"`, `"not an image"`,
            `"truncated"`, `"damaged"` and `"too large"`.
        name (`str`, *optional*): The picture's file.
    """

    def __init__(self, reason: str, name: str | os.PathLike | None = None):
        super().__init__(f"{name or 'the picture'} cannot be used: {reason}")
        self.reason, self.name = reason, name

    def __reduce__(self):  # for workers of a data loader
        return PictureError, (self.reason, self.name)


class PictureFolder:
    """The pictures of a folder and its sub-folders, scanned once.

    Args:
        path (`str` or `os.PathLike`): The folder.

    Raises:
        NewsMatchError: It does not exist.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = os.path.abspath(path)
        if not os.path.isdir(self.path):
            raise NewsMatchError(f"{path} is no folder of pictures: give one that exists as image_dir")
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
        return os.path.join(self.path, *name.split("/"))

    def find_all(
        self, image_ids: Iterable[str | None], files: Iterable[str | None], article_ids: Iterable[str | None]
    ) -> list[str | None]:
        """The name of each row's picture, relative to the folder, or `None` where there is none.

        A picture is looked for by the file name that its row gives, then by its id, then by its article's id; the
        latter only if no article has the id of a picture, since it would find another article's picture. Rows without
        a file name share the picture of those that have their image id; rows with different ones never do.
        """
        image_ids, files, article_ids = list(image_ids), list(files), list(article_ids)
        article_ids_count = set(image_ids).isdisjoint(article_ids)
        inside = [image_id is not None and (not file or is_inside(file)) for image_id, file in zip(image_ids, files)]
        files = [file and canonical(file) for file in files]
        named = {}
        for image_id, file, usable in zip(image_ids, files, inside):
            if file and usable:
                named.setdefault(image_id, file)
        keys = [(image_id, file or named.get(image_id)) for image_id, file in zip(image_ids, files)]
        found = {}
        for key, article_id, usable in zip(keys, article_ids, inside):
            if usable and not found.get(key):
                image_id, file = key
                found[key] = (file and self._by_name.find(file)) or self._by_id.find(image_id)
                if found[key] is None and article_id and article_ids_count:
                    found[key] = self._by_id.find(article_id)
        return [found[key] if usable else None for key, usable in zip(keys, inside)]


class _Names:
    """What names stand for: exactly, else whatever their case if that leaves one. Unicode is compared composed."""

    def __init__(self):
        self._exact, self._spellings = {}, {}

    def add(self, key: str, name: str) -> None:
        """Let a key stand for a file, unless it stands for another one already."""
        key = unicodedata.normalize("NFC", key)
        self._exact.setdefault(key, name)
        if self._spellings.setdefault(key.lower(), key) != key:
            self._spellings[key.lower()] = None

    def find(self, key: str) -> str | None:
        key = unicodedata.normalize("NFC", key)
        return self._exact.get(key) or self._exact.get(self._spellings.get(key.lower()))


def _files_below(path: str) -> Iterator[str]:
    """The files of a folder, relative to it; linked sub-folders come last, so that they hide none, and only once."""
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


def canonical(name: str) -> str:
    """One spelling for a file name from a list: slashes, no `./`, Unicode composed (macOS decomposes it)."""
    return unicodedata.normalize("NFC", posixpath.normpath(name.replace("\\", "/")))


def is_inside(name: str) -> bool:
    """Whether a file name from a list stays in its folder: it is neither absolute nor climbs with `..`."""
    name = name.replace("\\", "/")
    return not (name.startswith("/") or re.match(r"[A-Za-z]:", name) or "\0" in name or ".." in name.split("/"))


def open_picture(image: str | os.PathLike | bytes | dict | PIL.Image.Image | None) -> PIL.Image.Image:
    """Open a picture as it should be seen: RGB, upright, its first frame, over white where it is transparent.

    Args:
        image (`str`, `os.PathLike`, `bytes`, `dict` or `PIL.Image.Image`): A file, its content, the undecoded value
            `{"path", "bytes"}` of a [`~datasets.Image`] column, or an open picture.

    Raises:
        PictureError: It cannot be used; `reason` says why in a word or two.
    """
    if isinstance(image, PIL.Image.Image):
        return _to_rgb(image, getattr(image, "filename", None))
    if isinstance(image, dict):
        name = image.get("path")
        image = image.get("bytes") if image.get("bytes") is not None else name
    else:
        name = None if isinstance(image, bytes) else image
    if image is None:
        raise PictureError("missing", name)
    if not isinstance(image, bytes):
        try:
            image = Path(image).read_bytes()
        except FileNotFoundError as error:
            raise PictureError("missing", name) from error
        except (OSError, ValueError) as error:
            raise PictureError("unreadable", name) from error
    if not image:
        raise PictureError("empty file", name)
    try:
        with _without_warnings():
            picture = PIL.Image.open(io.BytesIO(image), formats=FORMATS)
    except PIL.Image.DecompressionBombError as error:
        raise PictureError("too large", name) from error
    except Exception as error:  # besides UnidentifiedImageError, whatever a plugin trips over in a broken header
        raise PictureError("not an image", name) from error
    return _to_rgb(picture, name)


def thumbnail(image: dict, size: int) -> PIL.Image.Image:
    """A small copy of a picture that [`check_pictures`] found usable.

    Args:
        image (`dict`): The undecoded value `{"path", "bytes"}` of a [`~datasets.Image`] column.
        size (`int`): The longer side, in pixels; a smaller picture keeps its size.
    """
    source = image["path"]
    if image["bytes"] is None and str(source).lower().endswith((".jpg", ".jpeg")):
        picture = PIL.Image.open(source)
        # a JPEG can be decoded at a fraction of its size (not below this one), many times faster
        picture.draft("RGB", (size, size))
        picture = open_picture(picture)
    else:
        picture = open_picture(image)
    picture.thumbnail((size, size))
    return picture


def _to_rgb(picture: PIL.Image.Image, name: str | None) -> PIL.Image.Image:
    if picture.width * picture.height > MAX_PIXELS:
        raise PictureError("too large", name)
    try:
        picture.load()
        picture = _upright(picture)
        if picture.mode.startswith(("I", "F")):
            return _to_8_bit(picture)
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            white = PIL.Image.new("RGBA", picture.size, "white")
            picture = PIL.Image.alpha_composite(white, picture)
        return picture.convert("RGB")
    except MemoryError as error:
        raise PictureError("too large", name) from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, …
        raise PictureError("truncated" if "truncated" in str(error).lower() else "damaged", name) from error


def _upright(picture: PIL.Image.Image) -> PIL.Image.Image:
    try:
        with _without_warnings():
            orientation = picture.getexif().get(_EXIF_ORIENTATION)
    except Exception:  # broken EXIF data is no reason to refuse a picture that decodes
        return picture
    return picture.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else picture


def _to_8_bit(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Scale 16-bit gray, which Pillow's own conversion would clip; other deep modes by the range that they use."""
    values = np.nan_to_num(np.asarray(picture, dtype=np.float64)).clip(0)
    if picture.mode.startswith("I;16"):
        white = 65535.0
    else:
        highest = values.max(initial=0)
        white = next((white for white in (1.0, 255.0, 65535.0) if highest <= white), highest)
    return PIL.Image.fromarray((values * (255 / white)).round().astype(np.uint8)).convert("RGB")


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep Pillow's warnings (large pictures, odd EXIF data) off the terminal; the caller judges by itself."""
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def check_pictures(dataset: Dataset, num_proc: int | None = None) -> list[dict]:
    """Decode each distinct picture once and list those that cannot be used.

    Args:
        dataset ([`~datasets.Dataset`]): Pairs or images, as loaded.
        num_proc (`int`, *optional*): Threads to decode with, one a core by default.

    Returns:
        `list[dict]`: For each unusable picture `image_id`, `image_file` and the `reason` (see [`PictureError`]), in
        the order of the data set. Rows without an image id are no matter of this check.
    """
    names = dataset.select_columns(["image_id", "image_file"])[:]
    first = {}
    for i, image_id in enumerate(names["image_id"]):
        if image_id is not None:
            first.setdefault(image_id, i)
    images = dataset.select_columns(["image"]).cast_column("image", Image(decode=False))

    def reason(row: int) -> str | None:
        image, file = images[row]["image"], names["image_file"][row]
        if image is None:
            return "outside the folder" if file and not is_inside(file) else "missing"
        try:
            open_picture(image)
        except PictureError as error:
            return error.reason
        return None

    with ThreadPoolExecutor(num_proc or usable_cores()) as pool:
        reasons = list(tqdm(pool.map(reason, first.values()), total=len(first), desc="Checking pictures", unit="pic"))
    return [
        {"image_id": image_id, "image_file": names["image_file"][row], "reason": why}
        for (image_id, row), why in zip(first.items(), reasons)
        if why is not None
    ]


def drop_unusable(dataset: Dataset, unusable: Iterable[dict]) -> Dataset:
    """Leave out the rows of unusable pictures and the rows without any, so that every row has a picture to look at.

    Args:
        dataset ([`~datasets.Dataset`]): Pairs or images, as loaded.
        unusable (`Iterable[dict]`): What [`check_pictures`] returned.
    """
    without = {None, *(picture["image_id"] for picture in unusable)}
    kept = [i for i, image_id in enumerate(dataset["image_id"][:]) if image_id not in without]
    if len(kept) == len(dataset):
        return dataset
    logger.warning(f"left out {len(dataset) - len(kept)} of {len(dataset)} rows without a usable picture")
    return dataset.select(kept)


def distinct_images(pairs: Dataset) -> Dataset:
    """One row for each distinct picture of linked rows, in their order: the candidates to rank.

    Args:
        pairs ([`~datasets.Dataset`]): Pairs, as loaded.

    Returns:
        [`~datasets.Dataset`]: With the columns `image_id`, `image` and `image_file`, as [`load_images`] gives them.
    """
    first: dict[str, int] = {}
    for row, image_id in enumerate(pairs["image_id"][:]):
        first.setdefault(image_id, row)
    return pairs.select_columns(["image_id", "image", "image_file"]).select(list(first.values()))
