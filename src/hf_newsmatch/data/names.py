"""File names of pictures as lists write them."""

import posixpath
import re
import unicodedata


def canonical(name: str) -> str:
    """The one spelling of a file name from a list: slashes, no `./`, Unicode composed (macOS decomposes it)."""
    return unicodedata.normalize("NFC", posixpath.normpath(name.replace("\\", "/")))


def is_inside(name: str) -> bool:
    """Whether a file name from a list stays in its folder: it is neither absolute nor climbs with `..`."""
    name = name.replace("\\", "/")
    return not (name.startswith("/") or re.match(r"[A-Za-z]:", name) or "\0" in name or ".." in name.split("/"))
