import doctest
import logging
import math

import evaluate
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hf_newsmatch.metrics
from hf_newsmatch import NewsMatchError, Ranking, score
from hf_newsmatch.metrics import chance_level, gold_ranks

KS = (1, 5, 10, 50, 100)


@st.composite
def rankings(draw):
    """A random ranking with gold for some articles, some gold missing from it, some pictures not in any list."""
    images = [f"p{number}" for number in range(draw(st.integers(1, 130)))]
    articles = [f"a{number}" for number in range(draw(st.integers(1, 8)))]
    generator = np.random.default_rng(draw(st.integers(0, 2**16)))
    lists = [list(generator.permutation(images)[: draw(st.integers(1, 100))]) for _ in articles]
    gold = {f"a{number}": images[draw(st.integers(0, len(images) - 1))] for number in range(draw(st.integers(1, 10)))}
    return Ranking(articles, lists), gold, images


@settings(max_examples=80, deadline=None)
@given(rankings())
def test_equals_a_plain_computation(case):
    ranking, gold, images = case
    lists = dict(zip(ranking.article_ids, ranking.image_ids))
    reciprocal, hits = [], {k: [] for k in KS}
    for article, image in gold.items():
        place = np.flatnonzero(np.array(lists.get(article, [])) == image)
        reciprocal.append(1 / (place[0] + 1) if len(place) else 0.0)
        for k in KS:
            hits[k].append(image in lists.get(article, [])[:k])
    scores = score(ranking, gold, candidates=images)
    assert scores["mrr@100"] == pytest.approx(np.mean(reciprocal))
    for k in KS:
        assert scores[f"recall@{k}"] == pytest.approx(np.mean(hits[k]))
    assert scores["num_articles"] == len(gold)
    assert scores["num_missing"] == len(gold.keys() - lists.keys())
    assert scores["num_without_gold"] == len(lists.keys() - gold.keys())
    assert scores["saturated_ks"] == [k for k in KS if k >= len(images)]


@settings(max_examples=20, deadline=None)
@given(rankings())
def test_the_evaluate_module_gives_the_same(case):
    ranking, gold, _ = case
    both = [article for article in ranking.article_ids if article in gold]
    lists = dict(zip(ranking.article_ids, ranking.image_ids))
    expected = score(Ranking(both, [lists[article] for article in both]), {article: gold[article] for article in both})
    metric = load_metric()
    got = metric.compute(predictions=[lists[article] for article in both], references=[gold[a] for a in both])
    assert got == {name: value for name, value in expected.items() if "@" in name}


def load_metric():
    folder = hf_newsmatch.metrics.__path__[0] + "/newsimages"
    return evaluate.load(folder)


def test_the_evaluate_module_takes_ks():
    metric = load_metric()
    assert metric.compute(predictions=[["a", "b"], ["a", "b"]], references=["a", "b"], ks=[1]) == {
        "mrr@100": 0.75,
        "recall@1": 0.5,
    }


def test_the_example_of_the_evaluate_module_is_true():
    runner = doctest.DocTestRunner()
    example = doctest.DocTestParser().get_doctest(load_metric().inputs_description, {}, "newsimages", None, None)
    assert runner.run(example) == (0, 4)


def test_missing_articles_are_warned_of(caplog):
    with caplog.at_level(logging.WARNING):
        scores = score(Ranking(["a", "x"], [["p"], ["p"]]), {"a": "p", "b": "q"})
    assert scores["mrr@100"] == 0.5
    assert "1 of the 2 articles" in caplog.text


def test_gold_ranks_in_the_order_of_the_gold():
    ranking = Ranking(["b", "a"], [["q", "p"], ["q", "r"]])
    assert list(gold_ranks(ranking, {"a": "p", "b": "p", "c": "p"}).items()) == [("a", None), ("b", 2), ("c", None)]


@pytest.mark.parametrize(
    ("lists", "gold", "kwargs", "message"),
    [
        ([["p", "p"]], {"a": "p"}, {}, "article 'a' has the picture 'p' more than once"),
        ([[str(number) for number in range(101)]], {"a": "p"}, {}, "'a' has 101 pictures"),
        ([["p", "z"]], {"a": "p"}, {"candidates": ["p", "q"]}, "'a' has 'z', which is not among"),
        ([["p"]], {}, {}, "gold is empty"),
        ([["p"]], {"b": "p"}, {}, "None of the 1 ranked articles"),
        ([["p"]], {"a": "p"}, {"ks": (0, 1)}, "from 1 to 100"),
        ([["p"]], {"a": "p"}, {"ks": (101,)}, "from 1 to 100"),
    ],
)
def test_refuses(lists, gold, kwargs, message):
    with pytest.raises(NewsMatchError, match=message):
        score(Ranking(["a"], lists), gold, **kwargs)


def test_gold_that_is_no_candidate(caplog):
    ranking = Ranking(["a", "b"], [["p", "q"], ["q", "p"]])
    with caplog.at_level(logging.WARNING):
        scores = score(ranking, {"a": "p", "b": "z"}, ks=(1,), candidates=["p", "q"])
    assert (scores["num_gold_not_candidates"], scores["recall@1"]) == (1, 0.5)
    assert caplog.messages == [
        "The pictures of 1 of the 2 articles of the gold are not among the candidates: these articles score 0."
    ]
    assert score(ranking, {"a": "p"}, candidates=["p", "q"])["num_gold_not_candidates"] == 0
    for function in (score, gold_ranks):
        with pytest.raises(NewsMatchError, match=r"gold \(first 'y'\) is among the 2 candidates \(first 'p'\)"):
            function(ranking, {"a": "y", "b": "z"}, candidates=["p", "q"])


def test_an_article_is_ranked_once():
    with pytest.raises(NewsMatchError, match="article id 'a' occurs more than once"):
        score(Ranking(["a", "a"], [["p"], ["q"]]), {"a": "q"})


@pytest.mark.parametrize(
    ("pool", "truncated"), [(80, [50, 100]), (30, [50, 100]), (10, []), (None, [50, 100])], ids=str
)
def test_lists_that_end_before_k(pool, truncated, caplog):
    """Recall@50 of ten pictures is Recall@10 when there were more to rank."""
    images = [f"p{number}" for number in range(10)]
    candidates = None if pool is None else [f"p{number}" for number in range(pool)]
    with caplog.at_level(logging.WARNING):
        scores = score(Ranking(["a", "b"], [images, images[:5]]), {"a": "p0", "b": "p1"}, candidates=candidates)
    assert scores["truncated_ks"] == truncated
    assert (scores["longest_list"], scores["num_candidates"]) == (10, pool)
    expected = f"No list is longer than 10 of the {pool} candidates: Recall@50 and Recall@100 count nothing below."
    assert caplog.messages == ([expected] if truncated and pool else [])


@pytest.mark.parametrize("count", [3, 100, 250])
def test_chance_level_is_what_random_orders_score(count):
    images = [f"p{number}" for number in range(count)]
    generator = np.random.default_rng(0)
    articles = [f"a{number}" for number in range(3000)]
    ranking = Ranking(articles, [list(generator.permutation(images)[:100]) for _ in articles])
    scores = score(ranking, dict.fromkeys(articles, "p0"))
    chance = chance_level(count)
    for name, value in chance.items():
        # four standard errors of a mean of values in [0, 1]
        assert scores[name] == pytest.approx(value, abs=4 * math.sqrt(value * (1 - value) / 3000) + 1e-9)
