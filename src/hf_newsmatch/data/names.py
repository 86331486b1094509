"""Names of pictures and articles as lists write them."""

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


def is_plain(value: str) -> bool:
    """Whether an id stands as it is in a tab-separated file: it has no line end, tab or quote."""
    return not re.search(r'[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029"\0]', value)
