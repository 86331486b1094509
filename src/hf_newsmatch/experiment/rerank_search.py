"""The settings of a re-ranking, chosen on the validation split alone."""

import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..metrics import bootstrap_intervals
from ..metrics.scoring import article_scores, gold_ranks
from ..retrieval.rerank.methods import METHODS, check_method, rerank

logger = logging.getLogger(__name__)

METRIC = "mrr@100"
# A choice by the scores of fewer articles says more of these articles than of the models.
FEW_ARTICLES = 100


def choose_settings(
    method: str,
    text_embeds: torch.Tensor,
    image_embeds: torch.Tensor,
    article_ids: Sequence[str],
    image_ids: Sequence[str],
    gold: Mapping[str, str],
    **known: Any,
) -> dict[str, Any]:
    """Search the settings of a re-ranking with the highest validation MRR@100.

    Args:
        method (`str`):
            As for [`rerank`].
        text_embeds, image_embeds, article_ids, image_ids:
            The validation split, as for [`rerank`].
        gold (`Mapping[str, str]`):
            Its true pictures.
        known:
            The inputs that the method needs beside its settings, like the bank of `querybank`.

    Returns:
        `dict`, ready for JSON: `"method"`, `"settings"` (the chosen ones), `"transductive"`, `"chosen_by"`, `"tried"`
        (each setting and its metric), and `"validation"`: the metric of the chosen settings, and its gain over no
        re-ranking article by article, each with a 95 % bootstrap interval. These are optimistic, because the settings
        were chosen on the same articles.
    """
    check_method(method)

    def scores(method: str, **settings: Any):
        ranking = rerank(text_embeds, image_embeds, article_ids, image_ids, method, **settings)
        return article_scores(gold_ranks(ranking, gold), ())[METRIC]

    grid = METHODS[method].grid
    tried = [dict(zip(grid, values)) for values in itertools.product(*grid.values())]
    found = [scores(method, **settings, **known) for settings in tried]
    best = max(range(len(tried)), key=lambda number: found[number].mean())
    intervals = bootstrap_intervals({METRIC: found[best], "gain": found[best] - scores("none")}, list(gold.values()))
    return {
        "method": method,
        "settings": tried[best],
        "transductive": METHODS[method].transductive,
        "chosen_by": f"highest validation {METRIC}",
        "tried": [{**settings, METRIC: float(values.mean())} for settings, values in zip(tried, found)],
        "validation": {name: interval._asdict() for name, interval in intervals.items()},
    }


def describe(chosen: Mapping[str, Any]) -> str:
    """A sentence about a result of [`choose_settings`]: the settings, their validation gain and assumption."""
    gain = chosen["validation"]["gain"]
    settings = ", ".join(f"{name} {value:g}" for name, value in chosen["settings"].items()) or "no settings"
    text = f"{settings}; validation {METRIC} {gain['mean']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"
    return text + ("; assumes the whole split at hand." if chosen["transductive"] else ".")


def warn_of_few(articles: int, choice: str) -> None:
    """Warn that a choice on a small validation split is mostly noise."""
    if articles < FEW_ARTICLES:
        logger.warning(
            "The validation split has %d articles, fewer than %d: %s on it is mostly noise.",
            articles,
            FEW_ARTICLES,
            choice,
        )
