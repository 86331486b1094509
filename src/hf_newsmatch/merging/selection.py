"""Rules that choose an alpha by the scores of the validation split."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import NewsMatchError
from ..metrics.scoring import metric_names
from .curve import Alpha, AlphaSweep


def choose_alpha(
    sweep: AlphaSweep | Sequence[Mapping[str, float]],
    rule: str = "best",
    metric: str = "recall@1",
    slices: Sequence[np.ndarray] | None = None,
    folds: Sequence[AlphaSweep] | None = None,
) -> Alpha:
    """Choose an alpha by one of the rules, each of which is a function of this module.

    In all of them, ties go to the higher MRR@100, then to the smaller alpha, which stays closer to zero-shot.

    Args:
        sweep ([`AlphaSweep`]):
            The scores of each alpha on the validation split; for `"best"`, the curve alone is enough.
        rule (`str`, *optional*, defaults to `"best"`):
            `"best"`, `"one_standard_error"`, `"time_robust"` or `"forward_chaining"`.
        metric (`str`, *optional*, defaults to `"recall@1"`):
            The metric that the rule compares: `"mrr@100"` or `"recall@k"`.
        slices (`Sequence[np.ndarray]`, *optional*):
            For `"time_robust"`: the rows of each slice, as [`chronological_slices`] returns them.
        folds (`Sequence[AlphaSweep]`, *optional*):
            For `"forward_chaining"`: the sweeps of earlier folds by [`sweep_folds`]; `sweep` is the last.

    Returns:
        `float`: the alpha, or, of a sweep over both towers, the pair of alphas.

    Raises:
        [`NewsMatchError`]: on an unknown rule or metric, when there is no alpha to choose from, or when a rule lacks
            its slices or folds.
    """
    check_rule(rule)
    check_metric(metric)
    if not len(sweep):
        raise NewsMatchError("There is no alpha to choose from; sweep at least one.")
    given = {"slices": slices, "folds": folds}
    for name in RULES[rule].needs:
        if given[name] is None:
            raise NewsMatchError(f"The rule {rule} needs {_NEEDS[name]}.")
    return RULES[rule].function(sweep, metric, **{name: given[name] for name in RULES[rule].needs})


def best(curve: Sequence[Mapping[str, float]], metric: str = "recall@1") -> Alpha:
    """The paper's rule (section 3.3): the alpha with the highest validation Recall@1, or another metric."""
    return _first(list(map(_alpha, curve)), _column(curve, metric), _column(curve, "mrr@100"))


def one_standard_error(sweep: AlphaSweep, metric: str = "recall@1") -> Alpha:
    """The alpha nearest to 0.5 among those that the data cannot tell from the best.

    Their difference to the best, paired by article, is at most one standard error of that difference
    ([`paired_standard_error`]). The rule follows Breiman et al. (1984), who prune trees by it; 0.5 is where an average
    of two models is furthest from either. Of two alphas at the same distance, the better one is chosen.
    """
    alphas, scores = sweep.alphas, sweep.scores[metric]
    leader = scores[alphas.index(best(sweep, metric))]
    near = [
        row
        for row in range(len(alphas))
        if (leader - scores[row]).mean() <= paired_standard_error(leader - scores[row], sweep.image_ids)
    ]
    distances = [-max(abs(value - 0.5) for value in np.atleast_1d(alphas[row])) for row in near]
    points = [sweep[row] for row in near]
    return _first([alphas[row] for row in near], distances, _column(points, metric), _column(points, "mrr@100"))


def paired_standard_error(differences: np.ndarray, clusters: Sequence[Hashable]) -> float:
    """The standard error of a mean of differences by article, clustered by picture.

    With d the differences, n articles and C pictures, S the sum of d - mean(d) over the articles of one picture:
    sqrt(C / (C - 1) * sum over pictures of S^2) / n. Where each picture has one article, this is std(d) / sqrt(n). It
    is the error that the clustered bootstrap finds by drawing.

    Args:
        differences (`np.ndarray` of shape `(articles,)`):
            The score of each article with one alpha minus its score with another.
        clusters (`Sequence`):
            The picture of each article.

    Returns:
        `float`; 0 with a single picture, where it cannot be estimated.
    """
    numbers = np.unique(np.asarray(clusters), return_inverse=True)[1]
    sums = np.bincount(numbers, weights=differences - differences.mean())
    count = len(sums)
    return float(np.sqrt(count / max(count - 1, 1) * (sums**2).sum()) / len(differences))


