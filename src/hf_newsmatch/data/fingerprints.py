"""The fingerprints of the pictures that an experiment uses: size and time first, content where these differ."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..utils.files import atomic_path, sha256
from ..utils.machine import usable_cores

# Imported where they are needed: that takes seconds, and a step that only wants the models needs none.
if TYPE_CHECKING:
    from datasets import Dataset

_SHOWN = 5


@dataclass(frozen=True)
class Fingerprint:
    """The file of a picture: its name in the list, its size and time of change, and its SHA-256."""

    image_file: str
    size: int
    modified: int
    sha256: str


# Image id to the fingerprint of its file.
Fingerprints = Mapping[str, Fingerprint]


def fingerprints(rows: "Dataset") -> dict[str, Fingerprint]:
    """The fingerprints of the distinct pictures of rows; empty when the list itself holds the pictures."""
    paths, names = _paths(rows), dict(zip(rows["image_id"][:], rows["image_file"][:]))

    def one(image_id: str) -> Fingerprint:
        status = os.stat(paths[image_id])
        name = names[image_id] or os.path.basename(paths[image_id])
        return Fingerprint(name, status.st_size, status.st_mtime_ns, sha256(paths[image_id]))

    with ThreadPoolExecutor(usable_cores()) as pool:
        return dict(zip(paths, pool.map(one, paths)))


def fingerprint_digest(found: Fingerprints) -> str:
    """One SHA-256 over the ids and contents of pictures, in any order."""
    lines = sorted(f"{image_id}\0{picture.sha256}\n" for image_id, picture in found.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def differences(rows: "Dataset", known: Fingerprints) -> list[str]:
    """What has become of known pictures: clauses that name those that are gone and those that have changed."""
    paths = _paths(rows)

    def changed(image_id: str) -> bool:
        before, status = known[image_id], os.stat(paths[image_id])
        if (status.st_size, status.st_mtime_ns) == (before.size, before.modified):
            return False
        return status.st_size != before.size or sha256(paths[image_id]) != before.sha256

    gone = [image_id for image_id in known if image_id not in paths or not os.path.isfile(paths[image_id])]
    missing = set(gone)
    there = [image_id for image_id in known if image_id not in missing]
    with ThreadPoolExecutor(usable_cores()) as pool:
        other = [image_id for image_id, differs in zip(there, pool.map(changed, there)) if differs]
    named = {"gone": gone, "changed": other}
    return [
        f"{shown([known[image_id].image_file for image_id in ids])} {'is' if len(ids) == 1 else 'are'} {what}"
        for what, ids in named.items()
        if ids
    ]


def difference_of(now: Fingerprints, then: Fingerprints) -> str:
    """Clauses that name the pictures that were added, are gone or have changed between two times."""
    named = {
        "gone": [then[image_id] for image_id in then if image_id not in now],
        "new": [now[image_id] for image_id in now if image_id not in then],
        "changed": [now[name] for name in now if name in then and now[name].sha256 != then[name].sha256],
    }
    return ", ".join(
        f"{shown([picture.image_file for picture in pictures])} {'is' if len(pictures) == 1 else 'are'} {what}"
        for what, pictures in named.items()
        if pictures
    )


def shown(names: Sequence[str]) -> str:
    """The first few of several names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def write_fingerprints(lists: Mapping[str, Fingerprints], file: Path) -> None:
    """Write the fingerprints of several lists as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"list": name, "image_id": image_id, **picture.__dict__}
        for name, found in lists.items()
        for image_id, picture in found.items()
    ]
    schema = pa.schema(
        [(name, pa.string()) for name in ("list", "image_id", "image_file", "sha256")]
        + [(name, pa.int64()) for name in ("size", "modified")]
    )
    with atomic_path(file) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema), temporary)


def read_fingerprints(file: Path) -> dict[str, dict[str, Fingerprint]]:
    """The fingerprints by list that a file holds; empty when it is not there or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    lists: dict[str, dict[str, Fingerprint]] = {}
    try:
        for row in pq.read_table(file).to_pylist():
            found = Fingerprint(row["image_file"], row["size"], row["modified"], row["sha256"])
            lists.setdefault(row["list"], {})[row["image_id"]] = found
    except (OSError, pa.ArrowException, TypeError, KeyError):
        return {}
    return lists


def _paths(rows: "Dataset") -> dict[str, str]:
    """The file of each distinct picture; empty when the pictures lie inside the list, whose own hash covers them."""
    from .images import undecoded

    images = undecoded(rows.select_columns(["image"]))
    if len(rows) and (images[0]["image"] or {}).get("bytes") is not None:
        return {}
    paths: dict[str, str] = {}
    for image_id, image in zip(rows["image_id"][:], images["image"][:]):
        if image_id is not None and image is not None and image["path"] and image["bytes"] is None:
            paths.setdefault(image_id, image["path"])
    return paths
