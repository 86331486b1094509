"""Rows of delimited text: each right, or bad and named, whatever its quotes are; none joins others in silence."""

import csv
import re
from collections import Counter
from collections.abc import Iterable

csv.field_size_limit(2**31 - 1)

_LINE_END = re.compile(r"\r\n|\r|\n")
_FILE_NAME = re.compile(r"\S+\.[A-Za-z]{2,4}")


def split_rows(
    lines: list[str], start: int, delimiter: str, width: int, id_at: int | None
) -> list[tuple[int, list[str] | None]]:
    """The cells of every row that is not blank, with the number of the line it starts on.

    Args:
        lines (`list[str]`):
            The lines of the file with their ends.
        start (`int`):
            The index of the first line of rows.
        delimiter (`str`):
            The character between cells.
        width (`int`):
            The number of cells of a row.
        id_at (`int`, *optional*):
            The cell that identifies a row: ids look alike, which tells rows from the lines of a text.

    Returns:
        `list[tuple[int, list[str] | None]]`: `None` in place of cells for a line with quotes that never end.
    """
    rows: list[tuple[int, list[str] | None]] = []
    before = 0
    reader = csv.reader(lines_from(lines, start), delimiter=delimiter, strict=True)
    shapes: Counter[str] = Counter()
    spans = []
    try:
        for cells in reader:
            if any(cells):
                if len(cells) != width:
                    return _split_rows_carefully(lines, start, delimiter, width, id_at)
                rows.append((start + before + 1, cells))
                if id_at is not None:
                    shapes[_shape(cells[id_at])] += 1
                if reader.line_num > before + 1:
                    spans.append((start + before, start + reader.line_num, cells))
            before = reader.line_num
    except csv.Error:  # a quote inside a quoted cell, or one that is never closed
        return _split_rows_carefully(lines, start, delimiter, width, id_at)
    if any(_swallows(lines[a:b], cells, delimiter, width, id_at, shapes) for a, b, cells in spans):
        return _split_rows_carefully(lines, start, delimiter, width, id_at)
    return rows


def _split_rows_carefully(
    lines: list[str], start: int, delimiter: str, width: int, id_at: int | None
) -> list[tuple[int, list[str] | None]]:
    """As [`split_rows`], for lists that are not consistently quoted: no row spoils others.

    A row takes in further lines only where its quotes say so without a doubt: the count of cells is right, and none
    of the lines is a row by itself. Else a line with the right number of tabs is a row by itself, its quotes being
    part of the text unless they enclose a whole cell. The cells of a line with a quote that never ends are `None`.
    """
    shapes = _shapes(lines, start, delimiter, width, id_at)
    rows: list[tuple[int, list[str] | None]] = []
    at = start
    while at < len(lines):
        cells, taken = _quoted_row(lines, at, delimiter)
        if (
            cells is not None
            and taken > 1
            and (len(cells) != width or _swallows(lines[at : at + taken], cells, delimiter, width, id_at, shapes))
        ):
            cells, taken = None, 1
        plain = _plain_cells(lines[at]) if taken == 1 and delimiter == "\t" else []
        if len(plain) == width:
            cells = plain
        elif cells is None:
            cells = _badly_quoted_row(lines[at], delimiter)
        if cells is None or any(cells):
            rows.append((at + 1, cells))
        at += taken
    return rows


def _badly_quoted_row(line: str, delimiter: str) -> list[str] | None:
    """The cells of a line some of whose quoted cells hold quotes that are not doubled; `None` where one never ends."""
    line, cells, at = line.rstrip("\r\n"), [], 0
    cell = re.compile(
        rf'(?:"(.*?)"|([^"{re.escape(delimiter)}][^{re.escape(delimiter)}]*)|)({re.escape(delimiter)}|\Z)'
    )
    while match := cell.match(line, at):
        quoted, plain, end = match.groups()
        if quoted and f'{delimiter}"' in quoted:  # where another cell begins
            return None
        cells.append(plain or "" if quoted is None else quoted.replace('""', '"'))
        at = match.end()
        if not end:
            return cells
    return None


def _quoted_row(lines: list[str], at: int, delimiter: str) -> tuple[list[str] | None, int]:
    """The row that begins on a line, as its quotes say, and how many lines it takes; `None` where they are wrong."""
    reader = csv.reader(lines_from(lines, at), delimiter=delimiter, strict=True)
    try:
        return next(reader), reader.line_num
    except csv.Error:
        return None, 1


def _swallows(
    lines: list[str],
    cells: list[str],
    delimiter: str,
    width: int,
    id_at: int | None,
    shapes: Counter[str],
) -> bool:
    """Whether a row of several lines is likely several rows, joined by quotes that do not belong together.

    That is so when one of its further lines is a row by itself: with the right number of cells, and an id that looks
    like the others. The line that holds the row's own id, behind a cell that goes on, only counts where the first line
    is a row, too. In a text between tabs no cell holds both a tab and a line end.
    """
    if delimiter == "\t":
        return any("\t" in cell and "\n" in cell.replace("\r", "\n") for cell in cells)

    def is_row(line: str) -> bool:
        for row in (line.rstrip("\r\n").split(delimiter), next(csv.reader([line], delimiter=delimiter), [])):
            if len(row) == width and (
                id_at is None or shapes[_shape(row[id_at])] * 2 >= max(shapes.values(), default=0)
            ):
                return True
        return False

    own = 0 if id_at is None else sum(len(_LINE_END.findall(cell)) for cell in cells[:id_at])
    return any(is_row(line) and (at != own or is_row(lines[0])) for at, line in enumerate(lines) if at > 0)


def _shapes(lines: list[str], start: int, delimiter: str, width: int, id_at: int | None) -> Counter[str]:
    """How many ids have each shape, as far as the list can be read."""
    shapes: Counter[str] = Counter()
    if id_at is not None:
        for cells in csv.reader(lines_from(lines, start), delimiter=delimiter):
            if len(cells) == width and "\n" not in cells[id_at]:
                shapes[_shape(cells[id_at])] += 1
    return shapes


def _shape(cell: str) -> str:
    """What an id looks like, roughly: a number, an address, the name of a file, a code, a word, or words."""
    cell = cell.strip().strip('"')
    if not cell or cell.isdecimal():
        return cell and "number"
    if cell.lower().startswith(("http://", "https://")):
        return "address"
    if _FILE_NAME.fullmatch(cell):
        return "file"
    if len(cell.split()) > 1:
        return "words"
    return "code" if any(character.isdecimal() for character in cell) else "word"


def _plain_cells(line: str) -> list[str]:
    """The cells between the tabs of a line; quotes that do not enclose a whole cell are part of it."""
    return [_unquote(cell) for cell in line.rstrip("\r\n").split("\t")]


def _unquote(cell: str) -> str:
    if len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', ""):
        return cell[1:-1].replace('""', '"')
    return cell


def lines_from(lines: list[str], start: int) -> Iterable[str]:
    """The lines from one on, without a copy of them."""
    return (lines[i] for i in range(start, len(lines)))
