import io
import os

import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_newsmatch import errors
from hf_newsmatch.data.newsimages import load_articles, load_gold, load_images, load_pairs
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


@pytest.mark.parametrize("encoding", ["utf-32", "utf-32-le", "utf-32-be"])
def test_utf_32(encoding):
    data = "Straße „x“".encode(encoding)
    boms = {"utf-32-le": b"\xff\xfe\0\0", "utf-32-be": b"\0\0\xfe\xff"}
    assert decode(boms.get(encoding, b"") + data, "x") == "Straße „x“"


@pytest.mark.parametrize("first", ["sep=;\n", '"sep=;"\r\n', "SEP=;\r\n\n"])
def test_excels_line_with_the_delimiter_is_no_header(write, first):
    table = read_table(write(f"{first}article_id;title\n1;a, b\n", "list.csv"))
    assert table.columns == {"article_id": ("1",), "title": ("a, b",)}


def test_a_json_array_is_a_list(write):
    table = read_table(write('[\n {"article_id": 1, "title": "A"},\n 5, {"article_id": 2, "title": "B"}\n]', "a.json"))
    assert table.columns == {"article_id": ["1", "2"], "title": ["A", "B"]}
    assert table.bad == {2: "is not a JSON object"}
    assert table.unit == "row"


def test_json_that_is_nested_deeply_is_a_bad_row(write):
    deep = '{"article_id": 1, "title": ' + "[" * 100_000 + "]" * 100_000 + "}"
    table = read_table(write(f'{deep}\n{{"article_id": 2, "title": "B"}}\n', "list.jsonl"))
    assert table.columns["article_id"] == ["2"]
    assert table.bad == {1: "is not valid JSON (nested too deeply)"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000, "unknown layout"),
        ('[{"a":' + "[" * 100_000, r"JSON array but is not valid \(nested too deeply\)"),
        ("[]", "is an empty JSON array"),
        (b"PK\x03\x04workbook", "archive or a workbook"),
        (b"\x1f\x8bgzip", "archive or a workbook"),
        ("article_id\n".encode("utf-16-le"), "UTF-16 without its byte order mark"),
        (b"\xff\xfe\0\0abc", "begins as UTF-32 text but is not valid"),
    ],
)
def test_advice_for_other_kinds_of_files(write, content, message):
    with pytest.raises(errors.NewsMatchError, match=message) as error:
        read_table(write(content))
    assert len(str(error.value)) < 2000
    assert str(error.value).endswith(".")


def _parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def test_binary_strings_and_lists_in_parquet(tmp_path):
    path = _parquet(
        tmp_path / "list.parquet",
        article_id=pa.array([b"1", "ä2".encode(), b"3"], pa.binary()),
        title=pa.array([["A", "B"], ["C"], []], pa.list_(pa.string())),
        text=pa.array(["Brücke".encode(), b"x", b"\xff\xfe"], pa.large_binary()),
        embedding=pa.array([[0.5, 1.0]] * 3),
    )
    table = read_table(path)
    assert table.columns["article_id"] == ["1", "ä2"]
    assert table.columns["title"] == ["A, B", "C"]
    assert table.columns["text"] == ["Brücke", "x"]
    assert table.lines == [1, 2]
    assert table.bad == {3: "has bytes that are not UTF-8 text in its column 'text'"}


def test_values_that_are_no_text_are_named(write):
    lines = [
        '{"article_id": ["1"], "title": ["A", "B"]}',
        '{"article_id": ["2", "3"], "title": "C"}',
        '{"article_id": 4, "title": {"de": "D"}}',
        '{"article_id": 5, "title": [["E"]]}',
    ]
    table = read_table(write("\n".join(lines), "list.jsonl"))
    assert table.columns == {"article_id": ["1"], "title": ["A, B"]}
    assert table.bad == {
        2: "has several values in its column 'article_id' (2, 3)",
        3: "has an object of several fields in its column 'title'",
        4: "has a list of lists in its column 'title'",
    }


@pytest.mark.parametrize("columns", [{"article_id": [], "title": []}, {}])
def test_an_empty_parquet_file_is_named(tmp_path, columns):
    path = _parquet(tmp_path / "empty.parquet", **{name: pa.array(v, pa.string()) for name, v in columns.items()})
    with pytest.raises(errors.NewsMatchError, match="has no rows; check"):
        load_articles(path)


def test_raw_bytes_in_the_column_image_are_pictures(tmp_path):
    files = []
    for color in ("red", "blue", "lime"):
        stream = io.BytesIO()
        PIL.Image.new("RGB", (4, 4), color).save(stream, "PNG")
        files.append(stream.getvalue())
    path = _parquet(
        tmp_path / "list.parquet",
        article_id=["1", "2", "3"],
        title=["A", "B", "C"],
        text=pa.array(["a", b"\xff", "c"], pa.binary()),
        image=pa.array(files, pa.binary()),
    )
    pairs = load_pairs(path, skip_bad_rows=True)
    assert pairs["image_id"][:] == ["1", "3"]
    assert [image.getpixel((0, 0)) for image in pairs["image"]] == [(255, 0, 0), (0, 255, 0)]


