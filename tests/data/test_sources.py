import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest

from hf_newsmatch.data import sources
from hf_newsmatch.data.newsimages import load_articles, load_gold, load_images, load_pairs
from hf_newsmatch.data.sources import bad_rows
from hf_newsmatch.errors import NewsMatchError
from tests.utils.lists import LINKED, ORGANISERS

GOOD = "{0}\t\tu\t\ti{0}\th\tTitel\tText\tx{0}.jpg\n"
FURTHER = " (articles of several pictures are read with --several_pictures first or all)"
BAD = {
    "too few cells": ("909\tx\n", "has 2 cells where 9 are expected"),
    "too many cells": ("909" + "\t" * 9 + "\n", "has 10 cells where 9 are expected"),
    "no article id": ("\t\tu\t\ti\th\tTitel\tText\tx.jpg\n", "has no article id"),
    "the same id": ("1\t\tu\t\ti\th\tTitel\tText\tx.jpg\n", "has the article id '1' of line 2 again" + FURTHER),
    "the same row": (GOOD.format(1), "has the article id '1' of line 2 again"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_rows(write, caplog, case):
    row, message = BAD[case]
    path = write(f"{ORGANISERS}\n{GOOD.format(1)}{row}{GOOD.format(2)}")
    with pytest.raises(NewsMatchError) as error:
        load_pairs(path)
    assert str(error.value).startswith(f"Line 3 of {path} {message}; correct it, or leave such rows out")
    assert str(error.value).endswith("skip_bad_rows=True (--skip_bad_rows).")
    for _ in range(2):  # from the file, and from the cache
        caplog.clear()
        assert load_pairs(path, skip_bad_rows=True)["article_id"][:] == ["1", "2"]
        left_out = [record.levelno for record in caplog.records if "Left out" in record.message]
        assert left_out == [logging.WARNING]
        assert f"Left out 1 bad rows of {path} (line 3 {message})." in caplog.text


def test_many_bad_rows_are_counted(write, caplog):
    path = write(f"{ORGANISERS}\n{GOOD.format(1)}" + "x\n" * 12)
    with pytest.raises(NewsMatchError, match=r"^Line 3 of .*the first of 12 bad rows"):
        load_articles(path)
    assert len(load_articles(path, skip_bad_rows=True)) == 1
    assert "Left out 12 bad rows" in caplog.text
    assert "line 12 has" in caplog.text
    assert "line 13 has" not in caplog.text


def test_bad_rows_can_be_had(write, caplog):
    path = write(f"{ORGANISERS}\n{GOOD.format(1)}" + "x\n" * 12 + GOOD.format(2))
    for _ in range(2):  # from the file, and from the cache
        assert bad_rows(path) == [f"line {line} has 1 cells where 9 are expected" for line in range(3, 15)]
    assert not caplog.records
    assert bad_rows(write(LINKED), "articles") == []


def test_bad_dates_name_row_and_value(write):
    with pytest.raises(NewsMatchError, match=r"^Line 3 of .* has the date '03/04/2019', which is ambiguous"):
        load_pairs(write(LINKED.replace("2019-04-01", "03/04/2019")))


@pytest.mark.parametrize("load", [load_pairs, load_articles, load_images, load_gold])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        ("", "is empty"),
        (f"{ORGANISERS}\n", "has a header but no rows"),
        ("name;city\n1;2\n", "has an unknown layout"),
        (bytes(range(256)), "is not a text file"),
    ],
)
def test_files_that_cannot_be_read(write, tmp_path, load, content, message):
    path = tmp_path / "none.tsv" if content is None else write(content)
    with pytest.raises(NewsMatchError) as error:
        load(path)
    assert str(error.value).startswith(f"{path} {message}")
    assert str(error.value).endswith(".")
    assert "\n" not in str(error.value)


def test_a_folder_is_no_list(tmp_path):
    with pytest.raises(NewsMatchError, match="is a folder"):
        load_pairs(tmp_path)


def test_a_list_without_usable_rows(write):
    with pytest.raises(NewsMatchError, match="no usable rows"):
        load_articles(write(f"{ORGANISERS}\nx\n"), skip_bad_rows=True)


def test_a_data_set_that_the_hub_does_not_give(monkeypatch):
    def fail(*args, **kwargs):
        raise ConnectionError("Couldn't reach the Hub\nTraceback …")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(
        NewsMatchError, match=r"^someone/some-news is neither a file here.*\(Couldn't reach the Hub\)[^\n]*\.$"
    ):
        load_pairs("someone/some-news")


def test_the_second_load_parses_and_cleans_nothing(write, cache, monkeypatch):
    path = write(LINKED)
    first = load_pairs(path)
    files = {file: file.stat().st_mtime_ns for file in (cache / "newsmatch").rglob("*.arrow")}
    assert len(files) == 2
    monkeypatch.setattr(sources, "read_table", None)
    monkeypatch.setattr("hf_newsmatch.data.cleaning.clean_text", None)
    assert load_pairs(path)["text"][:] == first["text"][:]
    assert {file: file.stat().st_mtime_ns for file in (cache / "newsmatch").rglob("*.arrow")} == files


