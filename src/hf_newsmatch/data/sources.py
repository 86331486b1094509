"""Lists from files and from the Hub, each parsed once and kept as an Arrow file named after its content's hash."""

import hashlib
import json
import logging
import os
import re
from pathlib import Path
from typing import Any

import datasets
import ftfy
import pyarrow as pa
from datasets import Dataset

from ..configs import split_files
from ..errors import NewsMatchError, explain, first_sentence
from ..utils.files import atomic_path, check_regular, sha256
from ..version import __version__
from .list_cache import note_hash, usable_folder
from .parsing import RawTable, read_dataset, read_table
from .schema import SEVERAL_PICTURES, Kind, build_records

logger = logging.getLogger(__name__)

# A component of the cache key: raise it whenever parsing or cleaning gives another result.
READER_VERSION = 7

_LIST_SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".parquet")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load_records(
    source: str | os.PathLike,
    kind: Kind,
    translated: bool = True,
    skip_bad_rows: bool = False,
    several_pictures: str = "refuse",
) -> tuple[Dataset, Dataset | None]:
    """Read a list into our schema, without its pictures.

    The records are opened from disk, since `datasets` caches maps only of data that are on disk. The raw file is never
    changed.

    Args:
        source (`str` or `os.PathLike`):
            A file, or the id of a data set on the Hub.
        kind (`str`):
            The kind of list, as for [`build_records`].
        translated (`bool`, *optional*, defaults to `True`):
            Whether to take a list's own English translation.
        skip_bad_rows (`bool`, *optional*, defaults to `False`):
            Whether to leave bad rows out, with a warning that counts them, rather than stop.
        several_pictures (`str`, *optional*, defaults to `"refuse"`):
            As for [`build_records`].

    Returns:
        `tuple[Dataset, Dataset | None]`: The records with the features [`RECORD_FEATURES`], and the undecoded pictures
        of all rows when the source holds them.

    Raises:
        [`NewsMatchError`]: when the list cannot be read, is of another kind, or a row is bad.
    """
    if several_pictures not in SEVERAL_PICTURES:
        raise NewsMatchError(f"several_pictures takes {', '.join(SEVERAL_PICTURES)}, not '{several_pictures}'.")
    cached, raw = _parse(source, kind, translated, skip_bad_rows, several_pictures)
    if doubt := _found_in(cached)["doubt"]:
        logger.warning(doubt)
    if further := _found_in(cached)["further"]:
        logger.warning("Left out %d rows of %s that give an article before them a further picture.", further, source)
    if bad := _found_in(cached)["bad"]:  # also when the list comes from the cache: rows are never left out silently
        shown = "; ".join(bad[:10]) + ("; …" if len(bad) > 10 else "")
        logger.warning("Left out %d bad rows of %s (%s).", len(bad), source, shown)
    return Dataset.from_file(str(cached)), raw and raw.pictures


def bad_rows(
    source: str | os.PathLike, kind: Kind = "pairs", *, translated: bool = True, several_pictures: str = "refuse"
) -> list[str]:
    """Describe each row that a loader leaves out with `skip_bad_rows=True`.

    Args:
        source (`str` or `os.PathLike`):
            The list.
        kind (`str`, *optional*, defaults to `"pairs"`):
            The loader: `"pairs"`, `"articles"`, `"images"`, or `"links"` for [`load_gold`].
        translated (`bool`, *optional*, defaults to `True`), several_pictures (`str`, *optional*):
            The loader's own arguments; the same values spare reading the list again.

    Returns:
        `list[str]`: A clause for each bad row, in the list's order, such as `"line 7 has no article id"`.

    Raises:
        [`NewsMatchError`]: when the list cannot be read or has no usable row.
    """
    files = split_files(source)
    found = []
    for file in files:
        cached, _ = _parse(file, kind, translated, True, several_pictures)
        found += [row if len(files) == 1 else f"{row} ({file})" for row in _found_in(cached)["bad"]]
    return found


