import numpy as np
import pytest
from scipy import stats

from hf_newsmatch import NewsMatchError
from hf_newsmatch.metrics import bootstrap_intervals


def test_agrees_with_scipy_when_every_picture_is_its_own():
    values = np.random.default_rng(0).random(80) ** 3
    ours = bootstrap_intervals({"x": values}, range(80))["x"]
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=10_000, rng=1).confidence_interval
    assert ours.mean == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.005)
    assert ours.high == pytest.approx(theirs.high, abs=0.005)


def test_clusters_are_drawn_whole():
    """Ten copies of each article say no more than one: the interval is that of the distinct pictures."""
    values = np.random.default_rng(0).random(40)
    single = bootstrap_intervals({"x": values}, range(40))["x"]
    copied = bootstrap_intervals({"x": np.repeat(values, 10)}, np.repeat(np.arange(40), 10))["x"]
    assert copied == pytest.approx(single)
    as_if_independent = bootstrap_intervals({"x": np.repeat(values, 10)}, range(400))["x"]
    assert as_if_independent.high - as_if_independent.low < 0.5 * (copied.high - copied.low)


def test_unequal_clusters_weigh_by_their_articles():
    """The resampled statistic is the mean over articles, not over pictures: against a loop over resamples."""
    generator = np.random.default_rng(3)
    clusters = generator.integers(0, 12, 60)
    values = generator.random(60) + (clusters == 0)
    means = []
    for _ in range(4000):
        drawn = generator.choice(np.unique(clusters), len(np.unique(clusters)))
        means.append(np.concatenate([values[clusters == cluster] for cluster in drawn]).mean())
    ours = bootstrap_intervals({"x": values}, clusters)["x"]
    assert ours.low == pytest.approx(np.quantile(means, 0.025), abs=0.03)
    assert ours.high == pytest.approx(np.quantile(means, 0.975), abs=0.03)


def test_paired():
    """A constant gain on top of a noisy run has an interval of no width, since both see the same draws."""
    run = np.random.default_rng(0).random(50)
    intervals = bootstrap_intervals({"a": run, "b": run + 0.25, "b - a": (run + 0.25) - run}, range(50))
    assert intervals["b - a"] == pytest.approx((0.25, 0.25, 0.25))
    assert intervals["b"].low - intervals["a"].low == pytest.approx(0.25)


def test_seeded():
    values = {"x": np.random.default_rng(0).random(30)}
    assert bootstrap_intervals(values, range(30), seed=4) == bootstrap_intervals(values, range(30), seed=4)
    assert bootstrap_intervals(values, range(30), seed=4) != bootstrap_intervals(values, range(30), seed=5)


def test_memory_is_bounded_without_changing_the_draws(monkeypatch):
    values = {"x": np.random.default_rng(0).random(30)}
    whole = bootstrap_intervals(values, range(30), num_resamples=500)["x"]
    monkeypatch.setattr("hf_newsmatch.metrics.bootstrap._CELLS", 100)
    assert bootstrap_intervals(values, range(30), num_resamples=500)["x"] == pytest.approx(whole)


@pytest.mark.parametrize(("values", "clusters"), [([], []), ([1.0, 2.0], [0])])
def test_refuses(values, clusters):
    with pytest.raises(NewsMatchError, match="articles"):
        bootstrap_intervals({"x": np.array(values)}, clusters)
