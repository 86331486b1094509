"""One ranking from several models: ensembles of embeddings, and fusion of rankings."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import NewsMatchError
from .ranking import MAX_RANK, Ranking, check_distinct, check_list

if TYPE_CHECKING:
    import torch

CONSTANT = 60  # of reciprocal rank fusion, as its authors chose it


def ensemble(first: "torch.Tensor", second: "torch.Tensor", weight: float = 0.5) -> "torch.Tensor":
    """Embeddings whose similarities are the weighted average of two models': an ensemble in output space.

    With both sides of the data joined like this, the product of a text and a picture is
    `(1 - weight) * similarity_1 + weight * similarity_2`, so that it is ranked as any other run. (Wortsman et al. 2021
    compare WiSE-FT with such an ensemble; it takes two models where theirs takes one.)

    Args:
        first, second (`torch.Tensor` of shapes `(n, d)` and `(n, e)`, float32):
            The same texts, or the same pictures, as each model embeds them, in rows of length 1.
        weight (`float`, *optional*, defaults to 0.5):
            The second model's share, from 0 to 1; 0.5 is the plain average.

    Returns:
        `torch.Tensor` of shape `(n, d + e)`, in rows of length 1.

    Raises:
        [`NewsMatchError`]: on a weight outside [0, 1].
    """
    import torch

    if not 0 <= weight <= 1:
        raise NewsMatchError(f"The weight of an ensemble must lie between 0 and 1, not at {weight}.")
    return torch.cat([math.sqrt(1 - weight) * first, math.sqrt(weight) * second], dim=1)


def fuse(
    rankings: Sequence[Ranking],
    method: str = "reciprocal_rank",
    weights: Sequence[float] | None = None,
    k: int = MAX_RANK,
) -> Ranking:
    """Fuse the rankings of several models, seeds, alphas or text fields into one.

    Each picture of an article gets the weighted mean, over the rankings, of

    - `"reciprocal_rank"`: `1 / (60 + rank)` (Cormack, Clarke and Büttcher 2009, "Reciprocal Rank Fusion Outperforms
      Condorcet and Individual Rank Learning Methods"), 0 where a list lacks the picture. It needs no scores.
    - `"z_score"`: `(score - mean) / standard deviation`, both over the pictures that the list of the article names;
      `"min_max"`: `(score - lowest) / (highest - lowest)`. (Fox and Shaw 1994, "Combination of Multiple Searches",
      sum scores; Lee 1997, "Analyses of Multiple Evidence Combination", normalises them.) A list of equal scores has
      no opinion, 0. A picture that a list lacks gets the lowest that the list gives: its score cannot be higher.

    Equal results are ordered as the first ranking has them, then as the second adds to it, and so on.

    Args:
        rankings (`Sequence[Ranking]`):
            Two or more, of the same articles; their order may differ.
        method (`str`, *optional*, defaults to `"reciprocal_rank"`):
            One of `FUSIONS`.
        weights (`Sequence[float]`, *optional*):
            One for each ranking; equal by default.
        k (`int`, *optional*, defaults to 100):
            The number of pictures listed for each article.

    Returns:
        [`Ranking`] of the articles in the order of the first, with the means as scores.

    Raises:
        [`NewsMatchError`]: on fewer than two rankings, rankings of other articles, an article that is ranked twice, a
            list that repeats a picture, an unknown method, scores that are missing or not finite, weights that are
            negative, infinite or all 0, or `k` below 1.
    """
    if method not in FUSIONS:
        raise NewsMatchError(f"There is no fusion '{method}'; the methods are {', '.join(FUSIONS)}.")
    if k < 1:
        raise NewsMatchError(f"k must be at least 1, not {k}.")
    shares = _shares(weights, len(rankings))
    rows = [_rows(ranking, number, method) for number, ranking in enumerate(rankings, start=1)]
    for number in range(2, len(rows) + 1):
        for inside, outside in ((1, number), (number, 1)):
            lone = next((name for name in rows[inside - 1] if name not in rows[outside - 1]), None)
            if lone is not None:
                raise NewsMatchError(
                    f"Article '{lone}' is in ranking {inside} but not in ranking {outside}; fuse rankings of the same"
                    " articles."
                )
    lists, scores = [], []
    for article_id in rows[0]:
        # a dictionary keeps the order in which the pictures turn up
        sums: dict[str, float] = dict.fromkeys((name for row in rows for name in row[article_id][0]), 0.0)
        for row, share in zip(rows, shares):
            names, listed = row[article_id]
            values, missing = FUSIONS[method](listed) if names else ([], 0.0)
            found = dict(zip(names, values))
            for name in sums:
                sums[name] += share * found.get(name, missing)
        best = sorted(sums, key=sums.__getitem__, reverse=True)[:k]
        lists.append(best)
        scores.append([sums[name] for name in best])
    return Ranking(list(rows[0]), lists, scores)


def _reciprocal_rank(scores: np.ndarray) -> tuple[list[float], float]:
    return (1 / (CONSTANT + np.arange(1, len(scores) + 1))).tolist(), 0.0


def _z_score(scores: np.ndarray) -> tuple[list[float], float]:
    return _scaled(scores, scores.mean(), scores.std())


def _min_max(scores: np.ndarray) -> tuple[list[float], float]:
    return _scaled(scores, scores.min(), scores.max() - scores.min())


def _scaled(scores: np.ndarray, centre: float, width: float) -> tuple[list[float], float]:
    """The normalised scores of a list, and the score of a picture that it lacks."""
    # the mean of equal numbers may be off by rounding
    values = (scores - centre) / width if scores.min() < scores.max() else np.zeros(len(scores))
    return values.tolist(), float(values.min())


FUSIONS: dict[str, Callable[[np.ndarray], tuple[list[float], float]]] = {
    "reciprocal_rank": _reciprocal_rank,
    "z_score": _z_score,
    "min_max": _min_max,
}


def _shares(weights: Sequence[float] | None, count: int) -> list[float]:
    if count < 2:
        raise NewsMatchError(f"A fusion takes two or more rankings, not {count}.")
    if weights is None:
        return [1 / count] * count
    if len(weights) != count:
        raise NewsMatchError(f"There are {len(weights)} weights for {count} rankings.")
    if not all(0 <= weight < math.inf for weight in weights) or not sum(weights):
        raise NewsMatchError(f"Weights must be 0 or more and not all 0, unlike {', '.join(map(str, weights))}.")
    return [weight / sum(weights) for weight in weights]


def _rows(ranking: Ranking, number: int, method: str) -> dict[str, tuple[list[str], np.ndarray]]:
    """The pictures of each article and their scores; zeros where no scores are needed."""
    check_distinct(ranking.article_ids, "article")
    if ranking.scores is None and method != "reciprocal_rank":
        raise NewsMatchError(
            f"Ranking {number} has no scores, which {method} needs: keep the .parquet file of `hf-newsmatch predict`"
            " beside its prediction file, or take reciprocal_rank."
        )
    scores = ranking.scores or [[0.0] * len(names) for names in ranking.image_ids]
    rows = {}
    for article_id, names, values in zip(ranking.article_ids, ranking.image_ids, scores):
        check_list(article_id, names)
        if not np.isfinite(values).all():
            raise NewsMatchError(f"Ranking {number} has a score of article '{article_id}' that is not finite.")
        rows[article_id] = names, np.array(values)
    return rows
