"""Pictures of a data set: opened as RGB whatever they are, and checked for those that cannot be used."""

import io
import logging
import os
import threading
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
from datasets import Dataset, Image
from tqdm.auto import tqdm

from ..errors import NewsMatchError
from ..utils.machine import usable_cores
from .names import is_inside

logger = logging.getLogger(__name__)

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
# A picture of more pixels is refused before it is decoded: it would take half a GB. Pillow stops at the same size.
MAX_PIXELS = 178_956_970

# Filters of warnings belong to the whole process, so only one thread at a time changes them.
_warnings_lock = threading.Lock()


class PictureError(NewsMatchError):
    """A picture that cannot be used.

    Args:
        reason (`str`):
            One of `"missing"`, `"outside the folder"`, `"unreadable"`, `"empty file"`, `"not an image"`,
            `"truncated"`, `"damaged"` and `"too large"`.
        name (`str` or `os.PathLike`, *optional*):
            The picture's file.
    """

    def __init__(self, reason: str, name: str | os.PathLike | None = None):
        super().__init__(f"{name or 'The picture'} cannot be used: {reason}.")
        self.reason, self.name = reason, name

    def __reduce__(self):  # for workers of a data loader
        return PictureError, (self.reason, self.name)


def undecoded(dataset: Dataset) -> Dataset:
    """A data set whose column `image` gives the file or bytes of each picture, `{"path", "bytes"}`, undecoded.

    `datasets` would decode every picture of a row that is read, without telling which one is broken.
    """
    return dataset.cast_column("image", Image(decode=False))


def open_picture(image: str | os.PathLike | bytes | dict | PIL.Image.Image | None) -> PIL.Image.Image:
    """Open a picture as it should be seen: RGB, upright, its first frame, over white where it is transparent.

    Args:
        image (`str`, `os.PathLike`, `bytes`, `dict` or `PIL.Image.Image`):
            A file, its content, the undecoded value `{"path", "bytes"}` of a [`~datasets.Image`] column, or an open
            picture, which is not changed.

    Returns:
        `PIL.Image.Image`: The picture, of mode RGB.

    Raises:
        [`PictureError`]: when it cannot be used; `reason` says why in a word or two.
    """
    if isinstance(image, PIL.Image.Image):
        return _to_rgb(image, getattr(image, "filename", None), own=False)
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
    return _to_rgb(picture, name, own=True)


def thumbnail(image: dict, size: int) -> PIL.Image.Image:
    """A small copy of a picture that [`check_pictures`] found usable.

    Args:
        image (`dict`):
            The undecoded value `{"path", "bytes"}` of a [`~datasets.Image`] column.
        size (`int`):
            The longer side, in pixels; a smaller picture keeps its size.

    Returns:
        `PIL.Image.Image`: The small picture, of mode RGB.
    """
    source = image["path"]
    if image["bytes"] is None and str(source).lower().endswith((".jpg", ".jpeg")):
        picture: PIL.Image.Image = PIL.Image.open(source)
        # a JPEG can be decoded at a fraction of its size (not below this one), many times faster
        picture.draft("RGB", (size, size))
        picture = open_picture(picture)
    else:
        picture = open_picture(image)
    picture.thumbnail((size, size))
    return picture


def _to_rgb(picture: PIL.Image.Image, name: str | os.PathLike | None, own: bool) -> PIL.Image.Image:
    """A picture as RGB; one that was opened here (`own`) may be turned in place, one that was handed in is copied."""
    if picture.width * picture.height > MAX_PIXELS:
        raise PictureError("too large", name)
    try:
        picture.load()
        picture = picture if own else picture.copy()
        _turn_upright(picture)
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


def _turn_upright(picture: PIL.Image.Image) -> None:
    """Turn a picture in place as its EXIF orientation says."""
    try:
        # Broken EXIF data are no reason to refuse a picture that decodes. In place the pixels are turned before Pillow
        # writes the EXIF data anew, so that data which it can read but not write leave the picture upright.
        with _without_warnings():
            PIL.ImageOps.exif_transpose(picture, in_place=True)
    except Exception as error:  # struct.error, SyntaxError, ValueError, … from whatever the data hold
        logger.debug("The EXIF data of %s are broken: %s", getattr(picture, "filename", "a picture"), error)


def _to_8_bit(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Scale deep modes to 8 bits, where Pillow's own conversion would clip: 16-bit gray, others by their range."""
    values = np.nan_to_num(np.asarray(picture, dtype=np.float64)).clip(0)
    if picture.mode.startswith("I;16"):
        white = 65535.0
    else:
        highest = values.max(initial=0)
        white = next((white for white in (1.0, 255.0, 65535.0) if highest <= white), highest)
    return PIL.Image.fromarray((values * (255 / white)).round().astype(np.uint8)).convert("RGB")


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep Pillow's warnings (large pictures, odd EXIF data) off the terminal; the caller makes its own checks."""
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def check_pictures(dataset: Dataset, num_proc: int | None = None) -> list[dict]:
    """Decode each distinct picture once and list those that cannot be used.

    Args:
        dataset ([`~datasets.Dataset`]):
            Pairs or images, as loaded.
        num_proc (`int`, *optional*):
            Threads to decode with, one a core by default.

    Returns:
        `list[dict]`: For each unusable picture `image_id`, `image_file` and the `reason` (see [`PictureError`]), in
        the order of the data set. Rows without an image id are not checked.
    """
    names = dataset.select_columns(["image_id", "image_file"])[:]
    first: dict[str, int] = {}
    for i, image_id in enumerate(names["image_id"]):
        if image_id is not None:
            first.setdefault(image_id, i)
    images = undecoded(dataset.select_columns(["image"]))

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
    """Leave out the rows of unusable pictures and the rows without any.

    Args:
        dataset ([`~datasets.Dataset`]):
            Pairs or images, as loaded.
        unusable (`Iterable[dict]`):
            The list that [`check_pictures`] returned.

    Returns:
        [`~datasets.Dataset`]: The rows whose pictures open, in their order.
    """
    without = {None, *(picture["image_id"] for picture in unusable)}
    kept = [i for i, image_id in enumerate(dataset["image_id"][:]) if image_id not in without]
    if len(kept) == len(dataset):
        return dataset
    logger.warning("Left out %d of %d rows without a usable picture.", len(dataset) - len(kept), len(dataset))
    return dataset.select(kept)


def distinct_images(pairs: Dataset) -> Dataset:
    """One row for each distinct picture of linked rows, in their order: the candidates to rank.

    Args:
        pairs ([`~datasets.Dataset`]):
            Pairs, as loaded.

    Returns:
        [`~datasets.Dataset`]: With the columns `image_id`, `image` and `image_file`, as [`load_images`] gives them.
    """
    first: dict[str, int] = {}
    for row, image_id in enumerate(pairs["image_id"][:]):
        first.setdefault(image_id, row)
    return pairs.select_columns(["image_id", "image", "image_file"]).select(list(first.values()))