@pytest.mark.parametrize("encoding", ["mac_roman", "cp850", "cp1251", "koi8-r", "shift_jis", "gb18030", "cp1250"])
def test_a_text_of_another_encoding_than_it_is_taken_for_is_doubted(tmp_path, caplog, encoding):
    words = {"cp1251": "Привет мир", "koi8-r": "Привет мир", "shift_jis": "日本語のニュース", "gb18030": "中文新聞"}
    word = words.get(encoding, "Łódź Žižkov" if encoding == "cp1250" else "Köln Straße hörte")
    path = tmp_path / "list.tsv"
    path.write_bytes(f"article_id\ttitle\ttext\n1\tplain\tplain\n2\t{word}\t{word}\n".encode(encoding))
    for _ in range(2):  # from the cache, too
        caplog.clear()
        load_articles(path)
        assert "is not UTF-8, and read as Windows-1252 it looks like another encoding" in caplog.text
        assert "in line 3); save it as UTF-8." in caplog.text


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "utf-16"])
def test_western_news_are_not_doubted(tmp_path, caplog, encoding):
    text = "„Köln“ – Straße, Château d’été, ¿Señor?, 5 °C, § 3, 10 €, Übergröße, cœur"
    path = tmp_path / "list.tsv"
    path.write_bytes(f"article_id\ttitle\ttext\n1\t{text}\t{text}\n".encode(encoding))
    assert load_articles(path)["title"][:] == [text]
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.csv", "article_id,title,Title,text\n1,,b,c\n"),
        ("list.tsv", "article_id\ttitle\timage_id\timage_id\n1\ta\tp\tq\n"),
    ],
)
def test_two_columns_of_one_name_are_refused(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(errors.NewsMatchError, match=r"has several columns '(title|image_id)', .* rename or remove"):
        load_articles(tmp_path / name)


def test_two_columns_of_one_name_that_nobody_reads_are_fine(tmp_path):
    (tmp_path / "list.csv").write_text("article_id,title,note,note,,\n1,a,x,y,,\n")
    assert load_articles(tmp_path / "list.csv")["title"][:] == ["a"]


def test_two_columns_of_one_name_in_parquet_are_refused(tmp_path):
    path = _parquet(tmp_path / "list.parquet", article_id=["1"], title=["a"], Title=["b"])
    with pytest.raises(errors.NewsMatchError, match="has several columns 'title'"):
        load_articles(path)


@pytest.mark.parametrize("array", [False, True])
def test_a_json_object_that_says_a_field_twice_is_a_bad_row(tmp_path, array):
    rows = ['{"article_id": 1, "title": "a", "Title": "b"}', '{"article_id": 2, "title": "c"}']
    path = tmp_path / "list.json"
    path.write_text(f"[{','.join(rows)}]" if array else "\n".join(rows))
    with pytest.raises(errors.NewsMatchError, match=r"(Line|Row) 1 of .* has the field 'title' twice"):
        load_articles(path)
    assert load_articles(path, skip_bad_rows=True)["title"][:] == ["c"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("load", [load_articles, load_pairs, load_images, load_gold])
def test_a_pipe_in_place_of_a_list_is_not_waited_for(tmp_path, load):
    os.mkfifo(tmp_path / "list.tsv")
    for path in (tmp_path / "list.tsv", "/dev/zero"):
        with pytest.raises(errors.NewsMatchError, match="is a pipe or a device; save what it gives as a file"):
            load(path)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_strings_of_parquet_that_are_not_utf_8_are_bad_rows(tmp_path, kind):
    as_bytes = pa.large_binary() if kind == pa.large_string() else pa.binary()
    titles = pa.array([b"Br\xc3\xbccke", b"Br\xfccke", None], as_bytes)
    titles = pa.Array.from_buffers(kind, 3, titles.buffers())
    path = _parquet(tmp_path / "list.parquet", article_id=["1", "2", "3"], title=titles)
    with pytest.raises(errors.NewsMatchError, match=r"Row 2 of .* has bytes that are not UTF-8 text in its column"):
        load_articles(path)
    assert load_articles(path, skip_bad_rows=True)["title"][:] == ["Brücke", ""]


def test_a_moment_beyond_the_calendar_is_named(tmp_path):
    moments = pa.array([10**18], pa.timestamp("us"))
    path = _parquet(tmp_path / "list.parquet", article_id=["1"], title=["a"], published=moments)
    with pytest.raises(errors.NewsMatchError, match=r"column 'published' of .* holds a value that cannot be read"):
        load_articles(path)
