"""The settings of a method, chosen on the validation part alone."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..metrics import bootstrap_intervals
from ..metrics.scoring import article_scores, gold_ranks
from ..retrieval.rerank.methods import TRANSDUCTIVE, check_method, rerank

METRIC = "mrr@100"
# CLIP's own temperature is near 0.01
_TEMPERATURES = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
# what is tried: the first of equally good settings is taken
GRIDS: dict[str, dict[str, tuple]] = {
    "dual_softmax": {"temperature": _TEMPERATURES},
    "csls": {"neighbours": (50, 20, 10, 5, 2, 1)},
    "querybank": {"temperature": _TEMPERATURES},
    "sinkhorn": {"temperature": _TEMPERATURES[:4]},  # lower ones take thousands of iterations
    "neighbours": {
        "nearest": (100, 50, 20, 10),
        "names": (0.0, 0.5, 0.75, 1.0),
        "weight": (0.1, 0.2, 0.3, 0.5, 0.7),
    },
}


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
            The validation part, as for [`rerank`].
        gold (`Mapping[str, str]`):
            Its true pictures.
        known:
            What the method takes that is not searched, like the bank of `querybank`.

    Returns:
        `dict`, ready for JSON: `"method"`, `"settings"` (those chosen), `"transductive"`, `"chosen_by"`, `"tried"`
        (each setting and its metric), and `"validation"`: the metric of the chosen one, and its gain over no
        re-ranking article by article, each with a 95 % bootstrap interval. They are optimistic, as chosen on the same
        articles.
    """
    check_method(method)

    def scores(method: str, **settings: Any):
        ranking = rerank(text_embeds, image_embeds, article_ids, image_ids, method, **settings)
        return article_scores(gold_ranks(ranking, gold), ())[METRIC]

    grid = GRIDS.get(method, {})
    tried = [dict(zip(grid, values)) for values in itertools.product(*grid.values())]
    found = [scores(method, **settings, **known) for settings in tried]
    best = max(range(len(tried)), key=lambda number: found[number].mean())
    intervals = bootstrap_intervals({METRIC: found[best], "gain": found[best] - scores("none")}, list(gold.values()))
    return {
        "method": method,
        "settings": tried[best],
        "transductive": method in TRANSDUCTIVE,
        "chosen_by": f"highest validation {METRIC}",
        "tried": [{**settings, METRIC: float(values.mean())} for settings, values in zip(tried, found)],
        "validation": {name: interval._asdict() for name, interval in intervals.items()},
    }


def describe(chosen: Mapping[str, Any]) -> str:
    """What [`choose_settings`] found, in a sentence: the settings, their gain on validation, and what they assume."""
    gain = chosen["validation"]["gain"]
    settings = ", ".join(f"{name} {value:g}" for name, value in chosen["settings"].items()) or "no settings"
    text = f"{settings}; validation {METRIC} {gain['mean']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"
    return text + ("; assumes the whole part at hand." if chosen["transductive"] else ".")
