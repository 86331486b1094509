"""The files of pictures: the formats that are read, told by their content, and opening without waiting."""

import errno
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import IO

import PIL.Image

# Formats that have no mark of their own at the beginning, that Pillow recognises but hands to other programs or cannot
# decode, and icons, whose size shows only while they are decoded.
_NOT_READ = frozenset(("BUFR", "CUR", "EPS", "GRIB", "HDF5", "ICNS", "ICO", "MPEG", "WMF"))
# The formats that are tried first.
_FREQUENT = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "BMP")
# A file, or a picture as it lies in memory, of more bytes is refused.
MAX_BYTES = 512 * 2**20

# Filters of warnings belong to the whole process, so only one thread at a time changes them.
_warnings_lock = threading.Lock()


class NotRegularError(OSError):
    """A pipe, a device or a socket where a picture should be."""


@cache
def formats() -> tuple[str, ...]:
    """The formats that the installed Pillow knows by their content and decodes itself."""
    PIL.Image.init()
    known = [name for name, (_, accept) in PIL.Image.OPEN.items() if accept and name not in _NOT_READ]
    return tuple(sorted(known, key=lambda name: (name not in _FREQUENT, name)))


@cache
def suffixes() -> frozenset[str]:
    """The suffixes, in small letters, of the formats that are read."""
    read = formats()
    return frozenset(suffix for suffix, name in PIL.Image.registered_extensions().items() if name in (*read, "MPO"))


def open_regular(path: str | os.PathLike) -> IO[bytes]:
    """Open a regular file for reading, or the one that a link leads to.

    Raises:
        [`NotRegularError`]: when it is a pipe, a device or a socket, which could be waited for without an end.
        `OSError`: when it cannot be opened otherwise.
    """
    # without waiting for the other end of a pipe
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(mode):
            raise NotRegularError(errno.EINVAL, "is not a regular file", os.fspath(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def is_picture(path: str | os.PathLike) -> bool:
    """Whether a file begins as a picture does, whatever its name is."""
    try:
        with open_regular(path) as stream, without_warnings(), PIL.Image.open(stream, formats=formats()):
            return True
    except PIL.Image.DecompressionBombError:  # a picture, which is refused when it is opened
        return True
    except Exception:  # besides UnidentifiedImageError, whatever a plugin trips over in a broken header
        return False


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keep Pillow's warnings (large pictures, odd EXIF data) off the terminal; the caller makes its own checks."""
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
