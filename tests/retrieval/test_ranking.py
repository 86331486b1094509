import csv

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_newsmatch import NewsMatchError, Ranking, rank, read_predictions, write_predictions
from hf_newsmatch.retrieval.ranking import rank_articles, stable_topk


def full_sort(text_embeds, image_embeds, k):
    """Every similarity sorted, ties in the order of the candidates."""
    similarities = (text_embeds @ image_embeds.T).numpy()
    return np.argsort(-similarities, axis=1, kind="stable")[:, :k]


@settings(max_examples=60, deadline=None)
@given(
    articles=st.integers(1, 6),
    images=st.integers(1, 30),
    k=st.integers(1, 40),
    seed=st.integers(0, 2**16),
    levels=st.sampled_from([2, 3, 1000]),
)
def test_equals_a_full_sort(articles, images, k, seed, levels):
    """Also with many ties: entries from few levels make equal similarities, even at the last place."""
    generator = np.random.default_rng(seed)
    text_embeds, image_embeds = (
        torch.from_numpy(generator.integers(0, levels, (count, 2)).astype(np.float32)) for count in (articles, images)
    )
    ids = [f"p{number}" for number in range(images)]
    ranking = rank(text_embeds, image_embeds, [str(number) for number in range(articles)], ids, k)
    expected = full_sort(text_embeds, image_embeds, k)
    assert ranking.image_ids == [[ids[index] for index in row] for row in expected]
    similarities = text_embeds @ image_embeds.T
    assert np.allclose(ranking.scores, similarities.gather(1, torch.from_numpy(expected)))


def test_wide_rows_of_all_kinds_equal_a_full_sort():
    """Many candidates, few of them sorted: noise, few levels, equal values, one that stands out, and sorted rows."""
    generator = np.random.default_rng(0)
    similarities = generator.normal(size=(6, 5003)).astype(np.float32)
    similarities[1] = generator.integers(0, 3, 5003)
    similarities[2] = -0.5
    similarities[3] = np.where(np.arange(5003) == 4999, 1, -0.0)
    similarities[4] = np.sort(similarities[4])
    similarities[5] = np.sort(similarities[5])[::-1]
    for k in (1, 7, 100, 5003):
        columns, values = stable_topk(similarities, k)
        expected = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
        assert (columns == expected).all()
        assert (values == np.take_along_axis(similarities, expected, axis=1)).all()


def test_chunks_change_nothing(monkeypatch):
    torch.manual_seed(0)
    text_embeds, image_embeds = torch.randn(11, 4), torch.randn(7, 4)
    articles, images = [f"a{n}" for n in range(11)], [f"p{n}" for n in range(7)]
    whole = rank(text_embeds, image_embeds, articles, images, 5)
    monkeypatch.setattr("hf_newsmatch.retrieval.ranking.CHUNK", 14)
    assert rank(text_embeds, image_embeds, articles, images, 5).image_ids == whole.image_ids


@pytest.mark.parametrize(
    ("articles", "images", "k", "message"),
    [
        (["a", "a"], ["p", "q"], 1, "'a' occurs more than once"),
        (["a", "b"], ["p", "p"], 1, "'p' occurs more than once"),
        (["a"], ["p", "q"], 1, "1 article ids but 2"),
        (["a", "b"], ["p", "q"], 0, "at least 1"),
    ],
)
def test_refuses(articles, images, k, message):
    with pytest.raises(NewsMatchError, match=message):
        rank(torch.eye(2), torch.eye(2), articles, images, k)


def test_refuses_nan_and_names_it():
    image_embeds = torch.eye(2)
    image_embeds[1, 0] = torch.nan
    with pytest.raises(NewsMatchError, match="image 'q' is not finite"):
        rank(torch.eye(2), image_embeds, ["a", "b"], ["p", "q"])


def test_ids_may_be_a_column_and_are_read_once():
    class Once(list):
        def __getitem__(self, index):
            raise AssertionError("read one by one, a column of `datasets` takes minutes")

    column = Dataset.from_dict({"image_id": ["p", "q"]})["image_id"]
    expected = rank(torch.eye(2), torch.eye(2), ["a", "b"], ["p", "q"])
    assert rank(torch.eye(2), torch.eye(2), column, column).image_ids == expected.image_ids
    assert rank(torch.eye(2), torch.eye(2), Once("ab"), Once("pq")) == expected
    with pytest.raises(NewsMatchError, match="'p' occurs more than once"):
        rank(torch.eye(2), torch.eye(2), ["a", "b"], Dataset.from_dict({"image_id": ["p", "p"]})["image_id"])


def test_embeddings_of_any_dtype_are_compared_in_float32():
    torch.manual_seed(0)
    text_embeds, image_embeds = torch.randn(3, 4).half(), torch.randn(5, 4).double()
    ids = [str(number) for number in range(5)]
    expected = rank(text_embeds.float(), image_embeds.float(), ids[:3], ids)
    assert rank(text_embeds, image_embeds, ids[:3], ids) == expected


@pytest.mark.parametrize(
    ("text_embeds", "message"),
    [(torch.eye(2, 3), "articles have 3 dimensions and those of images 2"), (torch.ones(2), r"not of shape \(2,\)")],
)
def test_refuses_embeddings_that_do_not_fit(text_embeds, message):
    with pytest.raises(NewsMatchError, match=message):
        rank(text_embeds, torch.eye(2), ["a", "b"], ["p", "q"])


def test_refuses_no_candidates():
    with pytest.raises(NewsMatchError, match="no candidate"):
        rank(torch.eye(2), torch.empty(0, 2), ["a", "b"], [])


