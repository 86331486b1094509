"""Whether the difference of two runs is more than chance: paired intervals and a permutation test."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np

from .bootstrap import NUM_RESAMPLES, Name, bootstrap_intervals
from .scoring import DEFAULT_KS, article_scores, metric_names

_CELLS = 2**22  # random signs held in memory at a time


def compare_pairs(
    ranks: Mapping[str, np.ndarray],
    clusters: Sequence[Hashable],
    ks: Sequence[int] = DEFAULT_KS,
    seed: int = 0,
    pairs: Iterable[tuple[str, str]] | None = None,
) -> dict[tuple[str, str], dict[str, dict[str, float]]]:
    """Compare runs in pairs, article by article: differences with 95 % intervals and p-values.

    Args:
        ranks (`Mapping[str, np.ndarray]`):
            As [`true_ranks`] gives them.
        clusters (`Sequence[Hashable]`):
            The true picture of each article.
        ks (`Sequence[int]`, *optional*, defaults to `(1, 5, 10, 50, 100)`):
            Where to cut for the recall.
        seed (`int`, *optional*, defaults to 0):
            Seed of the bootstrap and of the permutation test.
        pairs (`Iterable[tuple[str, str]]`, *optional*):
            The runs to compare, as `(later, earlier)`; by default every two.

    Returns:
        `dict`: `(later, earlier)` to metric to `{"mean", "low", "high", "p"}`, of the later run minus the earlier.
        The interval is that of [`bootstrap_intervals`], the p-value that of [`permutation_p_values`].
    """
    scores = {run: article_scores(dict(enumerate(places)), ks) for run, places in ranks.items()}
    pairs = [(later, earlier) for earlier, later in combinations(ranks, 2)] if pairs is None else pairs
    columns = {
        (later, earlier, metric): scores[later][metric] - scores[earlier][metric]
        for later, earlier in pairs
        for metric in metric_names(ks)
    }
    if not columns:
        return {}
    intervals = bootstrap_intervals(columns, clusters, seed=seed)
    p_values = permutation_p_values(columns, clusters, seed=seed)
    compared: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for (later, earlier, metric), interval in intervals.items():
        row = {**interval._asdict(), "p": p_values[later, earlier, metric]}
        compared.setdefault((later, earlier), {})[metric] = row
    return compared


def permutation_p_values(
    differences: Mapping[Name, np.ndarray],
    clusters: Sequence[Hashable],
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[Name, float]:
    """Two-sided p-values of a permutation test that exchanges two runs picture by picture.

    If two runs were alike, swapping them for all articles of a picture would change nothing but the sign of their
    differences. The p-value is the share of random swaps with a mean at least as far from zero as the observed one,
    which counts as one of the swaps (Phipson and Smyth 2010): it is never zero.

    Args:
        differences (`Mapping[Hashable, np.ndarray]`):
            Name to the differences of two runs, a float array of shape `(articles,)`.
        clusters (`Sequence[Hashable]`):
            The true picture of each article.
        num_resamples (`int`, *optional*, defaults to 10,000):
            The number of random swaps.
        seed (`int`, *optional*, defaults to 0):
            Seed of the swaps.

    Returns:
        `dict[Hashable, float]`: the p-value by name.
    """
    numbers = {name: number for number, name in enumerate(dict.fromkeys(clusters))}
    matrix = np.stack([np.asarray(column, dtype=float) for column in differences.values()], axis=1)
    sums = np.zeros((len(numbers), matrix.shape[1]))
    np.add.at(sums, [numbers[name] for name in clusters], matrix)
    # sums in another order differ by rounding: a swap that is as far from zero must not fall short by it
    observed = np.abs(sums.sum(axis=0)) - 1e-9
    generator, left = np.random.default_rng(seed), num_resamples
    beyond = np.ones(len(observed), dtype=int)
    while left:
        draws = min(left, max(1, _CELLS // len(numbers)))
        signs = 2.0 * generator.integers(2, size=(draws, len(numbers))) - 1
        beyond += (np.abs(signs @ sums) >= observed).sum(axis=0)
        left -= draws
    return dict(zip(differences, (beyond / (num_resamples + 1)).tolist()))
