"""The samples of decoded pictures, whatever their kind, as 8-bit RGB over white."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image

# Rows of about so many pixels are converted at a time, so that what the conversion needs stays small.
_BAND = 2**20
# What one step of a gray sample of fewer bits is in 8 bits.
_STEPS = {"L;2": 85, "L;4": 17}
_BITS, _PHOTOMETRIC, _HIGHEST = 258, 262, 281  # tags of TIFF
_WHITE_IS_ZERO = 0


@dataclass(frozen=True)
class Samples:
    """What a file says of its samples, which Pillow forgets when it decodes or copies them.

    Args:
        rawmode (`str`):
            How they lie in the file, such as `"L;2"`; empty when that is not known.
        highest (`float`):
            What white is in deep gray of 16-bit samples; 0 where the file leaves open how many of the bits are used.
        spread (`bool`):
            Whether Pillow spreads deep gray over 16 bits, whatever its highest sample is.
        negative (`bool`):
            Whether 0 is white in deep gray, and Pillow leaves that so.
    """

    rawmode: str
    highest: float
    spread: bool
    negative: bool

    @classmethod
    def of(cls, picture: PIL.Image.Image) -> "Samples":
        """What an opened picture says, before it is decoded."""
        tiles = getattr(picture, "tile", None)
        args = tiles[0][3] if tiles else ""
        rawmode = args[0] if isinstance(args, tuple) and args else args
        tags = getattr(picture, "tag_v2", {})
        most = float(2 ** _number(tags.get(_BITS), 16) - 1)
        stated = _number(tags.get(_HIGHEST), 0)
        return cls(
            rawmode=rawmode if isinstance(rawmode, str) else "",
            highest=stated if 255 < stated < most else 0 if _leaves_open(picture, tags, most) else most,
            spread=picture.format == "PPM",
            negative=_number(tags.get(_PHOTOMETRIC), 1) == _WHITE_IS_ZERO,
        )


def to_rgb(picture: PIL.Image.Image, samples: Samples) -> PIL.Image.Image:
    """A decoded picture as RGB, over white where it is transparent.

    Args:
        picture (`PIL.Image.Image`):
            The picture, of any mode.
        samples ([`Samples`]):
            What its file says of them.
    """
    deep, key = picture.mode.startswith(("I", "F")), picture.info.get("transparency")
    if not (deep or picture.has_transparency_data):
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    if picture.mode == "L" and isinstance(key, int) and samples.rawmode in _STEPS:
        # PNG names the transparent sample as it is in the file
        picture.info["transparency"] = key * _STEPS[samples.rawmode]
    elif picture.mode == "RGB" and isinstance(key, tuple) and samples.rawmode.startswith("RGB;16"):
        picture.info["transparency"] = tuple(sample >> 8 for sample in key)
    white = _white(picture, samples) if deep else 0.0
    if picture.mode == "La":  # gray of which the transparency has been taken off: Pillow converts it to this alone
        picture = picture.convert("LA")
    made, top = PIL.Image.new("RGB", picture.size), 0
    for band in _bands(picture):
        if deep:
            rgb = _from_deep(band, white, samples.negative, key).convert("RGB")
        else:
            band = band.convert("RGBA")
            rgb = PIL.Image.alpha_composite(PIL.Image.new("RGBA", band.size, "white"), band).convert("RGB")
        made.paste(rgb, (0, top))
        top += band.height
    return made


def _white(picture: PIL.Image.Image, samples: Samples) -> float:
    """The sample of deep gray that is white: as the file says, else by the range of the samples."""
    if picture.mode.startswith("I;16") and samples.highest:
        return samples.highest
    if samples.spread and picture.mode == "I":
        return 65535.0
    finite = (values[np.isfinite(values)] for values in map(_values, _bands(picture)))
    highest = float(max((values.max(initial=0) for values in finite), default=0))
    ranges = (255.0, 1023.0, 4095.0, 65535.0) if picture.mode.startswith("I;16") else (1.0, 255.0, 65535.0)
    return next((white for white in ranges if highest <= white), highest)


def _leaves_open(picture: PIL.Image.Image, tags: Any, most: float) -> bool:
    """Whether a TIFF does not say how many of its 16 bits are used: cameras and scanners fill 10 or 12."""
    negative = _number(tags.get(_PHOTOMETRIC), 1) == _WHITE_IS_ZERO
    return picture.format == "TIFF" and most == 65535 and not negative and _HIGHEST not in tags


def _from_deep(band: PIL.Image.Image, white: float, negative: bool, key: Any) -> PIL.Image.Image:
    """Deep gray as 8 bits, where Pillow's own conversion would clip; white where it is of the transparent sample."""
    values = _values(band)
    scaled = (values * (255 / white)).clip(0, 255).round().astype(np.uint8)
    if negative:
        scaled = 255 - scaled
    if isinstance(key, int | float):
        scaled[values == key] = 255
    return PIL.Image.fromarray(scaled)


def _values(band: PIL.Image.Image) -> np.ndarray:
    # what is no number is black, and infinity white
    return np.nan_to_num(np.asarray(band, dtype=np.float64), posinf=np.inf).clip(0)


def _bands(picture: PIL.Image.Image) -> Iterator[PIL.Image.Image]:
    """The picture in strips of some rows each, from the top."""
    rows = max(1, _BAND // max(1, picture.width))
    for top in range(0, picture.height, rows):
        yield picture.crop((0, top, picture.width, min(top + rows, picture.height)))


def _number(value: Any, default: int) -> int:
    """A tag's number, or the first of several."""
    first = value[0] if isinstance(value, tuple) and value else value
    return int(first) if isinstance(first, int | float) else default
