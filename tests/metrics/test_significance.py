"""Differences of runs against the comparison, and p-values against scipy's exact test."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from hf_newsmatch import Ranking
from hf_newsmatch.metrics import bootstrap_intervals, compare_runs
from hf_newsmatch.metrics.diagnostics import true_ranks
from hf_newsmatch.metrics.significance import compare_pairs, permutation_p_values

IMAGES = [f"p{number}" for number in range(150)]
GOLD = {f"a{number}": f"p{number % 50}" for number in range(80)}
RUNS = ("zero_shot", "fine_tuned", "wise_ft")


def random_run(seed: int) -> Ranking:
    generator = np.random.default_rng(seed)
    return Ranking(list(GOLD)[::-1], [list(generator.permutation(IMAGES))[:100] for _ in GOLD])


@pytest.fixture(scope="module")
def rankings():
    return {run: random_run(seed) for seed, run in enumerate(RUNS)}


@pytest.fixture(scope="module")
def ranks(rankings):
    return true_ranks(rankings, GOLD)


def test_pairs_are_the_comparison_s_and_more(ranks, rankings):
    pairs = compare_pairs(ranks, list(GOLD.values()), ks=(5, 10), seed=3)
    assert list(pairs) == [("fine_tuned", "zero_shot"), ("wise_ft", "zero_shot"), ("wise_ft", "fine_tuned")]
    against_first = compare_runs(rankings, GOLD, (5, 10), seed=3)["differences"]
    for run in RUNS[1:]:
        for metric, interval in against_first[run].items():
            found = pairs[run, "zero_shot"][metric]
            assert {name: found[name] for name in interval} == pytest.approx(interval)
    difference = 1 / ranks["wise_ft"] - 1 / ranks["fine_tuned"]
    expected = bootstrap_intervals({"mrr": difference}, list(GOLD.values()), seed=3)["mrr"]
    last = pairs["wise_ft", "fine_tuned"]["mrr@100"]
    assert (last["mean"], last["low"], last["high"]) == pytest.approx(tuple(expected))
    assert compare_pairs({"only": ranks["wise_ft"]}, list(GOLD.values())) == {}


def test_p_values_are_those_of_the_exact_test():
    """Ten pictures can be swapped in 1,024 ways: scipy tries all."""
    generator = np.random.default_rng(0)
    clusters = [number % 10 for number in range(25)]
    for shift in (0.0, 0.15, 0.3):
        values = generator.normal(shift, 0.3, 25)
        sums = pd.Series(values).groupby(clusters).sum().to_numpy()
        exact = scipy.stats.permutation_test(
            (sums,), lambda x, axis: x.sum(axis=axis), permutation_type="samples", n_resamples=np.inf, vectorized=True
        )
        ours = permutation_p_values({"x": values}, clusters, num_resamples=20_000)["x"]
        assert ours == pytest.approx(exact.pvalue, abs=0.012)


def test_p_values_at_the_ends():
    same, apart = np.zeros(30), np.ones(30)
    values = permutation_p_values({"same": same, "apart": apart}, range(30), num_resamples=999)
    assert values == {"same": 1.0, "apart": 1 / 1000}  # never zero: what was seen counts too
    # thirty articles of one picture are one observation
    assert permutation_p_values({"apart": apart}, ["p"] * 30)["apart"] == 1.0
