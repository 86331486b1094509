import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_newsmatch import NewsMatchError, Ranking, rank
from hf_newsmatch.retrieval.ranking import stable_topk


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


def test_a_ranking_without_scores_says_so():
    assert Ranking(["a"], [["p"]], [[0.5]]).known_scores == [[0.5]]
    with pytest.raises(NewsMatchError, match="This ranking has no scores"):
        Ranking(["a"], [["p"]]).known_scores  # noqa: B018
