"""The task's metrics: MRR@100 and Recall@k over the articles of the gold file."""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import NewsMatchError
from ..retrieval.ranking import MAX_RANK, Ranking, check_distinct, check_list

logger = logging.getLogger(__name__)

DEFAULT_KS = (1, 5, 10, 50, 100)


def gold_ranks(
    ranking: Ranking, gold: Mapping[str, str], candidates: Collection[str] | None = None
) -> dict[str, int | None]:
    """The rank of the true picture in each article's list.

    Args:
        ranking ([`Ranking`]):
            The lists, at most 100 pictures each.
        gold (`Mapping[str, str]`):
            Article id to the id of the picture published with it.
        candidates (`Collection[str]`, *optional*):
            The ids of all candidate pictures; a list with any other id is refused.

    Returns:
        `dict[str, int | None]`: for each article of the gold, in its order, the rank from 1 on, or `None` when the
        picture is not in the list or the article not in the ranking.

    Raises:
        [`NewsMatchError`]: when the gold is empty, no article is in both, none of the gold's pictures is a candidate,
            an article is ranked twice, or a list is longer than 100, repeats a picture or names one outside
            `candidates`.
    """
    if not gold:
        raise NewsMatchError("The gold is empty: there is nothing to score against.")
    known = None if candidates is None else set(candidates)
    if known is not None and known.isdisjoint(gold.values()):
        raise NewsMatchError(
            f"None of the pictures of the gold (first '{next(iter(gold.values()))}') is among the {len(known)}"
            f" candidates (first '{next(iter(candidates or ()), '')}'); do both belong to the same data?"
        )
    check_distinct(ranking.article_ids, "article")
    ranks: dict[str, int | None] = dict.fromkeys(gold)
    scored = 0
    for article_id, image_ids in zip(ranking.article_ids, ranking.image_ids):
        check_list(article_id, image_ids, known)
        if article_id in ranks:
            scored += 1
            if gold[article_id] in image_ids:
                ranks[article_id] = image_ids.index(gold[article_id]) + 1
    if not scored:
        raise NewsMatchError(
            f"None of the {len(ranking)} ranked articles (first '{ranking.article_ids[0] if len(ranking) else ''}') is"
            f" among the {len(gold)} of the gold (first '{next(iter(gold))}'); do both belong to the same data?"
        )
    return ranks


def score(
    ranking: Ranking,
    gold: Mapping[str, str],
    ks: Sequence[int] = DEFAULT_KS,
    candidates: Collection[str] | None = None,
) -> dict[str, Any]:
    """MRR@100 and Recall@k, as the NewsImages task scores them.

    Both are means over the articles of the gold. There is one true picture an article, so Recall@k is the share of
    articles that have it among the first k. Nothing beyond rank 100 counts. An article without its picture in the list
    adds 0, and so does an article that is missing from the ranking, with a warning. Ranked articles without gold are
    ignored and counted. Lists that end before a k although there are more candidates cause a warning: that recall is
    lower than the model's.

    Args:
        ranking ([`Ranking`]):
            The lists to score.
        gold (`Mapping[str, str]`):
            Article id to true picture id.
        ks (`Sequence[int]`, *optional*, defaults to `(1, 5, 10, 50, 100)`):
            The ranks at which recall is measured, each from 1 to 100.
        candidates (`Collection[str]`, *optional*):
            The ids of all candidate pictures, for checking lists and gold, and marking saturated and truncated k.

    Returns:
        `dict`: `"mrr@100"` and `"recall@k"` for each k (floats in [0, 1]); `"num_articles"`, `"num_missing"`,
        `"num_without_gold"`, `"num_gold_not_candidates"` (0 when the candidates are unknown), `"num_candidates"`
        (`None` then) and `"longest_list"` (ints); `"saturated_ks"`, the k not below the number of candidates (empty
        when that is unknown): such a recall says nothing; and `"truncated_ks"`, the k that no list reaches though
        there are (or may be) candidates left.

    Raises:
        [`NewsMatchError`]: as [`gold_ranks`], and on a k outside 1 to 100.
    """
    scores = compute_scores(ranking, gold, ks, candidates)
    for message in warnings(scores):
        logger.warning(message)
    return scores


def compute_scores(
    ranking: Ranking, gold: Mapping[str, str], ks: Sequence[int], candidates: Collection[str] | None
) -> dict[str, Any]:
    """[`score`] without its warnings."""
    if not all(1 <= k <= MAX_RANK for k in ks):
        raise NewsMatchError(f"Recall@k is defined for k from 1 to {MAX_RANK}, not for {list(ks)}.")
    ranks = gold_ranks(ranking, gold, candidates)
    values = np.array(list(article_scores(ranks, ks).values())).mean(axis=1)
    known = None if candidates is None else set(candidates)
    pool = None if known is None else len(known)
    longest = max(map(len, ranking.image_ids))
    return {
        **dict(zip(metric_names(ks), values.tolist())),
        "num_articles": len(ranks),
        "num_missing": len(ranks.keys() - set(ranking.article_ids)),
        "num_without_gold": sum(article_id not in ranks for article_id in ranking.article_ids),
        "num_gold_not_candidates": 0 if known is None else sum(image_id not in known for image_id in gold.values()),
        "num_candidates": pool,
        "longest_list": longest,
        "saturated_ks": [] if pool is None else [k for k in ks if k >= pool],
        "truncated_ks": [k for k in ks if is_truncated(k, longest, pool)],
    }


def is_truncated(k: int, longest_list: int, num_candidates: int | None) -> bool:
    """Whether lists end before rank k although there are, or may be, candidates left."""
    return longest_list < (k if num_candidates is None else min(k, num_candidates))


def warnings(scores: Mapping[str, Any]) -> list[str]:
    """Warnings about a result of [`score`] that could mislead, one sentence each."""
    messages = []
    if scores["num_missing"]:
        messages.append(
            f"{scores['num_missing']} of the {scores['num_articles']} articles of the gold are not in the ranking and"
            " score 0."
        )
    if scores["num_gold_not_candidates"]:
        messages.append(
            f"The pictures of {scores['num_gold_not_candidates']} of the {scores['num_articles']} articles of the gold"
            " are not among the candidates: these articles score 0."
        )
    # without candidates, the lists may well hold all there are
    if scores["truncated_ks"] and scores["num_candidates"] is not None:
        names = " and ".join(f"Recall@{k}" for k in scores["truncated_ks"])
        messages.append(
            f"No list is longer than {scores['longest_list']} of the {scores['num_candidates']} candidates: {names}"
            " count nothing below."
        )
    return messages


def metric_names(ks: Sequence[int] = DEFAULT_KS) -> list[str]:
    """The keys of the metrics, in the order of the paper's tables: MRR first."""
    return [f"mrr@{MAX_RANK}", *(f"recall@{k}" for k in ks)]


def article_scores(ranks: Mapping[Any, float | None], ks: Sequence[int] = DEFAULT_KS) -> dict[str, np.ndarray]:
    """The contribution of each article to each metric: its reciprocal rank, and 1 or 0 for each k.

    Args:
        ranks (`Mapping[Any, float | None]`):
            As [`gold_ranks`] returns them; infinity is no rank either.
        ks (`Sequence[int]`, *optional*):
            The ranks at which recall is measured.

    Returns:
        `dict[str, np.ndarray]`: metric name to a float64 array of shape `(articles,)`, whose mean is the metric.
    """
    places = np.array([np.inf if place is None else place for place in ranks.values()], dtype=float)
    return dict(zip(metric_names(ks), [1 / places, *((places <= k).astype(float) for k in ks)]))
