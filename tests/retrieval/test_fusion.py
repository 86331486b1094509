import numpy as np
import pytest
import torch

from hf_newsmatch import NewsMatchError, Ranking, fuse, rank
from hf_newsmatch.retrieval.embeddings import unit_length
from hf_newsmatch.retrieval.fusion import FUSIONS, ensemble


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_similarities_are_averaged(weight):
    torch.manual_seed(0)
    texts = [unit_length(torch.randn(5, width)) for width in (8, 12)]
    pictures = [unit_length(torch.randn(7, width)) for width in (8, 12)]
    first, second = (text.double() @ picture.double().T for text, picture in zip(texts, pictures))
    expected = (1 - weight) * first + weight * second
    joined = ensemble(*texts, weight), ensemble(*pictures, weight)
    torch.testing.assert_close((joined[0] @ joined[1].T).double(), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(joined[0].norm(dim=1), torch.ones(5))
    names = [f"p{number}" for number in range(7)]
    ranking = rank(*joined, list("abcde"), names)
    order = expected.argsort(dim=1, descending=True)
    assert ranking.image_ids == [[names[index] for index in row] for row in order.tolist()]


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_refuses_weights_outside(weight):
    with pytest.raises(NewsMatchError, match="between 0 and 1"):
        ensemble(torch.ones(1, 1), torch.ones(1, 1), weight)


def random_rankings(count: int = 3, articles: int = 6, pictures: int = 15, k: int = 8) -> list[Ranking]:
    """Rankings that list different pictures, the articles of each in another order."""
    generator = np.random.default_rng(0)
    rankings = []
    for _ in range(count):
        names = [f"a{number}" for number in generator.permutation(articles)]
        scores = generator.normal(size=(articles, pictures))
        order = np.argsort(-scores, axis=1)[:, :k]
        lists = [[f"p{column}" for column in row] for row in order.tolist()]
        rankings.append(Ranking(names, lists, np.take_along_axis(scores, order, axis=1).tolist()))
    return rankings


@pytest.mark.parametrize("method", FUSIONS)
@pytest.mark.parametrize("weights", [None, [2.0, 0.5, 0.0]])
def test_fused_by_the_formula(method, weights):
    """Against tables of articles by pictures."""
    rankings, total = random_rankings(), 0
    for ranking, weight in zip(rankings, weights or [1, 1, 1]):
        ranks, scores = np.full((6, 15), np.inf), np.full((6, 15), np.nan)
        for article_id, names, values in zip(ranking.article_ids, ranking.image_ids, ranking.scores):
            for place, (name, value) in enumerate(zip(names, values), start=1):
                ranks[int(article_id[1:]), int(name[1:])] = place
                scores[int(article_id[1:]), int(name[1:])] = value
        low, high = np.nanmin(scores, 1, keepdims=True), np.nanmax(scores, 1, keepdims=True)
        scores = np.where(np.isnan(scores), low, scores)  # a list gives what it lacks its lowest
        listed = np.where(np.isinf(ranks), np.nan, scores)
        table = {
            "reciprocal_rank": 1 / (60 + ranks),
            "z_score": (scores - np.nanmean(listed, 1, keepdims=True)) / np.nanstd(listed, 1, keepdims=True),
            "min_max": (scores - low) / (high - low),
        }[method]
        total = total + weight * table
    total = total / sum(weights or [1, 1, 1])
    fused = fuse(rankings, method, weights, k=5)
    assert fused.article_ids == rankings[0].article_ids
    for article_id, names, values in zip(fused.article_ids, fused.image_ids, fused.scores):
        row = total[int(article_id[1:])]
        expected = np.sort(row)[::-1][:5]
        np.testing.assert_allclose(values, expected, atol=1e-12)
        np.testing.assert_allclose([row[int(name[1:])] for name in names], expected, atol=1e-12)


def test_reciprocal_rank_takes_whole_lists_of_files_without_scores():
    first, second = Ranking(["a"], [["p", "q", "r"]]), Ranking(["a"], [["s", "q"]])
    fused = fuse([first, second])
    # p and s tie: the first ranking's picture is first
    assert fused.image_ids == [["q", "p", "s", "r"]]
    assert fused.scores[0] == pytest.approx([1 / 62, 1 / 122, 1 / 122, 1 / 126])
    assert fuse([first, second], weights=[0, 3]).image_ids == [["s", "q", "p", "r"]]


@pytest.mark.parametrize("method", ["z_score", "min_max"])
def test_a_list_of_equal_scores_has_no_opinion(method):
    first = Ranking(["a", "b"], [["p", "q"], ["p"]], [[0.1, 0.1], [0.7]])
    second = Ranking(["a", "b"], [["q", "p"], ["q"]], [[0.9, 0.2], [0.3]])
    assert fuse([first, second], method).image_ids == [["q", "p"], ["p", "q"]]
    assert fuse([first, Ranking(["a", "b"], [["q", "p"], []], [[2.0, 1.0], []])], method).image_ids == [
        ["q", "p"],
        ["p"],
    ]


@pytest.mark.parametrize(
    ("rankings", "settings", "message"),
    [
        ([Ranking(["a"], [["p"]])], {}, "two or more rankings, not 1"),
        ([Ranking(["a", "b"], [["p"], ["p"]]), Ranking(["a"], [["p"]])], {}, "'b' is in ranking 1 but not in ranking"),
        ([Ranking(["a"], [["p"]]), Ranking(["a", "c"], [["p"], ["p"]])], {}, "'c' is in ranking 2 but not in ranking"),
        ([Ranking(["a", "a"], [["p"], ["p"]])] * 2, {}, "article id 'a' occurs more than once"),
        ([Ranking(["a"], [["p", "p"]])] * 2, {}, "'p' more than once"),
        ([Ranking(["a"], [["p"]])] * 2, {"method": "z_score"}, "Ranking 1 has no scores"),
        ([Ranking(["a"], [["p"]], [[float("nan")]])] * 2, {"method": "min_max"}, "article 'a' that is not finite"),
        ([Ranking(["a"], [["p"]])] * 2, {"method": "vote"}, "'vote'; the methods are reciprocal_rank"),
        ([Ranking(["a"], [["p"]])] * 2, {"weights": [1.0]}, "1 weights for 2 rankings"),
        ([Ranking(["a"], [["p"]])] * 2, {"weights": [1.0, -1.0]}, "must be 0 or more"),
        ([Ranking(["a"], [["p"]])] * 2, {"weights": [0.0, 0.0]}, "not all 0"),
        ([Ranking(["a"], [["p"]])] * 2, {"k": 0}, "at least 1"),
    ],
)
def test_refuses_to_fuse(rankings, settings, message):
    with pytest.raises(NewsMatchError, match=message):
        fuse(rankings, **settings)