def time_robust(sweep: AlphaSweep, metric: str, slices: Sequence[np.ndarray]) -> Alpha:
    """The alpha with the highest score in its worst slice of time, as news change and the test split comes later."""
    worst = np.min([sweep.scores[metric][:, rows].mean(axis=1) for rows in slices], axis=0)
    return _first(sweep.alphas, worst, _column(sweep, metric), _column(sweep, "mrr@100"))


def forward_chaining(sweep: AlphaSweep, metric: str, folds: Sequence[AlphaSweep]) -> Alpha:
    """The alpha with the highest mean over earlier folds and the last, each trained on earlier news than it scores."""
    sweeps = [*folds, sweep]
    if any(fold.alphas != sweep.alphas for fold in folds):
        raise NewsMatchError("The folds were swept over different alphas; sweep the same alphas on all folds.")
    values, ties = (np.mean([_column(fold, name) for fold in sweeps], axis=0) for name in (metric, "mrr@100"))
    return _first(sweep.alphas, values, ties)


@dataclass(frozen=True)
class Rule:
    """A rule that chooses an alpha.

    Args:
        function (`Callable`):
            Takes the sweep and the metric, and by keyword its needs; returns the alpha.
        description (`str`):
            The rule in words, as it is recorded.
        needs (`tuple[str, ...]`, *optional*):
            The inputs of `function` beside sweep and metric: `"slices"` or `"folds"`.
    """

    function: Callable[..., Alpha]
    description: str
    needs: tuple[str, ...] = ()


# the rules that --alpha_rule takes
RULES: dict[str, Rule] = {
    "best": Rule(best, "highest validation {metric}, then mrr@100, then the smaller alpha"),
    "one_standard_error": Rule(
        one_standard_error,
        "nearest to 0.5 of those whose validation {metric} is within one standard error of the highest",
    ),
    "time_robust": Rule(
        time_robust,
        "highest {metric} on the worst of {slices} chronological slices of the validation split",
        needs=("slices",),
    ),
    "forward_chaining": Rule(
        forward_chaining,
        "highest mean {metric} over {slices} folds that train on earlier and choose on later news, the last on the"
        " validation split",
        needs=("folds",),
    ),
}
_NEEDS = {
    "slices": "slices; chronological_slices makes them",
    "folds": "sweeps of earlier folds; sweep_folds makes them",
}


def describe_rule(rule: str, metric: str, slices: int) -> str:
    """The description of a rule in words, with its metric and its number of slices."""
    return RULES[rule].description.format(metric=metric, slices=slices)


def check_rule(rule: str) -> None:
    """Raise a [`NewsMatchError`] for an unknown rule."""
    if rule not in RULES:
        raise NewsMatchError(f"There is no rule '{rule}' to choose alpha by; the rules are {', '.join(RULES)}.")


def check_metric(metric: str) -> None:
    """Raise a [`NewsMatchError`] for a metric that sweeps do not have."""
    if metric not in metric_names():
        raise NewsMatchError(f"Alpha cannot be chosen by '{metric}'; the metrics are {', '.join(metric_names())}.")


def _first(alphas: Sequence[Alpha], *criteria: Sequence[float]) -> Alpha:
    """The alpha with the highest first criterion, ties broken by the next, finally by the smaller alpha."""
    # rounded, so that means of the same values summed in another order do not differ
    keys = np.round(np.transpose([*criteria, [-np.mean(alpha) for alpha in alphas]]), 12).tolist()
    return max(zip(keys, alphas), key=lambda pair: pair[0])[1]


def _column(curve: Sequence[Mapping[str, float]], name: str) -> list[float]:
    return [point[name] for point in curve]


def _alpha(point: Mapping[str, float]) -> Alpha:
    return point["alpha"] if "alpha" in point else (point["alpha_vision"], point["alpha_text"])