def _parse(
    source: str | os.PathLike, kind: Kind, translated: bool, skip_bad_rows: bool, several_pictures: str
) -> tuple[Path, RawTable | None]:
    """The file of a list's records, parsed now or before; with the list itself where that is open anyway."""
    path, raw = Path(source), None
    if _is_hub_id(source):
        raw, digest = _load_from_hub(str(source))
    elif any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
        raw, digest = _load_from_folder(path)
    else:
        digest = _digest(path)
        if _is_parquet(path):  # holds the pictures too, so it is opened anyway
            raw = read_table(path)
    key = f"{digest} {__version__} {READER_VERSION} {ftfy.__version__} {kind} {translated} {skip_bad_rows}"
    key += f" {several_pictures}"
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "newsmatch" / hashlib.sha256(key.encode()).hexdigest()
    cached = usable_folder(folder) / "records.arrow"
    if not cached.exists():
        raw = raw or read_table(path, gold=kind == "links")
        table, bad, further = build_records(raw, kind, translated, several_pictures)
        _check_rows(raw, table, bad, skip_bad_rows)
        problems = [f"{raw.unit} {line} {problem}" for line, problem in sorted(bad.items())]
        found = json.dumps({"bad": problems, "further": further, "doubt": raw.doubt})
        _write_records(table.replace_schema_metadata(table.schema.metadata | {"newsmatch": found}), cached)
    return cached, raw


def _write_records(table: pa.Table, target: Path) -> None:
    with atomic_path(target) as temporary:
        with pa.ipc.new_stream(str(temporary), table.schema) as writer:
            writer.write_table(table, max_chunksize=datasets.config.DEFAULT_MAX_BATCH_SIZE)
        note_hash(target, temporary)


def _found_in(cached: Path) -> dict[str, Any]:
    with pa.memory_map(str(cached)) as file:
        return json.loads(pa.ipc.open_stream(file).schema.metadata[b"newsmatch"])


def _is_hub_id(source: str | os.PathLike) -> bool:
    text = str(source)
    return bool(_HUB_ID.fullmatch(text)) and not os.path.exists(text) and not text.lower().endswith(_LIST_SUFFIXES)


def _load_from_hub(name: str) -> tuple[RawTable, str]:
    try:
        dataset = datasets.load_dataset(name, split="train")
    except Exception as error:  # a missing data set, no connection, a gated one, a broken file: each its own kind
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NewsMatchError(
            f"{name} is neither a file here nor a data set of the Hub that can be loaded ({reason}); check the name."
        ) from error
    return read_dataset(dataset, name), dataset._fingerprint


def _load_from_folder(path: Path) -> tuple[RawTable, str]:
    """A data set that [`~datasets.Dataset.save_to_disk`] wrote; of several splits, `train`."""
    with explain(Exception, sentence=lambda error: f"{path} cannot be read ({first_sentence(error)}); save it again."):
        dataset = datasets.load_from_disk(str(path))
    if isinstance(dataset, datasets.DatasetDict):
        if "train" not in dataset:
            raise NewsMatchError(f"{path} has no split train; name the folder of one of {', '.join(dataset)} in it.")
        dataset = dataset["train"]
    return read_dataset(dataset, str(path)), dataset._fingerprint


def _digest(path: Path) -> str:
    if path.is_dir():
        raise NewsMatchError(f"{path} is a folder; name the list inside it.")
    if not path.exists():
        raise NewsMatchError(f"{path} does not exist; check the path.")
    check_regular(path)
    return sha256(path)


def _is_parquet(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"PAR1"


def _check_rows(raw: RawTable, table: pa.Table, bad: dict[int, str], skip_bad_rows: bool) -> None:
    if bad and not skip_bad_rows:
        line = min(bad)
        more = f" (the first of {len(bad)} bad rows)" if len(bad) > 1 else ""
        raise NewsMatchError(
            f"{raw.unit.capitalize()} {line} of {raw.source} {bad[line]}{more}; correct it, or leave such rows out"
            " with skip_bad_rows=True (--skip_bad_rows)."
        )
    if not len(table):
        raise NewsMatchError(f"{raw.source} has a header but no {'usable ' if bad else ''}rows; check the file.")
