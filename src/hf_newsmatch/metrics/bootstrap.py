"""Confidence intervals: a paired bootstrap over articles, clustered by picture."""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from ..errors import NewsMatchError

Name = TypeVar("Name", bound=Hashable)

NUM_RESAMPLES = 10_000
CONFIDENCE = 0.95
_CELLS = 2**22  # drawn cluster numbers held in memory at a time


class Interval(NamedTuple):
    """A mean and its percentile interval."""

    mean: float
    low: float
    high: float


def bootstrap_intervals(
    values: Mapping[Name, np.ndarray],
    clusters: Sequence[Hashable],
    num_resamples: int = NUM_RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> dict[Name, Interval]:
    """Percentile intervals of means over articles (Efron and Tibshirani 1993, chapter 13), by resampling clusters.

    Articles that share a picture are won and lost together, so whole pictures are drawn, not articles. Every entry of
    `values` sees the same draws: the interval of a difference between two runs is that of the entry that holds the
    differences by article.

    Args:
        values (`Mapping[Hashable, np.ndarray]`):
            Name to a float array of shape `(articles,)`.
        clusters (`Sequence[Hashable]`):
            The picture of each article.
        num_resamples (`int`, *optional*, defaults to 10,000):
            The number of draws.
        confidence (`float`, *optional*, defaults to 0.95):
            The share of draws inside the interval.
        seed (`int`, *optional*, defaults to 0):
            Seed of the draws.

    Returns:
        `dict[Hashable, Interval]`: the mean, the lower and the upper end by name.

    Raises:
        [`NewsMatchError`]: when there is no article, or arrays and clusters differ in length.
    """
    matrix = np.stack([np.asarray(column, dtype=float) for column in values.values()], axis=1)
    if not len(matrix) or len(matrix) != len(clusters):
        raise NewsMatchError(f"The bootstrap got {len(matrix)} articles and {len(clusters)} clusters.")
    numbers = {name: number for number, name in enumerate(dict.fromkeys(clusters))}
    labels = np.array([numbers[name] for name in clusters])
    count = len(numbers)
    # the mean over articles is a ratio of sums over clusters: their values by their sizes
    sums = np.zeros((count, matrix.shape[1] + 1))
    np.add.at(sums, labels, np.column_stack((matrix, np.ones(len(matrix)))))

    generator = np.random.default_rng(seed)
    means = []
    left = num_resamples
    while left:
        draws = min(left, max(1, _CELLS // count))
        drawn = generator.integers(count, size=(draws, count)) + count * np.arange(draws)[:, None]
        times = np.bincount(drawn.ravel(), minlength=draws * count).reshape(draws, count)
        totals = times @ sums
        means.append(totals[:, :-1] / totals[:, -1:])
        left -= draws
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means), (tail, 1 - tail), axis=0)
    return {
        name: Interval(float(mean), float(lower), float(upper))
        for name, mean, lower, upper in zip(values, matrix.mean(axis=0), low, high)
    }
