"""Pictures of a data set: opened as RGB whatever they are, and checked for those that cannot be used."""

import io
import logging
import os
import re
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import PIL.Image
import PIL.ImageOps
from datasets import Dataset, Image
from tqdm.auto import tqdm

from ..errors import NewsMatchError, own_words
from ..utils.machine import usable_cores
from .image_files import MAX_BYTES, NotRegularError, formats, open_regular, without_warnings
from .image_samples import Samples, to_rgb
from .names import is_inside

logger = logging.getLogger(__name__)

# What Pillow needs for a pixel of the modes of less than 4 bytes.
_BYTES_PER_PIXEL = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
_COLOUR = 4  # of all other modes, RGB among them
# Decoders that hold a picture several times while they work.
_DECODER_COPIES = {"AVIF": 3, "WEBP": 3, "JPEG2000": 2}
# What opening pictures may take at a time, in all threads of this process together.
MEMORY = 768 * 2**20
_ORIENTATION = 274  # the tag in EXIF data

_NAMELESS = "The picture"
_MESSAGE = re.compile(r"(.*) cannot be used: (.*)\.\Z", re.DOTALL)


class PictureError(NewsMatchError):
    """A picture that cannot be used.

    Args:
        reason (`str`):
            One of `"missing"`, `"outside the folder"`, `"unreadable"`, `"not a regular file"`, `"empty file"`,
            `"not an image"`, `"truncated"`, `"damaged"` and `"too large"`.
        name (`str` or `os.PathLike`, *optional*):
            The picture's file.
    """

    def __init__(self, reason: str, name: str | os.PathLike | None = None):
        # from a worker of a data loader the whole message comes, and a traceback around it
        message = _MESSAGE.match(own_words(reason))
        if message:
            name, reason = None if message[1] == _NAMELESS else message[1], message[2]
        super().__init__(f"{name or _NAMELESS} cannot be used: {reason}.")
        self.reason, self.name = reason, name

    def __reduce__(self):
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
    content, name = _content(image)
    return _to_rgb(_opened(content, name), name, own=True)


def _content(image: str | os.PathLike | bytes | dict | None) -> tuple[bytes, str | os.PathLike | None]:
    """The bytes of a picture, and the name of its file."""
    if isinstance(image, dict):
        name = image.get("path")
        image = image.get("bytes") if image.get("bytes") is not None else name
    else:
        name = None if isinstance(image, bytes) else image
    if image is None:
        raise PictureError("missing", name)
    if not isinstance(image, bytes):
        try:
            with open_regular(image) as stream:
                if os.fstat(stream.fileno()).st_size > MAX_BYTES:
                    raise PictureError("too large", name)
                image = stream.read(MAX_BYTES + 1)  # it may grow
        except PictureError:
            raise
        except FileNotFoundError as error:
            raise PictureError("missing", name) from error
        except NotRegularError as error:
            raise PictureError("not a regular file", name) from error
        except MemoryError as error:
            raise PictureError("too large", name) from error
        except (OSError, ValueError) as error:
            raise PictureError("unreadable", name) from error
    if not image:
        raise PictureError("empty file", name)
    if len(image) > MAX_BYTES:
        raise PictureError("too large", name)
    return image, name


def _opened(content: bytes, name: str | os.PathLike | None) -> PIL.Image.Image:
    try:
        with without_warnings():
            return PIL.Image.open(io.BytesIO(content), formats=formats())
    except PIL.Image.DecompressionBombError as error:
        raise PictureError("too large", name) from error
    except Exception as error:  # besides UnidentifiedImageError, whatever a plugin trips over in a broken header
        raise PictureError("not an image", name) from error


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
    content, name = _content(image)
    picture = _opened(content, name)
    # a JPEG can be decoded at a fraction of its size (not below this one), many times faster; others stay as they are
    picture.draft("RGB", (size, size))
    picture = _to_rgb(picture, name, own=True)
    picture.thumbnail((size, size))
    return picture


def _to_rgb(picture: PIL.Image.Image, name: str | os.PathLike | None, own: bool) -> PIL.Image.Image:
    """A picture as RGB; one that was opened here (`own`) may be turned in place, one that was handed in is copied."""
    pixels = picture.width * picture.height
    needed = _needed_bytes(picture, own)
    # as RGB, every pixel takes 4 bytes
    if pixels * _COLOUR > MAX_BYTES or needed > MEMORY:
        raise PictureError("too large", name)
    try:
        with _memory.taken(needed):
            samples = Samples.of(picture)
            picture.load()
            picture = picture if own else picture.copy()
            _turn_upright(picture)
            return to_rgb(picture, samples)
    except MemoryError as error:
        raise PictureError("too large", name) from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, …
        raise PictureError("truncated" if "truncated" in str(error).lower() else "damaged", name) from error


def _needed_bytes(picture: PIL.Image.Image, own: bool) -> int:
    """What opening a picture takes at most: as it is decoded, and as RGB when that is another picture."""
    decoded = _BYTES_PER_PIXEL.get(picture.mode, _COLOUR) * _DECODER_COPIES.get(picture.format or "", 1)
    if picture.info.get("progressive"):  # the decoder holds two bytes for each channel of each pixel until the end
        decoded += 2 * len(picture.getbands())
    with without_warnings():
        try:
            # Pillow decodes a PNG to look for them behind the pixels
            turned = picture.format == "PNG" or picture.getexif().get(_ORIENTATION, 1) != 1
        except Exception:  # whatever broken EXIF data lead to
            turned = True
    stays = own and picture.mode == "RGB" and not turned and not picture.has_transparency_data
    return picture.width * picture.height * (decoded if stays else decoded + _COLOUR)


class _Memory:
    """The bytes that several threads share; one that wants more than are left waits.

    Args:
        size (`int`):
            How many there are.
    """

    def __init__(self, size: int):
        self._size = size
        self.reset()

    def reset(self) -> None:
        """Have all of them again, in a process that was forked while another thread had some."""
        self._left = self._size
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, count: int) -> Iterator[None]:
        """Have so many of the bytes, at most all of them."""
        with self._changed:
            self._changed.wait_for(lambda: self._left >= count)
            self._left -= count
        try:
            yield
        finally:
            with self._changed:
                self._left += count
                self._changed.notify_all()


_memory = _Memory(MEMORY)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_memory.reset)


def _turn_upright(picture: PIL.Image.Image) -> None:
    """Turn a picture in place as its EXIF orientation says."""
    try:
        # Broken EXIF data are no reason to refuse a picture that decodes. In place the pixels are turned before Pillow
        # writes the EXIF data anew, so that data which it can read but not write leave the picture upright.
        with without_warnings():
            PIL.ImageOps.exif_transpose(picture, in_place=True)
    except Exception as error:  # struct.error, SyntaxError, ValueError, … from whatever the data hold
        logger.debug("The EXIF data of %s are broken: %s", getattr(picture, "filename", "a picture"), error)


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
