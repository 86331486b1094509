"""The search of settings, on a split with hubs that the methods find."""

import math

import numpy as np
import pytest
import torch

from hf_newsmatch.experiment.rerank_search import choose_settings
from hf_newsmatch.retrieval.rerank import METHODS
from tests.retrieval.test_rerank import known, names, ranked


def hubs(seed: int = 0, count: int = 60):
    """A split whose first pictures are a little near to every text."""
    generator = np.random.default_rng(seed)
    similarities = generator.normal(size=(count, count)) * 0.1 + 0.2 * np.eye(count)
    similarities[:, :5] += 0.25
    ids = names(count, "a"), names(count, "p")
    return torch.tensor(similarities), torch.eye(count), *ids, dict(zip(*ids))


@pytest.mark.parametrize("method", [method for method in METHODS if method != "none"])
def test_settings_are_the_best_of_the_grid_on_validation(method):
    texts, pictures, articles, candidates, gold = hubs()
    bank = texts[:40]
    found = choose_settings(method, texts, pictures, articles, candidates, gold, **known(method, 60, bank))
    order = ranked(texts.numpy(), method, bank, **found["settings"])
    ranks = (order == np.arange(60)[:, None]).argmax(1) + 1
    best = found["validation"]["mrr@100"]
    assert best["mean"] == pytest.approx((1 / ranks).mean())
    assert best["low"] < best["mean"] < best["high"]
    assert best["mean"] == pytest.approx(max(row["mrr@100"] for row in found["tried"]))
    grid = METHODS[method].grid
    assert len(found["tried"]) == math.prod(map(len, grid.values()))
    assert all(found["settings"][name] in values for name, values in grid.items())
    plain = (ranked(texts.numpy(), "none") == np.arange(60)[:, None]).argmax(1) + 1
    assert found["validation"]["gain"]["mean"] == pytest.approx((1 / ranks).mean() - (1 / plain).mean())
    if method != "neighbours":
        assert found["validation"]["gain"]["low"] > 0, "the hubs were made for these methods to find"
    assert found["transductive"] == (method not in ("querybank", "neighbours"))