def test_rank_articles_is_embedding_and_ranking(model, processor, pairs):
    ranking = rank_articles(model, processor, pairs, pairs, ["title"], k=3, progress=False)
    with torch.no_grad():
        inputs = processor(text=pairs["title"][:], images=pairs["image"][:], padding=True, return_tensors="pt")
        similarities = model(**inputs).logits_per_text
    assert ranking.article_ids == pairs["article_id"][:]
    assert ranking.image_ids == [[f"p{index}" for index in row] for row in similarities.topk(3).indices.tolist()]


RANKING = Ranking(["a", "b c"], [["p", "q", "r"], ["q", "p", "r"]], [[0.5, 0.25, 0.125], [0.75, 0.5, -0.25]])


def test_written_in_the_organisers_format(tmp_path):
    file = write_predictions(RANKING, tmp_path / "new" / "run.tsv")
    assert file.read_text() == "articleID\tiid1\tiid2\tiid3\na\tp\tq\tr\nb c\tq\tp\tr\n"
    scores = pq.read_table(file.with_suffix(".parquet")).to_pydict()
    assert scores == {
        "article_id": ["a"] * 3 + ["b c"] * 3,
        "rank": [1, 2, 3, 1, 2, 3],
        "image_id": ["p", "q", "r", "q", "p", "r"],
        "score": [0.5, 0.25, 0.125, 0.75, 0.5, -0.25],
    }
    assert sorted(path.name for path in file.parent.iterdir()) == ["run.parquet", "run.tsv"]


def test_read_gives_what_was_written(tmp_path):
    assert read_predictions(write_predictions(RANKING, tmp_path / "run.tsv")) == RANKING


def test_scores_of_another_run_are_not_taken(tmp_path):
    write_predictions(RANKING, tmp_path / "run.tsv")
    (tmp_path / "run.tsv").write_text("articleID\tiid1\na\tr\n")
    assert read_predictions(tmp_path / "run.tsv").scores is None


def test_scores_of_other_articles_are_not_taken(tmp_path):
    """The same pictures in the same order, but of articles that changed places."""
    write_predictions(Ranking(["a", "b"], [["p"], ["q"]], [[0.5], [0.25]]), tmp_path / "run.tsv")
    (tmp_path / "run.tsv").write_text("articleID\tiid1\nb\tp\na\tq\n")
    assert read_predictions(tmp_path / "run.tsv").scores is None


def test_a_ranking_without_scores_leaves_no_old_ones(tmp_path):
    file = write_predictions(RANKING, tmp_path / "run.tsv")
    write_predictions(Ranking(RANKING.article_ids, RANKING.image_ids), file)
    assert read_predictions(file).scores is None
    assert [path.name for path in tmp_path.iterdir()] == ["run.tsv"]


@pytest.mark.parametrize("damage", ["truncated", "a column less", "words for scores"])
def test_damaged_scores_are_named(tmp_path, damage):
    file = write_predictions(RANKING, tmp_path / "run.tsv")
    scores = file.with_suffix(".parquet")
    table = pq.read_table(scores)
    if damage == "truncated":
        scores.write_bytes(b"PAR1xx")
    elif damage == "a column less":
        pq.write_table(table.drop_columns("score"), scores)
    else:
        pq.write_table(table.set_column(3, "score", [["much"] * len(table)]), scores)
    with pytest.raises(
        NewsMatchError, match=r"run\.parquet holds no scores .* run scripts/predict\.py again or delete it"
    ):
        read_predictions(file)


@pytest.mark.parametrize(
    ("ranking", "message"),
    [
        (Ranking(["a"], [[str(number) for number in range(101)]]), "article 'a' has 101 pictures"),
        (Ranking(["a", "a"], [["p"], ["q"]]), "'a' occurs more than once"),
    ],
)
def test_refuses_to_write(tmp_path, ranking, message):
    with pytest.raises(NewsMatchError, match=message):
        write_predictions(ranking, tmp_path / "run.tsv")
    assert not any(tmp_path.iterdir())


def test_reads_what_others_write(tmp_path):
    """No header, lists of different length, CRLF, a byte order mark, trailing tabs, an empty line."""
    file = tmp_path / "run.tsv"
    file.write_bytes("\ufeffa\tp\tq\r\n\r\nb\tq\t\t\r\n".encode())
    assert read_predictions(file) == Ranking(["a", "b"], [["p", "q"], ["q"]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "ranks no article"),
        ("articleID\tiid1\n", "ranks no article"),
        ("a\tp\na\tq\n", "line 2: article 'a' was ranked before, in line 1"),
        ("a\tp\t\tq\n", "line 1: article 'a' has an empty place"),
        ("a\n", "line 1: article 'a' has an empty place"),
    ],
)
def test_bad_files(tmp_path, content, message):
    (tmp_path / "run.tsv").write_text(content)
    with pytest.raises(NewsMatchError, match=message):
        read_predictions(tmp_path / "run.tsv")


def test_bad_bytes_and_missing_file(tmp_path):
    (tmp_path / "run.tsv").write_bytes(b"\xff\xfe\x00\x01\n")
    with pytest.raises(NewsMatchError, match="no prediction file"):
        read_predictions(tmp_path / "run.tsv")
    with pytest.raises(NewsMatchError, match="no prediction file"):
        read_predictions(tmp_path / "absent.tsv")


def test_ids_with_quotes_and_tabs_survive(tmp_path):
    ranking = Ranking(['say "x"', "tab\there"], [["p"], ["q"]])
    file = write_predictions(ranking, tmp_path / "run.tsv")
    assert read_predictions(file) == ranking
    with open(file, newline="") as stream:
        assert len(list(csv.reader(stream, delimiter="\t"))) == 3
