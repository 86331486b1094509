import datasets
import pytest

from hf_newsmatch import NewsMatchError
from hf_newsmatch.configs import DataArguments
from hf_newsmatch.data import images
from hf_newsmatch.data.corpus import load_corpus, load_test_split
from tests.utils.news import arguments, make_picture, with_test_lists, write_news_folder, write_test_lists


@pytest.fixture
def news(tmp_path):
    return write_news_folder(tmp_path / "news")


def test_without_a_test_list_the_newest_fifth_is_held_out(news):
    corpus = load_corpus(arguments(news))
    assert [len(corpus.train), len(corpus.validation)] == [26, 6]
    assert list(corpus.splits) == ["validation", "test"]
    test = corpus.splits["test"]
    assert test.articles["article_id"][:] == [str(9000 - number) for number in range(32, 40)]
    # the last four articles have the pictures of the first four
    assert test.images["image_id"][:] == ["P32", "P33", "P34", "P35", "P0", "P1", "P2", "P3"]
    assert test.gold == dict(zip(test.articles["article_id"], test.articles["image_id"]))
    assert corpus.report["split"]["parts"]["test"]["shared_pictures"] == 4


def test_holding_out_can_be_refused(news):
    corpus = load_corpus(arguments(news, holdout_test=False))
    assert [len(corpus.train), len(corpus.validation)] == [32, 8]
    assert list(corpus.splits) == ["validation"]


def test_candidates_are_the_distinct_pictures(tmp_path):
    corpus = load_corpus(arguments(write_news_folder(tmp_path, count=20, shared=18), holdout_test=False))
    assert corpus.splits["validation"].images["image_id"][:] == ["P0", "P1"]
    assert len(corpus.splits["validation"].articles) == 4


def test_unlinked_test_lists(tmp_path, news):
    write_test_lists(news, write_news_folder(tmp_path / "later", count=10, first=50, shared=2))
    for picture in (tmp_path / "later" / "images").iterdir():
        picture.rename(news / "images" / picture.name)
    corpus = load_corpus(arguments(news, **with_test_lists(news)))
    assert [len(corpus.train), len(corpus.validation)] == [32, 8]
    test = corpus.splits["test"]
    assert len(test.articles) == 10
    assert sorted(test.images["image_id"]) == [f"P{number}" for number in range(50, 58)]
    assert test.gold["8950"] == "P50"
    test_list = corpus.report["test_list"]
    assert (test_list["articles"], test_list["pictures"]) == (10, 8)
    assert (test_list["shared_articles"], test_list["shared_pictures"]) == (0, 0)


def test_unusable_pictures_are_counted_and_left_out(news):
    (news / "images" / "P7.png").write_bytes(b"")
    (news / "images" / "P9.png").write_bytes(b"no picture")
    (news / "images" / "P33.png").unlink()
    corpus = load_corpus(arguments(news))
    unusable = corpus.report["unusable_pictures"]
    assert {item["image_id"] for item in unusable["pictures"]} == {"P7", "P9", "P33"}
    assert sum(unusable["counts"].values()) == 3
    assert corpus.report["pairs_without_usable_picture"] == 3
    everywhere = {*corpus.train["image_id"], *corpus.validation["image_id"], *corpus.splits["test"].images["image_id"]}
    assert everywhere.isdisjoint({"P7", "P9", "P33"})
    assert len(corpus.train) + len(corpus.validation) + len(corpus.splits["test"].articles) == 37


def test_refuses_data_without_any_usable_picture(news):
    for picture in (news / "images").iterdir():
        picture.write_bytes(b"")
    with pytest.raises(NewsMatchError, match="None of the 40 articles"):
        load_corpus(arguments(news))


def test_a_picture_of_the_gold_may_be_unusable(tmp_path, news):
    """The article stays, and scores 0: its picture is no candidate."""
    write_test_lists(news, write_news_folder(tmp_path / "later", count=3, first=50, shared=0))
    make_picture(50).save(news / "images" / "P50.png")
    make_picture(51).save(news / "images" / "P51.png")
    (news / "images" / "P52.png").write_bytes(b"")
    test = load_corpus(arguments(news, **with_test_lists(news))).splits["test"]
    assert len(test.articles) == len(test.gold) == 3
    assert test.images["image_id"][:] == ["P50", "P51"]


def test_a_test_list_that_was_trained_on_is_reported(news, caplog):
    file = str(news / "articles.tsv")
    corpus = load_corpus(DataArguments(articles_file=file, test_articles_file=file))
    test_list = corpus.report["test_list"]
    assert (test_list["shared_articles"], test_list["shared_pictures"]) == (40, 36)
    assert "40 of the 40 test articles" in caplog.text
    # a linked test list is its own gold
    assert len(corpus.splits["test"].gold) == 40


