"""Articles that stand in several rows, each with another picture."""

import io

import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_newsmatch import NewsMatchError
from hf_newsmatch.data.newsimages import load_articles, load_gold, load_images, load_pairs

HEADER = "article_id\timage_id\ttitle\ttext\tpublished"
ROWS = [
    "1\ta\tStorm\tIt rains\t2026-01-01",
    "2\tb\tGoal\tThey won\t2026-01-02",
    "1\tc\tStorm\tIt rains\t2026-01-01",
    "1\ta\tStorm\tIt rains\t2026-01-01",
    "1#2\te\tTaken\tAn id of its own\t2026-01-03",
    "1\td\tStorm\tIt rains\t2026-01-01",
]


@pytest.fixture
def news(tmp_path):
    def write(rows=ROWS):
        file = tmp_path / "articles.tsv"
        file.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
        return file

    return write


def links(pairs):
    return list(zip(pairs["article_id"][:], pairs["image_id"][:]))


def test_by_default_they_are_bad_rows(news):
    with pytest.raises(NewsMatchError, match=r"Line 4 .* the article id '1' of line 2 again .*first of 3 bad rows"):
        load_pairs(news(), find_pictures=False)


def test_the_first_is_kept_and_the_others_are_counted(news, caplog):
    for _ in range(2):  # from the cache, too
        caplog.clear()
        pairs = load_pairs(news(), find_pictures=False, several_pictures="first")
        assert links(pairs) == [("1", "a"), ("2", "b"), ("1#2", "e")]
        assert "Left out 3 rows" in caplog.text


def test_all_are_pairs_under_ids_of_their_own(news, caplog):
    pairs = load_pairs(news(), find_pictures=False, several_pictures="all")
    assert links(pairs) == [("1", "a"), ("2", "b"), ("1#3", "c"), ("1#2", "e"), ("1#4", "d")]
    assert "Left out 1 rows" in caplog.text  # the picture that it has already
    assert pairs["title"][2] == "Storm"


def test_an_article_is_one_query_with_one_true_picture(news):
    assert load_articles(news(), several_pictures="all")["article_id"][:] == ["1", "2", "1#2"]
    assert load_gold(news(), several_pictures="all") == {"1": "a", "2": "b", "1#2": "e"}


@pytest.mark.parametrize("option", ["first", "all"])
def test_another_article_under_the_same_id_stays_a_mistake(news, option):
    rows = [*ROWS[:2], "1\tc\tAnother\tIt rains\t2026-01-01"]
    with pytest.raises(NewsMatchError, match=r"Line 4 .* has the article id '1' of line 2 again"):
        load_pairs(news(rows), find_pictures=False, several_pictures=option)


def test_an_unknown_option_is_named(news):
    with pytest.raises(NewsMatchError, match="takes refuse, first, all, not 'each'"):
        load_pairs(news(), several_pictures="each")


def test_the_remedy_is_named(news):
    with pytest.raises(NewsMatchError, match=r"Line 4 .* are read with --several_pictures first or all"):
        load_pairs(news(), find_pictures=False)


@pytest.mark.parametrize("option", ["first", "all"])
@pytest.mark.parametrize("first", ["1\ta\tStorm\tIt rains\t31.02.2026", "1\t\tStorm\tIt rains\t2026-01-01"])
def test_a_bad_first_row_or_one_without_picture_hides_no_article(news, option, first):
    rows = [first, "1\tb\tStorm\tIt  rains\t2026-01-01", "2\tc\tGoal\tThey won\t2026-01-02"]
    pairs = load_pairs(news(rows), find_pictures=False, several_pictures=option, skip_bad_rows=True)
    assert links(pairs) == [("1", "b"), ("2", "c")]
    assert load_gold(news(rows), several_pictures=option, skip_bad_rows=True) == {"1": "b", "2": "c"}


LISTED = '{"article_id": 1, "title": "", "image_id": ["p", "q"]}\n{"article_id": 2, "title": "", "image_id": ["r"]}\n'


@pytest.mark.parametrize(
    ("option", "expected"), [("first", [("1", "p"), ("2", "r")]), ("all", [("1", "p"), ("1#2", "q"), ("2", "r")])]
)
def test_a_row_may_list_its_pictures(tmp_path, option, expected):
    file = tmp_path / "articles.jsonl"
    file.write_text(LISTED)
    assert links(load_pairs(file, find_pictures=False, several_pictures=option)) == expected
    assert load_images(file)["image_id"][:] == ["p", "q", "r"]
    assert load_articles(file)["article_id"][:] == ["1", "2"]


def test_a_row_that_lists_pictures_is_bad_by_default(tmp_path, caplog):
    file = tmp_path / "articles.jsonl"
    file.write_text(LISTED)
    with pytest.raises(NewsMatchError, match=r"Line 1 of .* has several pictures \(articles .* --several_pictures"):
        load_pairs(file, find_pictures=False)
    assert links(load_pairs(file, find_pictures=False, skip_bad_rows=True)) == [("2", "r")]
    assert "Left out 1 bad rows" in caplog.text


def test_pictures_inside_that_share_an_article_id_are_several(tmp_path):
    files = []
    for colour in ("red", "blue"):
        stream = io.BytesIO()
        PIL.Image.new("RGB", (4, 4), colour).save(stream, "PNG")
        files.append(stream.getvalue())
    table = pa.table({"article_id": ["1", "1"], "title": ["A", "A"], "image": pa.array(files, pa.binary())})
    pq.write_table(table, tmp_path / "list.parquet")
    images = load_images(tmp_path / "list.parquet")
    assert [image.getpixel((0, 0)) for image in images["image"]] == [(255, 0, 0), (0, 0, 255)]
    pairs = load_pairs(tmp_path / "list.parquet", several_pictures="all")
    assert pairs["article_id"][:] == ["1", "1#2"]
    assert len(set(pairs["image_id"][:])) == 2
