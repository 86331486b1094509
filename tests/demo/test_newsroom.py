"""The demo corpus on disk, and the tiny CLIP that reads it."""

import csv
import json
from collections import Counter
from datetime import date

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, CLIPModel

import hf_newsmatch as nm
from hf_newsmatch.data.text import join_text
from hf_newsmatch.demo import drawing, newsroom
from hf_newsmatch.models.loading import resolve_checkpoint

TUNING_SEED = 11  # not the demo's own
FILES = {"articles.tsv", "test_articles.tsv", "test_images.tsv", "test_gold.tsv", "newsroom.json", "images"}
OF_PICTURE = ("img", "iid", "hashvalue", "imgFile")


def rows(file):
    with open(file, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))


def content(folder):
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def feed(tmp_path_factory):
    return nm.write_newsroom(tmp_path_factory.mktemp("feed") / "news", seed=TUNING_SEED)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(newsroom, "TRAIN", 60)
    monkeypatch.setattr(newsroom, "TEST", 40)


def test_the_folder_has_a_participants_files(feed):
    assert {file.name for file in feed.iterdir()} == FILES
    articles, test, pictures, gold = (
        rows(feed / name) for name in ("articles.tsv", "test_articles.tsv", "test_images.tsv", "test_gold.tsv")
    )
    assert len(articles) == 1800
    assert len(test) == len(gold) == 1500
    assert list(gold[0]) == ["articleID", "iid"]
    for row in articles:
        assert tuple(row) == newsroom.HEADER
        assert all(row.values())
        assert row["imgFile"].rsplit(".", 1)[0] == row["iid"]
    for row in test:
        assert tuple(row) == newsroom.HEADER
        assert [column for column in row if not row[column]] == list(OF_PICTURE)
    for row in pictures:
        assert tuple(row) == newsroom.HEADER
        assert [column for column in row if row[column]] == list(OF_PICTURE)


def test_the_gold_links_all_and_only_the_test_lists(feed):
    test, pictures, gold = (rows(feed / name) for name in ("test_articles.tsv", "test_images.tsv", "test_gold.tsv"))
    assert [row["# article"] for row in test] == [row["articleID"] for row in gold]
    assert len({row["articleID"] for row in gold}) == len(gold)
    ids = [row["iid"] for row in pictures]
    assert len(ids) == len(set(ids))
    assert set(ids) == {row["iid"] for row in gold}
    # shuffled: the place in the list says nothing of the article
    place = {iid: i for i, iid in enumerate(ids)}
    assert abs(np.corrcoef([place[row["iid"]] for row in gold], np.arange(len(gold)))[0, 1]) < 0.1
    assert set(ids).isdisjoint(row["iid"] for row in rows(feed / "articles.tsv"))


def test_the_test_part_is_later(feed):
    train, test = (
        [date.fromisoformat(row["Date"]) for row in rows(feed / n)] for n in ("articles.tsv", "test_articles.tsv")
    )
    assert train == sorted(train)
    assert test == sorted(test)
    assert train[-1] < test[0]
    assert len(set(train)) > 100


@pytest.mark.parametrize("file", ["articles.tsv", "test_gold.tsv"])
def test_some_pictures_are_shared(feed, file):
    times = Counter(row["iid"] for row in rows(feed / file))
    assert 0.10 <= sum(n > 1 for n in times.values()) / len(times) <= 0.15


def test_sharing_articles_are_near_in_time_and_tell_it_in_other_words(feed):
    by_picture = {}
    for row in rows(feed / "articles.tsv"):
        by_picture.setdefault(row["iid"], []).append(row)
    shared = [group for group in by_picture.values() if len(group) > 1]
    days = [(date.fromisoformat(b["Date"]) - date.fromisoformat(a["Date"])).days for a, *_, b in shared]
    assert max(days) < 40
    same = [len({(row["title"], row["text"]) for row in group}) == 1 for group in shared]
    assert np.mean(same) < 0.05


def test_every_picture_opens(feed):
    files = {row["imgFile"] for name in ("articles.tsv", "test_images.tsv") for row in rows(feed / name)}
    assert {file.name for file in (feed / "images").iterdir()} == files
    formats = Counter()
    for name in files:
        with Image.open(feed / "images" / name) as image:
            image.load()
            assert (image.size, image.mode) == ((drawing.SIZE, drawing.SIZE), "RGB")
            assert np.asarray(image).std() > 5
            formats[image.format] += 1
    assert set(formats) == {"JPEG", "PNG"}


def test_the_ordinary_readers_read_it(feed):
    pairs = nm.load_pairs(feed / "articles.tsv", feed / "images")
    articles, images = (
        nm.load_articles(feed / "test_articles.tsv"),
        nm.load_images(feed / "test_images.tsv", feed / "images"),
    )
    assert len(pairs) == 1800
    assert set(nm.load_gold(feed / "test_gold.tsv")) == set(articles["article_id"])
    assert set(nm.load_gold(feed / "test_gold.tsv").values()) == set(images["image_id"])
    # cleaning finds nothing to mend
    assert [row["title"] for row in rows(feed / "articles.tsv")] == list(pairs["title"])
    assert [row["text"] for row in rows(feed / "articles.tsv")] == list(pairs["text"])


