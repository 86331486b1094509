"""Parsing of a file into named columns of raw strings, whatever its encoding, delimiter and quoting.

Parsing goes through the `csv` module rather than pandas: messages need every row's line number and cell count.
"""

import codecs
import csv
import io
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

# registers "sloppy-windows-1252", CP1252 without its five holes
import ftfy.bad_codecs  # noqa: F401
import pyarrow.compute as pc
from datasets import Dataset, Image

from ..errors import NewsMatchError
from .images import undecoded
from .layouts import GOLD, Layout, find_layout, is_gold_row, normalise, unknown_layout

DELIMITERS = ("\t", ",", ";", "|")

csv.field_size_limit(2**31 - 1)


@dataclass
class RawTable:
    """The rows of a list that have the right number of cells, by column.

    Args:
        source (`str`):
            The file or data set, for messages.
        layout ([`Layout`]):
            The meaning of the columns.
        columns (`Mapping[str, Sequence[str]]`):
            The raw cells by normalised column name.
        lines (`list[int]`):
            The line on which each row starts in its file, counted from 1.
        bad (`dict[int, str]`):
            The problem of each row that was left out by its line, as a predicate: `"has no article id"`.
        unit (`str`):
            `"line"` or `"row"`: the unit of `lines`.
        pictures (`Dataset`, *optional*):
            One undecoded column `image`, when the source holds the pictures themselves.
    """

    source: str
    layout: Layout
    columns: Mapping[str, Sequence[str]]
    lines: list[int]
    bad: dict[int, str] = field(default_factory=dict)
    unit: str = "line"
    pictures: Dataset | None = None


def read_table(path: Path, gold: bool = False) -> RawTable:
    """Read a list from a delimited text, JSON lines or Parquet file; the content decides which one it is.

    Args:
        path (`Path`):
            The file.
        gold (`bool`, *optional*, defaults to `False`):
            Whether two columns without a header, separated by tabs, are the ids of articles and of their pictures.

    Returns:
        [`RawTable`]

    Raises:
        [`NewsMatchError`]: when the file is empty, no text, or of an unknown layout.
    """
    data = path.read_bytes()
    if data.startswith(b"PAR1"):
        return read_parquet(path)
    text = decode(data, str(path))
    if not text.strip():
        raise NewsMatchError(f"{path} is empty; it needs a header line and one line for each row.")
    lines = io.StringIO(text, newline="").readlines()
    return _read_json_lines(lines, path) if text.lstrip().startswith("{") else _read_delimited(lines, path, gold)


