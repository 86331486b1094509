"""Tables as data, rendered for a terminal, as Markdown and as LaTeX; the report's template reads the same data."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import rich.table
from rich.text import Text

# characters that LaTeX reserves, and characters that plain LaTeX cannot print
_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "–": "--",
    "±": r"$\pm$",
    "<": "$<$",
    ">": "$>$",
    "*": "$^*$",
    "†": r"$^\dagger$",
}


class Cell(NamedTuple):
    """One value of a table.

    A line break in any of its texts counts on a terminal alone; everywhere else it is a space.

    Args:
        text (`str`):
            The value.
        detail (`str`, *optional*):
            A remark in small print, such as an interval.
        best (`bool`, *optional*, defaults to `False`):
            Whether the value is printed bold.
        narrow (`str`, *optional*):
            The text that a terminal shows instead of `text`, to save columns.
    """

    text: str
    detail: str = ""
    best: bool = False
    narrow: str = ""

    @property
    def lines(self) -> list[str]:
        """The detail, one string for each of its statements (separated by semicolons)."""
        return [_one_line(line) for line in re.split(r"(?<=;) ", self.detail)] if self.detail else []


@dataclass
class Table:
    """A table, independent of the format it is written in.

    A `rich` console prints it as [`to_terminal`] renders it.

    Args:
        name (`str`):
            Identifier for links and labels.
        title (`str`):
            Heading; Markdown has none where it is empty.
        header (`list[str]`):
            The heading of each column.
        rows (`list[list[Cell]]`):
            The cells, row by row.
        caption (`str`, *optional*):
            Explanation below the table.
        name_columns (`int`, *optional*, defaults to 1):
            The number of first columns that name the row and are aligned to the left, unlike all others.
        inline_details (`bool`, *optional*, defaults to `False`):
            Whether a terminal shows details behind their values, as Markdown does, in place of below them.
    """

    name: str
    title: str
    header: list[str]
    rows: list[list[Cell]]
    caption: str = ""
    name_columns: int = 1
    inline_details: bool = False

    def __rich__(self) -> rich.table.Table:
        return to_terminal(self)


def plain_table(
    name: str, title: str, header: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = ""
) -> Table:
    """A table of texts and counts, with a dash for each `None`."""
    cells = [["–" if item is None else str(item) for item in row] for row in rows]
    return Table(name, title, list(header), [list(map(Cell, row)) for row in cells], caption)


# ---- Formats --------------------------------------------------------------------------------------------------------


def to_terminal(table: Table) -> rich.table.Table:
    """Render a table for a terminal, metrics broken before their `@` and details below their values."""

    def cell(item: Cell) -> Text:
        text = Text().append(item.narrow or item.text, style="bold" if item.best else "")
        if item.detail and table.inline_details:
            text.append(f" ({_one_line(item.detail)})")
        elif item.detail:
            text.append("\n" + item.detail.replace("; ", ";\n"), style="dim")
        return text

    # texts, because strings would be read as rich's markup
    rendered = rich.table.Table(
        title=Text(table.title, style="table.title") if table.title else None,
        caption=Text(table.caption, style="table.caption") if table.caption else None,
    )
    for place, heading in enumerate(table.header):
        names_row = place < table.name_columns
        rendered.add_column(
            Text(heading.replace("@", "\n@")),
            justify="left" if names_row else "right",
            # names give way first, and show whole; in a table without names all columns give way alike
            no_wrap=not names_row and table.name_columns > 0,
            overflow="fold" if names_row else "ellipsis",
        )
    for row in table.rows:
        rendered.add_row(*map(cell, row))
    return rendered


def to_markdown(table: Table) -> str:
    """Render a table as GitHub's Markdown, details in parentheses behind their values."""

    def cell(item: Cell) -> str:
        text = _markdown(item.text)
        if item.best and text:
            text = f"**{text}**"
        return f"{text} ({_markdown(item.detail)})" if item.detail else text

    names = table.name_columns
    lines = [f"### {_markdown(table.title)}", ""] if table.title else []
    lines += [_line(map(_markdown, table.header)), _line(["---"] * names + ["---:"] * (len(table.header) - names))]
    lines += [_line(map(cell, row)) for row in table.rows]
    return "\n".join([*lines, *(["", _markdown(table.caption)] if table.caption else []), ""])


def to_latex(table: Table) -> str:
    """Render a table as LaTeX for the package booktabs."""

    def cell(item: Cell) -> str:
        text = _latex(item.text)
        if item.best and text:
            text = rf"\textbf{{{text}}}"
        return rf"{text} {{\scriptsize({_latex(item.detail)})}}" if item.detail else text

    rows = "\n".join(f"    {' & '.join(map(cell, row))} \\\\" for row in table.rows)
    text = ". ".join(sentence.rstrip(".") for sentence in (table.title, table.caption) if sentence)
    columns = "l" * table.name_columns + "r" * (len(table.header) - table.name_columns)
    return (
        f"\\begin{{table}}\n  \\centering\n  \\caption{{{_latex(text)}.}}\n  \\label{{tab:{table.name}}}\n"
        f"  \\begin{{tabular}}{{{columns}}}\n    \\toprule\n"
        f"    {' & '.join(map(_latex, table.header))} \\\\\n    \\midrule\n{rows}\n    \\bottomrule\n"
        "  \\end{tabular}\n\\end{table}\n"
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown(text: str) -> str:
    escaped = re.sub(r"([\\`*\[\]|])", r"\\\1", _one_line(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;")


def _latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in _one_line(text))


# ---- Numbers --------------------------------------------------------------------------------------------------------


def number(value: float | None, digits: int = 3, sign: str = "") -> str:
    """Format a number as all tables show it: with a typographic minus, or a dash in place of `None` and NaN.

    Args:
        value (`float`, *optional*):
            The number.
        digits (`int`, *optional*, defaults to 3):
            Digits behind the point.
        sign (`str`, *optional*):
            `"+"` for a sign before positive numbers too.
    """
    if value is None or value != value:
        return "–"
    # adding 0.0 turns a rounded -0.0 into 0.0
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}".replace("-", "−")


def interval_cell(interval: Mapping[str, float], sign: str = "", best: bool = False) -> Cell:
    """A cell with a mean and, as its detail, the interval (`"mean"`, `"low"` and `"high"`)."""
    mean, low, high = (number(interval[name], sign=sign) for name in ("mean", "low", "high"))
    return Cell(mean, f"{low}\nto {high}" if sign else f"{low}–{high}", best)


def p_value(value: float) -> str:
    """Format a p-value: `0.034`, or `< 0.001`."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
