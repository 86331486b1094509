"""Parsing of a file into named columns of raw strings, whatever its encoding, delimiter and quoting.

Parsing goes through the `csv` module rather than pandas: messages need every row's line number and cell count.
"""

import codecs
import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

# registers "sloppy-windows-1252", CP1252 without its five holes
import ftfy.bad_codecs  # noqa: F401
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Dataset, Image, Value

from ..errors import NewsMatchError
from .images import undecoded
from .layouts import GOLD, Layout, find_layout, is_gold_row, normalise, unknown_layout
from .rows import lines_from, split_rows

DELIMITERS = ("\t", ",", ";", "|")

_JSON_ARRAY = re.compile(r"\s*\[\s*[{\]]")
# Excel's own first line, which names the delimiter.
_SEPARATOR = re.compile(r"\s*\"?sep=(.)\"?\s*", re.IGNORECASE)
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before that of UTF-16, with which it begins
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What Western European news hardly hold: letters and signs of few languages, quotes inside of words, and words without
# a plain letter. Text of Mac OS, of DOS, or of another script is full of them when it is read as CP1252.
_ODD = re.compile("[\x80-\x9fŠšŸŽžÐÞðþÝý¤¦¨ª¬¯¹¸º×÷¢¥ƒˆ˜¶±µ]|(?<=[^\\W\\d_])[„”“‚‡†‰‹](?=[^\\W\\d_])|[\xc0-\xff]{3}")
# Columns of one value: a list of several is a mistake, or several pictures.
_SINGLE = ("article_id", "image_id", "image_file", "url", "date", "language")


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
        doubt (`str`, *optional*):
            A warning about the encoding.
    """

    source: str
    layout: Layout
    columns: Mapping[str, Sequence[str]]
    lines: list[int]
    bad: dict[int, str] = field(default_factory=dict)
    unit: str = "line"
    pictures: Dataset | None = None
    doubt: str = ""


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
    table = _read_text(text, path, gold)
    table.doubt = _doubt(data, text, str(path))
    return table


def _read_text(text: str, path: Path, gold: bool) -> RawTable:
    if not text.strip():
        raise NewsMatchError(f"{path} is empty; it needs a header line and one line for each row.")
    lines = io.StringIO(text, newline="").readlines()
    if text.lstrip().startswith("{"):
        return _read_json_lines(lines, path)
    if _JSON_ARRAY.match(text):
        return _read_json_array(text, path)
    return _read_delimited(lines, path, gold)


def decode(data: bytes, source: str) -> str:
    """Decode UTF-8, UTF-16 or UTF-32 with a byte order mark, or CP1252 (of which one published list is).

    Args:
        data (`bytes`):
            The content of a file.
        source (`str`):
            The file, for messages.

    Raises:
        [`NewsMatchError`]: when the bytes are no text.
    """
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError as error:
                raise NewsMatchError(
                    f"{source} begins as {encoding.upper()} text but is not valid; save it as UTF-8."
                ) from error
    if data.startswith((b"PK\x03\x04", b"\x1f\x8b")):
        raise NewsMatchError(
            f"{source} is an archive or a workbook, not a list; unpack it, or export it as CSV in UTF-8."
        )
    if b"\0" in data:
        raise NewsMatchError(
            f"{source} is not a text file (or UTF-16 without its byte order mark); name a CSV, TSV, JSON lines or"
            " Parquet file, a text in UTF-8."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # line by line, so that one broken byte does not turn the umlauts of a whole UTF-8 file into two characters
        text = "".join(map(_decode_line, data.splitlines(keepends=True)))
        return text.removeprefix("\ufeff")


def _doubt(data: bytes, text: str, source: str) -> str:
    """A sentence about a text that was taken for CP1252 and reads as if it were of another encoding."""
    if data.startswith(tuple(bom for bom, _ in _BOMS)):
        return ""
    try:
        data.decode("utf-8")
        return ""
    except UnicodeDecodeError:
        odd = list(_ODD.finditer(text))
    if not odd or 10 * len(odd) < len(re.findall(r"[^\x00-\x7f]", text)):
        return ""
    line = text.count("\n", 0, odd[0].start()) + 1
    near = " ".join(text[max(0, odd[0].start() - 15) : odd[0].end() + 15].split())
    return (
        f"{source} is not UTF-8, and read as Windows-1252 it looks like another encoding (near {near!r} in line"
        f" {line}); save it as UTF-8."
    )


def _decode_line(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("sloppy-windows-1252")


def _read_delimited(lines: list[str], path: Path, gold: bool) -> RawTable:
    first = next(i for i, line in enumerate(lines) if line.strip())
    delimiters: Sequence[str] = DELIMITERS
    if (named := _SEPARATOR.fullmatch(lines[first])) and any(line.strip() for line in lines[first + 1 :]):
        delimiters = (named[1],)
        first = next(i for i, line in enumerate(lines) if i > first and line.strip())
    for delimiter in delimiters:
        reader = csv.reader(lines_from(lines, first), delimiter=delimiter)
        cells = next(reader)
        if found := find_layout(cells):
            break
        if gold and delimiter == "\t" and is_gold_row(cells):
            found = GOLD, list(GOLD.header), False
            break
    else:
        likely = max(delimiters, key=lines[first].count)
        raise NewsMatchError(unknown_layout(str(path), next(csv.reader([lines[first]], delimiter=likely))))
    layout, names, has_header = found
    start = first + reader.line_num if has_header else first

    identifying = [
        names.index(name)
        for key in ("article_id", "image_id", "image_file")
        for name in layout.columns.get(key, ())
        if name in names
    ]
    rows, numbers, bad = [], [], {}
    for number, row in split_rows(lines, start, delimiter, len(names), identifying[0] if identifying else None):
        if row is None:
            bad[number] = f"has unbalanced quotes, or not {len(names)} cells"
        elif len(row) == len(names):
            rows.append(row)
            numbers.append(number)
        else:
            bad[number] = f"has {len(row)} cells where {len(names)} are expected"
    _check_names(str(path), layout, names)
    columns = dict(zip(reversed(names), reversed(list(zip(*rows)))))  # reversed: of two equal names the first counts
    columns.pop("", None)
    return RawTable(str(path), layout, columns, numbers, bad)


def _check_names(source: str, layout: Layout, names: Iterable[str]) -> None:
    """Refuse a list with two columns of one name when that is one that is read."""
    used = {name for choices in layout.columns.values() for name in choices}
    used |= {*layout.english.values(), *layout.original.values()}
    twice = next((name for name, count in Counter(names).items() if count > 1 and name in used), None)
    if twice is not None:
        raise NewsMatchError(
            f"{source} has several columns {twice!r}, and nothing tells which one counts; rename or remove the others."
        )


def _read_json_lines(lines: list[str], path: Path) -> RawTable:
    objects: dict[int, object] = {}
    bad = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                objects[number] = json.loads(line, object_pairs_hook=_once)
            except (ValueError, RecursionError) as error:
                bad[number] = f"is not valid JSON ({_json_problem(error)})"
    return _read_objects(objects, bad, path, "line")


def _read_json_array(text: str, path: Path) -> RawTable:
    try:
        objects = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise NewsMatchError(
            f"{path} begins as a JSON array but is not valid ({_json_problem(error)}); write one JSON object a line."
        ) from error
    if not objects:
        raise NewsMatchError(f"{path} is an empty JSON array; write one JSON object a line.")
    return _read_objects(dict(enumerate(objects, 1)), {}, path, "row")


class _Twice(str):
    """What is wrong with a JSON object that has a field twice, as a predicate."""


def _once(pairs: list[tuple[str, object]]) -> "dict[str, object] | _Twice":
    """A JSON object; as columns have one spelling, fields that differ in case are one."""
    names = Counter(normalise(name) for name, _ in pairs)
    twice = next((name for name, count in names.items() if count > 1), None)
    return dict(pairs) if twice is None else _Twice(f"has the field {twice[:60]!r} twice")


def _json_problem(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:100]


def _read_objects(objects: Mapping[int, object], bad: dict[int, str], path: Path, unit: str) -> RawTable:
    """The rows of JSON objects, by the number that each has in its file."""
    rows: list[dict[str, str]] = []
    numbers: list[int] = []
    names: Counter[str] = Counter()
    for number, row in objects.items():
        if not isinstance(row, dict):
            bad[number] = row if isinstance(row, _Twice) else "is not a JSON object"
            continue
        rows.append({normalise(name): _as_cell(value) for name, value in row.items()})
        numbers.append(number)
        names.update(rows[-1].keys())
    found = find_layout(list(names))
    if found is None and rows:
        raise NewsMatchError(unknown_layout(str(path), list(names)))
    if found is None:
        number = min(bad)
        raise NewsMatchError(f"{unit.capitalize()} {number} of {path} {bad[number]}; write one JSON object a line.")
    columns = {name: [row.get(name, "") for row in rows] for name in names}
    table = RawTable(str(path), found[0], columns, numbers, bad, unit)
    _leave_out_unreadable(table)
    return table


def read_parquet(path: Path) -> RawTable:
    """Read a Parquet file, with the pictures it may hold.

    Raises:
        [`NewsMatchError`]: when the file is damaged or of an unknown layout.
    """
    try:
        rows = pq.read_metadata(path).num_rows
        dataset = Dataset.from_parquet(str(path)) if rows else None
    except Exception as error:  # pyarrow and datasets raise a dozen kinds for a damaged file
        raise NewsMatchError(
            f"{path} is a Parquet file that cannot be read ({_last_cause(error)}); save it again."
        ) from error
    if dataset is None:
        raise NewsMatchError(f"{path} has no rows; check what wrote it.")
    return read_dataset(dataset, str(path))


def read_dataset(dataset: Dataset, source: str) -> RawTable:
    """Take the columns of a data set as they are; pictures inside it stay where they are.

    Raises:
        [`NewsMatchError`]: when the data set is of an unknown layout.
    """
    found = find_layout(dataset.column_names)
    if found is None or not found[2]:
        raise NewsMatchError(unknown_layout(source, dataset.column_names))
    pictures = next((name for name, feature in dataset.features.items() if _holds_pictures(name, feature)), None)
    others = dataset.select_columns([name for name in dataset.column_names if name != pictures])
    _check_names(source, found[0], map(normalise, dataset.column_names))
    columns = {normalise(name): list(map(_as_cell, _values(others, name, source))) for name in others.column_names}
    table = RawTable(source, found[0], columns, list(range(1, len(dataset) + 1)), unit="row")
    if pictures is not None:
        images = dataset.select_columns([pictures])
        images = images if pictures == "image" else images.rename_column(pictures, "image")
        table.pictures = undecoded(images)
        paths = pc.struct_field(table.pictures.with_format("arrow")[:]["image"], "path").to_pylist()
        columns.setdefault("image_file", [(path and Path(path).name) or "" for path in paths])
    _leave_out_unreadable(table)
    return table


def _values(dataset: Dataset, name: str, source: str) -> list[object]:
    """The values of a column; text that is not UTF-8, which Arrow may hold, as bytes."""
    column = dataset.select_columns([name]).with_format("arrow")[:][name]
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            return column.cast(pa.large_binary()).to_pylist()
        problem = "text that is not UTF-8"
    except (ValueError, OverflowError, pa.ArrowException) as error:  # a moment after the year 9999, for one
        problem = f"a value that cannot be read ({_last_cause(error)[:100]})"
    raise NewsMatchError(f"The column {name!r} of {source} holds {problem}; correct it, or leave the column out.")


def _holds_pictures(name: str, feature: object) -> bool:
    if isinstance(feature, Image) or (isinstance(feature, dict) and set(feature) == {"bytes", "path"}):
        return True
    # the files themselves, as many tools write them
    return normalise(name) == "image" and feature in (Value("binary"), Value("large_binary"))


class _Unreadable(str):
    """A cell that holds no text; the string says why, as a predicate of its row without the column."""


class _Several(str):
    """A cell of several values, joined."""

    values: list[str]

    @classmethod
    def of(cls, values: list[str]) -> "_Several":
        joined = cls(", ".join(values))
        joined.values = values
        return joined


def _as_cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, date):  # or a datetime, which is one
        return value.isoformat()
    if isinstance(value, float):  # whole numbers with gaps, as pandas stores them
        return "" if math.isnan(value) else str(int(value) if value.is_integer() else value)
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            return _Unreadable("has bytes that are not UTF-8 text")
    if isinstance(value, list | tuple):
        cells = list(map(_as_cell, value))
        unreadable = next((cell for cell in cells if isinstance(cell, _Unreadable)), None)
        if unreadable is not None or any(isinstance(item, list | tuple) for item in value):
            return unreadable or _Unreadable("has a list of lists")
        cells = [cell for cell in cells if cell]
        return _Several.of(cells) if len(cells) > 1 else "".join(cells)
    if isinstance(value, dict | _Twice):
        return _Unreadable("has an object of several fields")
    # JSON can hold halves of surrogate pairs, which no UTF-8 writer takes
    return str(value).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _one_row_a_picture(table: RawTable) -> None:
    """Make as many rows of one as its cells list pictures; the number of the line tells that they are one."""
    names = {name for column in ("image_id", "image_file") for name in table.layout.columns.get(column, ())}
    listing = [table.columns[name] for name in names & table.columns.keys()]
    counts = []
    for row in range(len(table.lines)):
        lengths = {len(cell.values) for cells in listing if isinstance(cell := cells[row], _Several)}
        counts.append(lengths.pop() if len(lengths) == 1 else 1)
    if table.pictures is not None or max(counts, default=1) == 1:
        return
    rows = [(row, at) for row, count in enumerate(counts) for at in range(count)]

    def cell_of(name: str, row: int, at: int) -> str:
        value = table.columns[name][row]
        return value.values[at] if name in names and isinstance(value, _Several) and counts[row] > 1 else value

    table.columns = {name: [cell_of(name, row, at) for row, at in rows] for name in table.columns}
    table.lines = [table.lines[row] for row, _ in rows]


def _leave_out_unreadable(table: RawTable) -> None:
    """Move the rows with a cell that cannot be read, in a column that matters, to the bad ones."""
    _one_row_a_picture(table)
    single = {name for column in _SINGLE for name in table.layout.columns.get(column, ())}
    used = {name for names in table.layout.columns.values() for name in names}
    used |= {*table.layout.english.values(), *table.layout.original.values()}
    found: dict[int, str] = {}
    for name in sorted(used & table.columns.keys()):
        for at, cell in enumerate(table.columns[name]):
            if isinstance(cell, _Unreadable):
                found.setdefault(at, f"{cell} in its column {name!r}")
            elif isinstance(cell, _Several) and name in single:
                found.setdefault(at, f"has several values in its column {name!r} ({cell[:60]})")
    if found:
        kept = [at for at in range(len(table.lines)) if at not in found]
        table.bad.update({table.lines[at]: problem for at, problem in found.items()})
        table.lines = [table.lines[at] for at in kept]
        table.columns = {name: [cells[at] for at in kept] for name, cells in table.columns.items()}


def _last_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).splitlines()[0] if str(error) else type(error).__name__