def decode(data: bytes, source: str) -> str:
    """Decode UTF-8, UTF-16 with a byte order mark, or CP1252 (of which one published list is).

    Args:
        data (`bytes`):
            The content of a file.
        source (`str`):
            The file, for messages.

    Raises:
        [`NewsMatchError`]: when the bytes are no text.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError as error:
            raise NewsMatchError(f"{source} begins as UTF-16 text but is not valid; save it as UTF-8.") from error
    if b"\0" in data:
        raise NewsMatchError(f"{source} is not a text file; name a CSV, TSV, JSON lines or Parquet file.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # line by line, so that one broken byte does not turn the umlauts of a whole UTF-8 file into two characters
        text = "".join(map(_decode_line, data.splitlines(keepends=True)))
        return text.removeprefix("\ufeff")


def _decode_line(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("sloppy-windows-1252")


def _read_delimited(lines: list[str], path: Path, gold: bool) -> RawTable:
    first = next(i for i, line in enumerate(lines) if line.strip())
    for delimiter in DELIMITERS:
        reader = csv.reader(_from(lines, first), delimiter=delimiter)
        cells = next(reader)
        if found := find_layout(cells):
            break
        if gold and delimiter == "\t" and is_gold_row(cells):
            found = GOLD, list(GOLD.header), False
            break
    else:
        likely = max(DELIMITERS, key=lines[first].count)
        raise NewsMatchError(unknown_layout(str(path), next(csv.reader([lines[first]], delimiter=likely))))
    layout, names, has_header = found
    start = first + reader.line_num if has_header else first

    rows, numbers, bad = [], [], {}
    for number, row in _split_rows(lines, start, delimiter, len(names)):
        if row is None:
            bad[number] = f"has unbalanced quotes, or not {len(names)} cells"
        elif len(row) == len(names):
            rows.append(row)
            numbers.append(number)
        else:
            bad[number] = f"has {len(row)} cells where {len(names)} are expected"
    columns = dict(zip(reversed(names), reversed(list(zip(*rows)))))  # reversed: of two equal names the first counts
    columns.pop("", None)
    return RawTable(str(path), layout, columns, numbers, bad)


def _split_rows(lines: list[str], start: int, delimiter: str, width: int) -> list[tuple[int, list[str] | None]]:
    """The cells of every row that is not blank, with the number of the line it starts on."""
    rows: list[tuple[int, list[str] | None]] = []
    before = 0
    reader = csv.reader(_from(lines, start), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            # A tab and a line end in one cell: a stray quote has swallowed rows, and maybe without changing the count.
            swallowed = (
                delimiter == "\t" and reader.line_num > before + 1 and any("\t" in c and "\n" in c for c in cells)
            )
            if any(cells):
                if swallowed or len(cells) != width:
                    return _split_rows_carefully(lines, start, delimiter, width)
                rows.append((start + before + 1, cells))
            before = reader.line_num
    except csv.Error:  # a quote inside a quoted cell, or one that is never closed
        return _split_rows_carefully(lines, start, delimiter, width)
    return rows


def _split_rows_carefully(
    lines: list[str], start: int, delimiter: str, width: int
) -> list[tuple[int, list[str] | None]]:
    """As [`_split_rows`], for lists that are not consistently quoted: no row spoils others.

    A line with the right number of tabs is a row by itself, its quotes being part of the text unless they enclose a
    whole cell. Any other line is read as CSV, over several lines where its quotes say so and the count is right. The
    cells of a line whose quotes would take in other lines without such a result are `None`.
    """
    rows: list[tuple[int, list[str] | None]] = []
    at = start
    while at < len(lines):
        cells: list[str] | None
        line, taken = lines[at].rstrip("\r\n").split(delimiter), 1
        if delimiter == "\t" and len(line) == width:
            cells = list(map(_unquote, line))
        else:
            reader = csv.reader(itertools.chain(_from(lines, at), ["end of file"]), delimiter=delimiter)
            quoted = next(reader)
            closed = reader.line_num <= len(lines) - at
            if closed and (len(quoted) == width or reader.line_num == 1):
                cells, taken = quoted, reader.line_num
            else:
                cells = None
        if cells is None or any(cells):
            rows.append((at + 1, cells))
        at += taken
    return rows


def _unquote(cell: str) -> str:
    if len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', ""):
        return cell[1:-1].replace('""', '"')
    return cell


def _from(lines: list[str], start: int) -> Iterable[str]:
    return (lines[i] for i in range(start, len(lines)))


def _read_json_lines(lines: list[str], path: Path) -> RawTable:
    rows, numbers, bad = [], [], {}
    names: Counter[str] = Counter()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            bad[number] = f"is not valid JSON ({error})"
            continue
        if not isinstance(row, dict):
            bad[number] = "is not a JSON object"
            continue
        rows.append({normalise(name): _as_cell(value) for name, value in row.items()})
        numbers.append(number)
        names.update(rows[-1].keys())
    found = find_layout(list(names))
    if found is None and rows:
        raise NewsMatchError(unknown_layout(str(path), list(names)))
    if found is None:
        raise NewsMatchError(f"Line {min(bad)} of {path} {bad[min(bad)]}; write one JSON object a line.")
    columns = {name: [row.get(name, "") for row in rows] for name in names}
    return RawTable(str(path), found[0], columns, numbers, bad)


def read_parquet(path: Path) -> RawTable:
    """Read a Parquet file, with the pictures it may hold.

    Raises:
        [`NewsMatchError`]: when the file is damaged or of an unknown layout.
    """
    try:
        dataset = Dataset.from_parquet(str(path))
    except Exception as error:  # pyarrow and datasets raise a dozen kinds for a damaged file
        raise NewsMatchError(
            f"{path} is a Parquet file that cannot be read ({_last_cause(error)}); save it again."
        ) from error
    return read_dataset(dataset, str(path))


def read_dataset(dataset: Dataset, source: str) -> RawTable:
    """Take the columns of a data set as they are; pictures inside it stay where they are.

    Raises:
        [`NewsMatchError`]: when the data set is of an unknown layout.
    """
    found = find_layout(dataset.column_names)
    if found is None or not found[2]:
        raise NewsMatchError(unknown_layout(source, dataset.column_names))
    pictures = next((name for name, feature in dataset.features.items() if _holds_pictures(feature)), None)
    others = dataset.select_columns([name for name in dataset.column_names if name != pictures])
    columns = {normalise(name): [_as_cell(value) for value in values] for name, values in others[:].items()}
    table = RawTable(source, found[0], columns, list(range(1, len(dataset) + 1)), unit="row")
    if pictures is not None:
        images = dataset.select_columns([pictures])
        images = images if pictures == "image" else images.rename_column(pictures, "image")
        table.pictures = undecoded(images)
        paths = pc.struct_field(table.pictures.with_format("arrow")[:]["image"], "path").to_pylist()
        columns.setdefault("image_file", [(path and Path(path).name) or "" for path in paths])
    return table


def _holds_pictures(feature: object) -> bool:
    return isinstance(feature, Image) or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})


def _as_cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, date):  # or a datetime, which is one
        return value.isoformat()
    if isinstance(value, float):  # whole numbers with gaps, as pandas stores them
        return "" if math.isnan(value) else str(int(value) if value.is_integer() else value)
    # JSON can hold halves of surrogate pairs, which no UTF-8 writer takes
    return str(value).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _last_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).splitlines()[0] if str(error) else type(error).__name__