@pytest.mark.parametrize("domain", ["feed", "portal"])
def test_the_same_seed_gives_the_same_bytes(small, tmp_path, domain):
    first, again, other = (
        content(nm.write_newsroom(tmp_path / name, domain, seed)) for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert first == again
    assert set(first) != set(other)
    names = {file.name for file in first}
    assert len([name for name in names if name.endswith(("jpg", "png"))]) > 80


def test_the_portal_is_german_news_of_its_own(small, tmp_path):
    feed, portal = (rows(nm.write_newsroom(tmp_path / d, d) / "articles.tsv") for d in ("feed", "portal"))
    english, german = (" ".join(row["title"] + row["text"] for row in part) for part in (feed, portal))
    assert " wurde" in german
    assert " wurde" not in english
    assert {row["iid"] for row in feed}.isdisjoint(row["iid"] for row in portal)
    assert {row["# article"] for row in feed}.isdisjoint(row["# article"] for row in portal)


def test_what_is_there_is_not_drawn_again(small, tmp_path, monkeypatch):
    folder = nm.write_newsroom(tmp_path / "news", seed=3)
    before = (folder / "articles.tsv").stat().st_mtime_ns
    with monkeypatch.context() as patch:
        patch.setattr(drawing, "draw", lambda *args: pytest.fail("drawn again"))
        nm.write_newsroom(folder, seed=3)
    assert (folder / "articles.tsv").stat().st_mtime_ns == before
    (folder / "images" / rows(folder / "articles.tsv")[0]["imgFile"]).unlink()
    assert content(nm.write_newsroom(folder, seed=3)) == content(nm.write_newsroom(tmp_path / "other", seed=3))


def test_another_corpus_replaces_it_and_failure_leaves_it(small, tmp_path, monkeypatch):
    folder = nm.write_newsroom(tmp_path / "news", seed=3)
    before = content(folder)
    with monkeypatch.context() as patch:
        patch.setattr(drawing, "draw", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            nm.write_newsroom(folder, seed=4)
    assert content(folder) == before
    assert json.loads((nm.write_newsroom(folder, seed=4) / "newsroom.json").read_text())["seed"] == 4
    assert content(folder) != before
    assert [file.name for file in tmp_path.iterdir()] == ["news"]


def test_folders_of_others_and_unknown_domains_are_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(nm.NewsMatchError, match="holds other files"):
        nm.write_newsroom(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(nm.NewsMatchError, match=r"no domain 'radio'.*feed, portal"):
        nm.write_newsroom(tmp_path / "news", "radio")


def test_general_pairs():
    pairs, again = (list(newsroom.general_pairs(20, 5)) for _ in range(2))
    assert [pair["title"] for pair in pairs] == [pair["title"] for pair in again]
    assert len({pair["image_id"] for pair in pairs}) == 20
    assert all(pair["image"].size == (drawing.SIZE, drawing.SIZE) for pair in pairs)


# ---- The tiny CLIP --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip():
    folder = resolve_checkpoint("demo")
    return CLIPModel.from_pretrained(folder, dtype=torch.float32).eval(), AutoProcessor.from_pretrained(
        folder, backend="pil"
    )


def test_the_checkpoint_is_small_and_in_half_precision(clip):
    model, processor = clip
    assert 800_000 < model.num_parameters() < 1_200_000
    assert CLIPModel.from_pretrained(resolve_checkpoint("demo"), dtype="auto").dtype == torch.float16
    config = model.config.text_config
    # transformers pools at the end-of-text token by its id, and by the largest id if that is 2
    assert config.eos_token_id == processor.tokenizer.eos_token_id == len(processor.tokenizer) - 1 != 2
    assert processor.tokenizer.model_max_length == config.max_position_embeddings <= 48
    assert processor.image_processor.crop_size["height"] == model.config.vision_config.image_size


@pytest.mark.parametrize("file", ["articles.tsv", "test_articles.tsv"])
def test_news_are_tokenized_whole(clip, feed, file):
    tokenizer = clip[1].tokenizer
    texts = [join_text(row) for row in rows(feed / file)]
    lengths = [len(ids) for ids in tokenizer(texts)["input_ids"]]
    assert np.mean(np.array(lengths) <= tokenizer.model_max_length) > 0.99
    for text, ids in zip(texts[:300], tokenizer(texts[:300])["input_ids"]):
        assert ids[0] == tokenizer.bos_token_id
        assert ids.count(tokenizer.unk_token_id) == 1  # the end of text, which CLIP has for both
        assert ids[-1] == tokenizer.eos_token_id
        decoded = tokenizer.decode(ids, skip_special_tokens=True)
        assert decoded.replace(" ", "") == text.lower().replace(" ", "")


def test_any_text_is_tokenized_without_unknowns(clip):
    tokenizer = clip[1].tokenizer
    ids = tokenizer("Zwölf Boxkämpfer – 100 % 北京 🎈 naïve façade")["input_ids"]
    assert ids.count(tokenizer.unk_token_id) == 1


def test_zero_shot_is_far_above_chance_on_later_news(clip, feed):
    model, processor = clip
    gold = dict(list(nm.load_gold(feed / "test_gold.tsv").items())[:500])
    articles = nm.load_articles(feed / "test_articles.tsv").select(range(500))
    images = nm.load_images(feed / "test_images.tsv", feed / "images")
    ranking = nm.rank(
        nm.embed_texts(model, processor, [join_text(row) for row in articles], progress=False),
        nm.embed_images(model, processor, images["image"], progress=False),
        articles["article_id"],
        images["image_id"],
    )
    chance = sum(1 / r for r in range(1, 101)) / len(images)
    assert nm.score(ranking, gold)["mrr@100"] > 20 * chance