def test_the_cache_holds_in_another_process(write, cache):
    path = write(LINKED)
    load_articles(path)
    files = sorted((cache / "newsmatch").rglob("*"))
    script = (
        f"import datasets; datasets.config.HF_DATASETS_CACHE = {str(cache)!r}\n"
        f"from hf_newsmatch.data import newsimages; newsimages.load_articles({str(path)!r})"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert sorted((cache / "newsmatch").rglob("*")) == files


def test_a_changed_file_is_read_again(write):
    assert load_articles(write(LINKED))[0]["title"] == "Zwei Löwen im Zoo"
    assert load_articles(write(LINKED.replace("Zwei", "Drei")))[0]["title"] == "Drei Löwen im Zoo"


def test_a_list_that_fails_leaves_nothing_in_the_cache(write, cache):
    with pytest.raises(NewsMatchError):
        load_articles(write(LINKED + "x\n"))
    assert not [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize("value", ["a\tb", "a\nb", 'a"b', "a\r", "a\u2028b"])
@pytest.mark.parametrize("column", ["article_id", "image_id"])
def test_ids_with_line_ends_tabs_or_quotes_are_bad_rows(write, column, value):
    rows = [{"article_id": "1", "title": "A", "image_id": "i1"}, {"article_id": "2", "title": "B", "image_id": "i2"}]
    rows[1][column] = value + "x"
    path = write("\n".join(map(json.dumps, rows)), "list.jsonl")
    noun = column.removesuffix("_id")
    assert bad_rows(path) == [f"line 2 has a line end, a tab or a quote in its {noun} id"]
    assert load_pairs(path, skip_bad_rows=True)["article_id"][:] == ["1"]


def test_a_list_whose_every_row_is_bad(write):
    dates = "article_id,title,published\n1,A,21.04.2019\n2,B,22.04.2019\n"
    with pytest.raises(NewsMatchError, match=r"^Line 2 of .* has the date '21.04.2019'.*the first of 2 bad rows"):
        load_articles(write(dates, "list.csv"))
    with pytest.raises(NewsMatchError, match="no usable rows"):
        load_articles(write(dates, "list.csv"), skip_bad_rows=True)


def test_ids_are_compared_with_composed_unicode(write):
    composed, decomposed = "M\u00fcnchen", "Mu\u0308nchen"
    articles = load_articles(write(f"article_id,title\n{decomposed},A\n", "a.csv"))
    images = load_images(write(f"image_id\n{decomposed}\n", "i.csv"))
    gold = load_gold(write(f"article_id,image_id\n{composed},{composed}\n", "g.csv"), articles)
    assert gold == {articles[0]["article_id"]: images[0]["image_id"]} == {composed: composed}


def _cached(folder):
    return sorted((folder / "newsmatch").rglob("*.arrow"))


@pytest.mark.parametrize("name", ["records", "cache-"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "flipped far back"])
def test_damaged_cache_files_are_made_again(write, cache, name, damage):
    path = write(LINKED)
    rows = load_articles(path)[:]
    file = next(file for file in _cached(cache) if file.name.startswith(name))
    data = bytearray(file.read_bytes())
    if damage.startswith("flipped"):
        at = data.index("Löwen".encode()) if "far" in damage else 9
        data[at] ^= 1
    file.write_bytes({"cut": data[: len(data) // 2], "empty": b""}.get(damage, data))
    for _ in range(2):
        assert load_articles(path)[:] == rows


def test_a_cache_file_whose_process_was_killed_before_its_hash(write, cache):
    path = write(LINKED)
    rows = load_articles(path)[:]
    files = _cached(cache)
    for file in files:
        file.with_name(f"{file.name}.sha256").unlink()
    files[0].write_bytes(files[0].read_bytes()[:-200])
    assert load_articles(path)[:] == rows


def test_another_users_cache_is_passed_over(write, cache, monkeypatch):
    path = write(LINKED)
    rows = load_articles(path)[:]
    folder = _cached(cache)[0].parent
    _cached(cache)[0].write_bytes(b"")
    unlink = Path.unlink

    def refuse(self, missing_ok=False):
        if self.parent == folder:
            raise PermissionError(13, "Permission denied", str(self))
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    for _ in range(2):
        assert load_articles(path)[:] == rows
    assert len([file for file in _cached(cache) if file.parent != folder]) == 2


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_cache_files_follow_the_umask(write, cache, mask, mode):
    before = os.umask(mask)
    try:
        load_articles(write(LINKED))
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in cache.rglob("*") if file.is_file()} == {mode}


@pytest.mark.parametrize("splits", [False, True])
def test_folders_of_save_to_disk(tmp_path, splits):
    data = datasets.Dataset.from_dict({"article_id": ["1", "2"], "title": ["A", "B"], "image_id": ["p", "q"]})
    (datasets.DatasetDict(train=data, test=data.select([0])) if splits else data).save_to_disk(tmp_path / "saved")
    assert load_articles(tmp_path / "saved")["title"][:] == ["A", "B"]
    assert load_gold(tmp_path / "saved") == {"1": "p", "2": "q"}
    next((tmp_path / "saved").rglob("*.arrow")).write_bytes(b"cut")
    with pytest.raises(NewsMatchError, match=r"saved cannot be read \(.*\); save it again\.$"):
        load_articles(tmp_path / "saved")
