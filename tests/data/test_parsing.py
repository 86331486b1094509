import pytest

from hf_newsmatch import errors
from hf_newsmatch.data.parsing import decode, read_table

HEADER = "article\taid\turl\timg\tiid\thashvalue\ttitle\ttext\timgFile\n"


def row(number, title="Titel", text="Text"):
    return f"{number}\t{number}\tu{number}\t\ti{number}\th\t{title}\t{text}\ti{number}.jpg\n"


@pytest.mark.parametrize(
    "data",
    [
        "Straße „x“".encode(),
        b"\xef\xbb\xbf" + "Straße „x“".encode(),
        "Straße „x“".encode("cp1252"),
        "Straße „x“".encode("utf-16"),
        b"\xfe\xff" + "Straße „x“".encode("utf-16-be"),
    ],
    ids=["utf-8", "bom", "cp1252", "utf-16-le", "utf-16-be"],
)
def test_encodings(data):
    assert decode(data, "x") == "Straße „x“"


def test_one_broken_byte_spoils_only_its_line():
    assert decode("Köln\n".encode() + b"M\xfcnchen\r\n" + "Zürich".encode(), "x") == "Köln\nMünchen\r\nZürich"


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xfe\x00"])
def test_bytes_that_are_no_text(data):
    with pytest.raises(errors.NewsMatchError, match=r"^x (begins as UTF-16 text but|is not a text file).*\.$"):
        decode(data, "x")


def test_csv_quoting_inside_tsv(write):
    table = read_table(write(HEADER + row(1, '"Der ""Held"" kehrt heim"') + row(2, 'ein "Wort" mittendrin')))
    assert table.columns["title"] == ('Der "Held" kehrt heim', 'ein "Wort" mittendrin')
    assert table.lines == [2, 3]


def test_a_stray_quote_does_not_swallow_rows(write):
    lines = [
        row(1),
        row(2, text='"Nie wieder, sagt er'),
        row(3),
        row(4, text='"Ja" und ""nein'),
        row(5, '"""Zu"" Ende"'),
    ]
    table = read_table(write(HEADER + "".join(lines)))
    assert table.columns["aid"] == ("1", "2", "3", "4", "5")
    assert table.columns["text"][1:4] == ('"Nie wieder, sagt er', "Text", '"Ja" und ""nein')
    assert table.columns["title"][4] == '"Zu" Ende'
    assert table.bad == {}


def test_two_stray_quotes_in_one_column_do_not_swallow_the_rows_between(write):
    lines = [row(1, text='"Eins'), row(2), row(3, text='"Drei')]
    table = read_table(write(HEADER + "".join(lines)))
    assert table.columns["text"] == ('"Eins', "Text", '"Drei')


def test_a_cell_may_span_lines_and_later_lines_keep_their_numbers(write):
    content = 'article_id,title,text\n1,A,"erste\nzweite, Zeile"\n\n2,B,kurz\n3,C\n'
    table = read_table(write(content, "list.csv"))
    assert table.columns["text"] == ("erste\nzweite, Zeile", "kurz")
    assert table.lines == [2, 5]
    assert table.bad == {6: "has 2 cells where 3 are expected"}


def test_a_quote_that_is_never_closed_takes_no_other_row_down(write):
    table = read_table(write('article_id,title,text\n1,A,"offen\n2,B,"a, b"\n3,"C, D\n4,E,F\n', "list.csv"))
    assert table.columns["article_id"] == ("2", "4")
    assert table.columns["text"] == ("a, b", "F")
    assert table.bad == dict.fromkeys((2, 4), "has unbalanced quotes, or not 3 cells")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_whatever_the_suffix(write, delimiter):
    content = "\n".join(delimiter.join(cells) for cells in (["article_id", "title"], ["1", '"a, b; c | d"']))
    assert read_table(write(content, "list.txt")).columns["title"] == ("a, b; c | d",)


def test_crlf_and_columns_without_name(write):
    header = "articleID\taid\turl\t\t\thashvalue\ttitle\ttext\r\n"
    table = read_table(write(header + "1\t\tu\t\t\t\tTitel\tText\r\n"))
    assert table.columns["text"] == ("Text",)
    assert "" not in table.columns


def test_json_lines(write):
    content = '{"article_id": 7, "Title": "Ä \\ud83d", "text": null}\n\n{"article_id": 8.0, "title": "B"}\n[1]\n{"x"\n'
    table = read_table(write(content, "list.jsonl"))
    assert table.columns == {"article_id": ["7", "8"], "title": ["Ä \ufffd", "B"], "text": ["", ""]}
    assert table.lines == [1, 3]
    assert table.bad[4] == "is not a JSON object"
    assert table.bad[5].startswith("is not valid JSON")


def test_long_cells_are_no_problem(write):
    assert len(read_table(write(HEADER + row(1, text="x" * 200_000))).columns["text"][0]) == 200_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \r\n\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        ("id;headline\n1;x\n", "has an unknown layout: its first line holds 'id', 'headline'"),
        ('{"id": 1}', "has an unknown layout: its first line holds 'id'"),
        ('{"id"', "Line 1 of {path} is not valid JSON"),
        (b"PAR1 is no Parquet", "Parquet file that cannot be read"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "unknown layout"),
    ],
)
def test_unreadable_files_are_named(write, content, message):
    path = write(content)
    with pytest.raises(errors.NewsMatchError) as error:
        read_table(path)
    assert str(path) in str(error.value)
    assert message.format(path=path) in str(error.value)
    assert str(error.value).endswith(".")
    assert "\n" not in str(error.value)
