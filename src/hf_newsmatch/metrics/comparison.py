"""Several runs on the same articles, scored side by side."""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ..retrieval.ranking import MAX_RANK, Ranking
from .bootstrap import bootstrap_intervals
from .scoring import DEFAULT_KS, article_scores, compute_scores, gold_ranks, warnings

logger = logging.getLogger(__name__)

# counts that all runs share, or that are taken from the run with the shortest lists
_SHARED = ("num_candidates", "num_gold_not_candidates", "saturated_ks", "longest_list", "truncated_ks")


def compare_runs(
    rankings: Mapping[str, Ranking],
    gold: Mapping[str, str],
    ks: Sequence[int] = DEFAULT_KS,
    candidates: Collection[str] | None = None,
    seed: int = 0,
    baselines: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Score runs with 95 % intervals, and their differences to the first or another run, article by article.

    Args:
        rankings (`Mapping[str, Ranking]`):
            Name to ranking; the first is what the others are compared with, unless `baselines` says otherwise.
        gold (`Mapping[str, str]`):
            Article id to true picture id.
        ks (`Sequence[int]`, *optional*, defaults to `(1, 5, 10, 50, 100)`):
            The ranks at which recall is measured.
        candidates (`Collection[str]`, *optional*):
            The ids of all candidate pictures; without them there is no chance level.
        seed (`int`, *optional*, defaults to 0):
            Seed of the bootstrap.
        baselines (`Mapping[str, str]`, *optional*):
            Name to the name of the run to compare it with, where that is not the first.

    Returns:
        `dict`, ready for JSON: `"num_articles"`, `"num_candidates"`, `"num_gold_not_candidates"`, `"saturated_ks"`,
        `"longest_list"` and `"truncated_ks"` (those of the run with the shortest lists), `"chance"` (metric to the
        score of a random order, 0 for each article whose true picture is no candidate), `"runs"` (name to metric to
        `{"mean", "low", "high"}`, and the counts of [`score`]), `"differences"` (the same for each run but the first,
        minus its baseline) and `"baselines"` (their names).

    Raises:
        [`NewsMatchError`]: as [`score`].
    """
    scores = {name: compute_scores(ranking, gold, ks, candidates) for name, ranking in rankings.items()}
    for message in dict.fromkeys(message for result in scores.values() for message in warnings(result)):
        logger.warning(message)
    shortest = min(scores.values(), key=lambda result: result["longest_list"])
    by_article = {name: article_scores(gold_ranks(ranking, gold), ks) for name, ranking in rankings.items()}
    first = next(iter(by_article))
    columns = {("run", name, metric): array for name, arrays in by_article.items() for metric, array in arrays.items()}
    baselines = {name: (baselines or {}).get(name, first) for name in list(by_article)[1:]}
    for name, baseline in baselines.items():
        for metric, array in by_article[name].items():
            columns["difference", name, metric] = array - by_article[baseline][metric]
    intervals = bootstrap_intervals(columns, list(gold.values()), seed=seed)

    def table(kind: str) -> dict[str, dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = {}
        for (found, name, metric), interval in intervals.items():
            if found == kind:
                rows.setdefault(name, {})[metric] = interval._asdict()
        return rows

    runs = table("run")
    for name, row in runs.items():
        row.update({count: scores[name][count] for count in ("num_missing", "num_without_gold")})
    return {
        "num_articles": len(gold),
        **{name: shortest[name] for name in _SHARED},
        "chance": None if candidates is None else _chance(shortest, ks),
        "runs": runs,
        "differences": table("difference"),
        "baselines": baselines,
    }


def _chance(scores: Mapping[str, Any], ks: Sequence[int]) -> dict[str, float]:
    """The scores of a random order, in which an article scores 0 whose true picture is no candidate."""
    share = 1 - scores["num_gold_not_candidates"] / scores["num_articles"]
    return {metric: value * share for metric, value in chance_level(scores["num_candidates"], ks).items()}


def chance_level(num_candidates: int, ks: Sequence[int] = DEFAULT_KS) -> dict[str, float]:
    """The scores of a random order of n candidates: MRR@100 = H(min(100, n)) / n, Recall@k = min(k, n) / n."""
    places = np.arange(1, min(MAX_RANK, num_candidates) + 1)
    mrr = float((1 / places).sum() / num_candidates)
    return {f"mrr@{MAX_RANK}": mrr, **{f"recall@{k}": min(k, num_candidates) / num_candidates for k in ks}}
