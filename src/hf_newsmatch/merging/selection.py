"""Rules that choose an alpha from what the validation part says of each."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import NewsMatchError
from ..metrics.scoring import metric_names

if TYPE_CHECKING:
    from .sweep import AlphaSweep

# of both towers, or of the vision and the text tower
Alpha = float | tuple[float, float]

# what --alpha_rule takes, and what it means, as it is recorded
RULES = {
    "best": "highest validation {metric}, then mrr@100, then the smaller alpha",
    "one_standard_error": (
        "nearest to 0.5 of those whose validation {metric} is within one standard error of the highest"
    ),
    "time_robust": "highest {metric} on the worst of {slices} chronological slices of the validation part",
    "forward_chaining": (
        "highest mean {metric} over {slices} folds that train on earlier and choose on later news, the validation part"
        " the last"
    ),
}


def choose_alpha(
    sweep: "AlphaSweep | Sequence[Mapping[str, float]]",
    rule: str = "best",
    metric: str = "recall@1",
    slices: Sequence[np.ndarray] | None = None,
    folds: Sequence["AlphaSweep"] | None = None,
) -> Alpha:
    """Choose an alpha by one of the rules, each a function of this module.

    In all of them, ties go to the higher MRR@100, then to the smaller alpha, which stays closer to zero-shot.

    Args:
        sweep ([`AlphaSweep`]):
            What each alpha is worth on the validation part; for `"best"`, the curve alone is enough.
        rule (`str`, *optional*, defaults to `"best"`):
            `"best"`, `"one_standard_error"`, `"time_robust"` or `"forward_chaining"`.
        metric (`str`, *optional*, defaults to `"recall@1"`):
            What the rule goes by: `"mrr@100"` or `"recall@k"`.
        slices (`Sequence[np.ndarray]`, *optional*):
            For `"time_robust"`: the rows of each slice, as [`chronological_slices`] gives them.
        folds (`Sequence[AlphaSweep]`, *optional*):
            For `"forward_chaining"`: the sweeps of earlier folds, as [`sweep_folds`] gives them; `sweep` is the last.

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
    if rule == "time_robust":
        if slices is None:
            raise NewsMatchError("The rule time_robust needs slices; chronological_slices makes them.")
        return time_robust(sweep, metric, slices)
    if rule == "forward_chaining":
        if folds is None:
            raise NewsMatchError("The rule forward_chaining needs sweeps of earlier folds; sweep_folds makes them.")
        return forward_chaining([*folds, sweep], metric)
    return {"best": best, "one_standard_error": one_standard_error}[rule](sweep, metric)


def best(curve: Sequence[Mapping[str, float]], metric: str = "recall@1") -> Alpha:
    """The paper's rule (section 3.3): the alpha with the highest validation Recall@1, or another metric."""
    return _first(list(map(_alpha, curve)), _column(curve, metric), _column(curve, "mrr@100"))


def one_standard_error(sweep: "AlphaSweep", metric: str = "recall@1") -> Alpha:
    """The alpha nearest to 0.5 that is as good as the best, as far as the data can tell.

    That is, whose difference to the best, paired by article, is at most one standard error of that difference
    ([`paired_standard_error`]). After the rule of Breiman et al. (1984) for pruning trees; 0.5 is where an average of
    two models is furthest from either. Of two alphas as near, the better one.
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
    """The standard error of a mean of differences by article, when articles of one picture go together.

    With d the differences, n articles and C pictures, S the sum of d - mean(d) over the articles of one picture:
    sqrt(C / (C - 1) * sum over pictures of S^2) / n. Where each picture has one article, this is std(d) / sqrt(n). It
    is the error that the clustered bootstrap finds by drawing.

    Args:
        differences (`np.ndarray` of shape `(articles,)`):
            What one alpha scores above another.
        clusters (`Sequence`):
            The picture of each article.

    Returns:
        `float`; 0 with a single picture, where nothing is known of it.
    """
    numbers = np.unique(np.asarray(clusters), return_inverse=True)[1]
    sums = np.bincount(numbers, weights=differences - differences.mean())
    count = len(sums)
    return float(np.sqrt(count / max(count - 1, 1) * (sums**2).sum()) / len(differences))


def time_robust(sweep: "AlphaSweep", metric: str, slices: Sequence[np.ndarray]) -> Alpha:
    """The alpha that does best in its worst slice of time: news change, and the test part comes later still."""
    worst = np.min([sweep.scores[metric][:, rows].mean(axis=1) for rows in slices], axis=0)
    return _first(sweep.alphas, worst, _column(sweep, metric), _column(sweep, "mrr@100"))


def forward_chaining(sweeps: Sequence["AlphaSweep"], metric: str = "recall@1") -> Alpha:
    """The alpha with the highest mean over folds, each of which trained on earlier news and was swept on the next."""
    alphas = sweeps[0].alphas
    if any(sweep.alphas != alphas for sweep in sweeps):
        raise NewsMatchError("The folds were swept over different alphas; sweep the same on all.")
    values, ties = (np.mean([_column(sweep, name) for sweep in sweeps], axis=0) for name in (metric, "mrr@100"))
    return _first(alphas, values, ties)


def describe_rule(rule: str, metric: str, slices: int) -> str:
    """What a rule means, in words."""
    return RULES[rule].format(metric=metric, slices=slices)


def check_rule(rule: str) -> None:
    """Refuse a rule that there is not, with a [`NewsMatchError`]."""
    if rule not in RULES:
        raise NewsMatchError(f"There is no rule '{rule}' to choose alpha by; the rules are {', '.join(RULES)}.")


def check_metric(metric: str) -> None:
    """Refuse a metric that no sweep has, with a [`NewsMatchError`]."""
    if metric not in metric_names():
        raise NewsMatchError(f"Alpha cannot be chosen by '{metric}'; the metrics are {', '.join(metric_names())}.")


def _first(alphas: Sequence[Alpha], *criteria: Sequence[float]) -> Alpha:
    """The alpha with the highest first criterion, ties broken by the next, at last by the smaller alpha."""
    # means of the same values summed in another order are not to differ
    keys = np.round(np.transpose([*criteria, [-np.mean(alpha) for alpha in alphas]]), 12).tolist()
    return max(zip(keys, alphas), key=lambda pair: pair[0])[1]


def _column(curve: Sequence[Mapping[str, float]], name: str) -> list[float]:
    return [point[name] for point in curve]


def _alpha(point: Mapping[str, float]) -> Alpha:
    return point["alpha"] if "alpha" in point else (point["alpha_vision"], point["alpha_text"])
