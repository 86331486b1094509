"""One table in every format: what a reader sees is compared cell by cell."""

import io
import math

import pandas as pd
import pytest
from rich.console import Console

from hf_newsmatch.utils.tables import (
    Cell,
    Table,
    interval_cell,
    number,
    p_value,
    plain_table,
    to_latex,
    to_markdown,
    to_terminal,
)


def printed(table: Table, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()


def lines_of(text: str) -> list[list[str]]:
    """The cells of a printed table, line by line."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]


SCORES = Table(
    "scores",
    "Scores [of] all",
    ["run", "MRR@100", "Recall@5"],
    [
        [Cell("plain"), Cell("0.250", "0.1–0.4"), Cell("0.5")],
        [
            Cell("again+csls\n− plain", narrow="again +\ncsls\n− plain"),
            Cell("+0.100", "−0.1\nto +0.3; p 0.03", True),
            Cell(""),
        ],
    ],
    "Of 10 articles.",
)


def test_table_formats():
    table = Table("t", "A_b", ["run", "x"], [[Cell("a|b & 5 %"), Cell("−0.1", "1–2", True)], [Cell("<i>"), Cell("")]])
    assert to_markdown(table) == (
        "### A_b\n\n| run | x |\n| --- | ---: |\n| a\\|b &amp; 5 % | **−0.1** (1–2) |\n| &lt;i> |  |\n"
    )
    latex = to_latex(table)
    assert r"    a|b \& 5 \% & \textbf{$-$0.1} {\scriptsize(1--2)} \\" in latex
    assert r"\caption{A\_b.}" in latex
    assert [number(-0.0001), number(None), number(float("nan")), number(0.5, sign="+")] == [
        "0.000",
        "–",
        "–",
        "+0.500",
    ]


def test_markdown_is_read_back_whole():
    lines = [line[2:-2].split(" | ") for line in to_markdown(SCORES).splitlines() if line.startswith("|")]
    table = pd.DataFrame(lines[2:], columns=lines[0])
    assert list(table.run) == ["plain", "again+csls − plain"]
    assert list(table["MRR@100"]) == ["0.250 (0.1–0.4)", "**+0.100** (−0.1 to +0.3; p 0.03)"]
    assert lines[1] == ["---", "---:", "---:"]
    assert to_markdown(SCORES).startswith("### Scores \\[of\\] all\n\n| run |")
    assert to_markdown(SCORES).endswith("\n\nOf 10 articles.\n")


def test_a_terminal_shows_details_below_their_values():
    text = printed(SCORES)
    assert lines_of(text) == [
        ["plain", "0.250", "0.5"],
        ["", "0.1–0.4", ""],
        ["again +", "+0.100", ""],
        ["csls", "−0.1", ""],
        ["− plain", "to +0.3;", ""],
        ["", "p 0.03", ""],
    ]
    header = [[cell.strip() for cell in line.split("┃")[1:-1]] for line in text.splitlines() if "┃" in line]
    assert header == [["", "MRR", "Recall"], ["run", "@100", "@5"]]
    assert "Scores [of] all" in text, "a title is a text, not rich's markup"
    assert printed(SCORES) == printed(to_terminal(SCORES))


def test_a_terminal_shows_details_behind_their_values_when_told():
    inline = Table("t", "T", ["run", "x"], [[Cell("a"), Cell("+0.1", "−0.1\nto +0.3")]], inline_details=True)
    assert lines_of(printed(inline)) == [["a", "+0.1 (−0.1 to +0.3)"]]


def test_best_values_are_bold_on_a_terminal():
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="standard", no_color=False)
    console.print(SCORES)
    assert "\x1b[1m+0.100" in console.file.getvalue()
    assert "\x1b[1m0.250" not in console.file.getvalue()
    assert "\x1b[2mto +0.3;" in console.file.getvalue(), "details stay dim"


def test_long_names_are_folded_and_values_stay_whole():
    table = Table("t", "", ["run", "x"], [[Cell("a/very/long/path/" * 4), Cell("0.123–0.456")]])
    cells = lines_of(printed(table, width=40))
    assert "".join(row[0] for row in cells) == "a/very/long/path/" * 4
    assert cells[0][1] == "0.123–0.456"


def test_a_table_without_names_is_aligned_to_the_right():
    table = Table("t", "", ["alpha", "x"], [[Cell("0.5", best=True), Cell("", best=True)]], name_columns=0)
    assert to_markdown(table) == "| alpha | x |\n| ---: | ---: |\n| **0.5** |  |\n"
    assert r"\begin{tabular}{rr}" in to_latex(table)
    assert r"\textbf{0.5} &  \\" in to_latex(table)
    assert r"\begin{tabular}{lrr}" in to_latex(SCORES)
    assert "│   0.5 │" in printed(table)


def test_details_have_a_line_for_each_statement():
    assert Cell("x", "+0.1\nto +0.2; p 0.03").lines == ["+0.1 to +0.2;", "p 0.03"]
    assert Cell("x").lines == []


def test_plain_tables_have_a_dash_for_nothing():
    table = plain_table("t", "T", ("what", "count"), [["a", 3], ["b", None]])
    assert [[cell.text for cell in row] for row in table.rows] == [["a", "3"], ["b", "–"]]


@pytest.mark.parametrize("value", [0.0, 0.12345, -0.5, -0.00049, 0.0005, 12.3456, -1.0])
def test_numbers_are_those_of_the_format_language(value):
    for digits in (2, 3):
        text = number(value, digits)
        assert float(text.replace("−", "-")) == round(value, digits)
        assert len(text.split(".")[1]) == digits
        signed = number(value, digits, "+")
        assert signed[0] == ("−" if round(value, digits) < 0 else "+")
        assert math.isclose(float(signed.replace("−", "-")), round(value, digits))


def test_intervals_and_p_values():
    interval = {"mean": 0.25, "low": -0.1, "high": 0.5}
    assert interval_cell(interval) == Cell("0.250", "−0.100–0.500")
    assert interval_cell(interval, "+", best=True) == Cell("+0.250", "−0.100\nto +0.500", True)
    assert [p_value(value) for value in (0.0009, 0.001, 0.0341)] == ["< 0.001", "0.001", "0.034"]
