"""Damaged tables: whatever happens to one row, every other one is read as it was."""

import csv
import io
import random

import pytest

from hf_newsmatch.data.parsing import read_table

COLUMNS = (
    ["article_id", "title", "text", "image_id"],
    ["article_id", "title", "text"],
    ["image_id", "article_id", "url", "title", "text"],
    ["article_id", "title"],
)
IDS = ("{}", "https://news.example/{}", "a{}-x")
PIECES = (
    "Haus",
    'der 12" Zoll',
    "sagt er",
    "Köln, Bonn",
    '"Ja"',
    "zwei;drei",
    "a\tb",
    "neu\nZeile",
    '"Nein", sagt sie',
    '"',
)


def _table(draw: random.Random, delimiter: str) -> tuple[list[str], list[list[str]], list[str]]:
    """Column names, rows, and each of them as the csv module writes it."""
    columns, spelling = draw.choice(COLUMNS), draw.choice(IDS)
    quoting, several_lines = draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), draw.random() < 0.4
    pieces = [p for p in PIECES if (several_lines or "\n" not in p) and not (delimiter == "\t" and "\t" in p)]
    rows = []
    for i in range(8):
        known = {"article_id": spelling.format(100 + i), "image_id": f"i{i}", "url": f"https://u.example/{i}"}
        rows.append([known.get(c) or " ".join(draw.choices(pieces, k=draw.randint(1, 5))) for c in columns])
    written = []
    for row in [columns, *rows]:
        stream = io.StringIO()
        csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator="\n").writerow(row)
        written.append(stream.getvalue())
    return columns, rows, written


def _damaged(draw: random.Random, row: str, delimiter: str) -> str:
    at, kind = draw.randint(0, len(row)), draw.choice(["insert", "delete", "cut", "lead"])
    if kind == "insert":
        return row[:at] + '"' + row[at:]
    if kind == "delete":
        quotes = [i for i, character in enumerate(row) if character == '"'] or [0]
        at = draw.choice(quotes)
        return row[:at] + row[at + 1 :]
    if kind == "cut":
        return row[:at]
    cells = row.split(delimiter)
    at = draw.randrange(len(cells))
    cells[at] = '"' + cells[at]
    return delimiter.join(cells)


@pytest.mark.parametrize("delimiter", ["\t", ",", ";"])
def test_damage_to_one_row_changes_no_other(write, delimiter):
    for seed in range(200):
        draw = random.Random(seed)
        columns, rows, written = _table(draw, delimiter)
        victim = draw.randint(1, 8)
        first = 1 + "".join(written[:victim]).count("\n")
        written[victim] = _damaged(draw, written[victim][:-1], delimiter) + "\n"
        its_lines = range(first, first + written[victim].count("\n"))
        expected, line = {}, 2
        for i, row in enumerate(rows, 1):
            if i != victim:
                expected[line] = row
            line += written[i].count("\n")
        table = read_table(write("".join(written), f"{seed}.txt"))
        read = {line: [table.columns[name][at] for name in columns] for at, line in enumerate(table.lines)}
        assert {line: row for line, row in read.items() if line not in its_lines} == expected, seed
        assert set(table.bad) <= set(its_lines), seed


def test_a_row_cut_inside_its_last_quoted_cell_takes_no_quoted_row_with_it(write):
    header = "article_id\ttitle\ttext\timage_id\turl\n"
    content = header + '1\tA\t"Der Text bri\n2\tB\t"Noch ""ein"" Text"\ti2\tu2\n3\tC\tx\ti3\tu3\n'
    table = read_table(write(content))
    assert table.columns["article_id"] == ("2", "3")
    assert table.columns["text"] == ('Noch "ein" Text', "x")
    assert table.bad == {2: "has unbalanced quotes, or not 5 cells"}


def test_a_quote_that_closes_in_the_next_row_joins_no_rows(write):
    content = 'article_id,title,text,image_id\n1,A,"Text eins,i1\n2,B,Text zwei",i2\n3,C,x,i3\n'
    table = read_table(write(content, "list.csv"))
    assert table.columns["image_id"] == ("i2", "i3")
    assert table.bad == {2: "has unbalanced quotes, or not 4 cells"}


def test_quotes_inside_a_quoted_cell_stay(write):
    table = read_table(write('article_id,title,text\n1,"Der "Dom" bröckelt","a, b"\n', "list.csv"))
    assert table.columns["title"] == ('Der "Dom" bröckelt',)
    assert table.columns["text"] == ("a, b",)


def test_cells_of_several_lines_stay_whole_beside_a_damaged_row(write):
    content = 'article_id\ttitle\ttext\n1\tA\t"erste\nzweite"\n2\t"B\tx\ty\n3\tC\t"dritte\r\nvierte"\n'
    table = read_table(write(content))
    assert table.columns["text"] == ("erste\nzweite", "dritte\r\nvierte")
    assert table.lines == [2, 5]
    assert list(table.bad) == [4]


def test_rows_are_split_in_linear_time(write):
    lines = [f'{i},"Titel ""{i}""",{"x, y" if i % 3 else "offen"}\n' for i in range(20_000)]
    lines[5] = '5,"offen,x\n'
    table = read_table(write("article_id,title,text\n" + "".join(lines), "list.csv"))
    assert len(table.lines) + len(table.bad) == 20_000


@pytest.mark.parametrize("columns", [["title", "text", "article_id"], ["text", "article_id", "title"]])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_texts_of_several_lines_stay_whole_wherever_the_id_stands(write, columns, quoting):
    draw = random.Random(0)
    pieces = [piece for piece in PIECES if piece != "a\tb"]
    rows = []
    for i in range(99):
        rows.append([f"a{i}" if name == "article_id" else " ".join(draw.choices(pieces, k=4)) for name in columns])
    stream = io.StringIO()
    csv.writer(stream, quoting=quoting, lineterminator="\n").writerows([columns, *rows])
    table = read_table(write(stream.getvalue(), "list.csv"))
    assert table.bad == {}
    assert [list(row) for row in zip(*(table.columns[name] for name in columns))] == rows


def test_a_quote_that_closes_in_the_next_row_joins_no_rows_before_their_ids_either(write):
    content = 'title,text,article_id\nA,"Text eins,1\nB,Text zwei",2\nC,x,3\n'
    table = read_table(write(content, "list.csv"))
    assert table.columns["article_id"] == ("2", "3")
    assert table.bad == {2: "has unbalanced quotes, or not 3 cells"}


def test_captions_of_several_lines_with_commas_stay_whole(write):
    content = 'image,caption\na.jpg,"A man, standing\nin the rain, alone"\nb.jpg,"A dog,\nasleep, wet"\n'
    table = read_table(write(content, "list.csv"))
    assert table.columns["caption"] == ("A man, standing\nin the rain, alone", "A dog,\nasleep, wet")


def test_two_rows_on_one_line_are_no_row(write):
    content = 'article_id,title,text,image_id\n1,"Der "Dom" brö2,"Der "Zoo" hat","zu",i2\n3,C,x,i3\n'
    table = read_table(write(content, "list.csv"))
    assert table.columns["image_id"] == ("i3",)
    assert list(table.bad) == [2]