def test_a_test_list_takes_the_place_of_the_newest_fifth(tmp_path, news):
    """With --holdout_test the newest articles are not trained on either, but the list is what is ranked."""
    write_test_lists(news, write_news_folder(tmp_path / "later", count=10, first=50, shared=2))
    for picture in (tmp_path / "later" / "images").iterdir():
        picture.rename(news / "images" / picture.name)
    corpus = load_corpus(arguments(news, holdout_test=True, **with_test_lists(news)))
    assert [len(corpus.train), len(corpus.validation)] == [26, 6]
    assert list(corpus.splits) == ["validation", "test"]
    assert len(corpus.splits["test"].articles) == 10
    assert (corpus.report["holdout_test"], list(corpus.report["split"]["parts"])) == (True, ["train", "validation"])


def test_lists_are_read_before_any_picture_is_decoded(news, monkeypatch):
    monkeypatch.setattr(images, "check_pictures", lambda *args: pytest.fail("pictures were decoded"))
    with pytest.raises(NewsMatchError, match=r"absent\.tsv does not exist"):
        load_corpus(arguments(news, test_articles_file="absent.tsv"))


def test_refuses_a_test_list_without_any_usable_picture(tmp_path, news):
    write_test_lists(news, write_news_folder(tmp_path / "later", count=3, first=50, shared=0))
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "P50.png").write_bytes(b"")
    with pytest.raises(NewsMatchError, match=r"None of the 3 candidates of .*has a usable picture; --test_image_dir"):
        load_corpus(arguments(news, **with_test_lists(news), test_image_dir=str(tmp_path / "none")))


def test_pictures_known_as_unusable_are_not_decoded_again(news, monkeypatch):
    (news / "images" / "P7.png").write_bytes(b"")
    first = load_corpus(arguments(news))
    monkeypatch.setattr(images, "check_pictures", lambda *args: pytest.fail("pictures were decoded"))
    again = load_corpus(arguments(news), first.report["unusable_pictures"]["pictures"])
    assert again.report == first.report
    assert again.train["article_id"][:] == first.train["article_id"][:]
    (news / "images" / "P8.png").unlink()
    with pytest.raises(NewsMatchError, match=r"The picture P8\.png is gone since the run began; restore it"):
        load_corpus(arguments(news), first.report["unusable_pictures"]["pictures"])


def test_the_test_split_alone(tmp_path, news):
    assert load_test_split(arguments(news)) == (None, [])
    write_test_lists(news, write_news_folder(tmp_path / "later", count=3, first=50, shared=0))
    make_picture(50).save(news / "images" / "P50.png")
    split, unusable = load_test_split(arguments(news, **with_test_lists(news)))
    assert (len(split.articles), split.images["image_id"][:]) == (3, ["P50"])
    assert [(item["image_id"], item["reason"]) for item in unusable] == [("P51", "missing"), ("P52", "missing")]


def test_bad_rows_of_a_linked_test_list_are_left_out_of_all_that_it_gives(tmp_path):
    rows = ["article_id\ttitle\timage_id", "1\tA\tp", "2\tB\tq\textra", "3\tC\tr"]
    for name in "pqr":
        make_picture(ord(name)).save(tmp_path / f"{name}.jpg")
    (tmp_path / "test.tsv").write_text("\n".join(rows) + "\n")
    names = {"test_articles_file": str(tmp_path / "test.tsv"), "test_image_dir": str(tmp_path)}
    split = load_corpus(DataArguments(**names, skip_bad_rows=True)).splits["test"]
    assert split.articles["article_id"][:] == ["1", "3"]
    assert split.gold == {"1": "p", "3": "r"}


def test_test_flags_need_a_test_list(news):
    with pytest.raises(NewsMatchError, match="--gold_file belongs to a test list"):
        load_corpus(arguments(news, gold_file="absent.tsv"))


def test_validation_on_one_picture_is_refused_and_on_few_warned_of(tmp_path, caplog):
    news = write_news_folder(tmp_path, count=20, shared=19)
    with pytest.raises(NewsMatchError, match="one picture only"):
        load_corpus(arguments(news, holdout_test=False))
    load_corpus(arguments(write_news_folder(tmp_path / "few", count=20, shared=0), holdout_test=False))
    assert "only 4 pictures" in caplog.text


def test_held_out_in_the_order_that_was_asked_for(news):
    corpus = load_corpus(arguments(news, sort_by="file"))
    lines = (news / "articles.tsv").read_text().splitlines()
    (news / "articles.tsv").write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    again = load_corpus(arguments(news, sort_by="file"))
    assert again.splits["test"].articles["article_id"][:] == corpus.train["article_id"][:8][::-1]


def test_missing_pictures_are_one_warning_with_a_file_of_all(news, caplog, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for number in range(12):
        (news / "images" / f"P{number}.png").unlink()
    corpus = load_corpus(arguments(news))
    (record,) = [r for r in caplog.records if "pictures are left out" in r.getMessage()]
    message = record.getMessage()
    assert message.startswith("12 pictures are left out (12 missing): P0 (P0.png, missing); P1 ")
    assert message.count("missing)") == 6
    (file,) = (tmp_path / "cache" / "newsmatch" / "unusable_pictures").iterdir()
    assert str(file) in message
    rows = [line.split("\t") for line in file.read_text().splitlines()]
    assert rows == [["image_id", "image_file", "reason"], *([f"P{i}", f"P{i}.png", "missing"] for i in range(12))]
    assert len(corpus.report["unusable_pictures"]["pictures"]) == 12
