"""The registry of re-ranking methods, none of which needs any training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ...errors import NewsMatchError
from ..ranking import MAX_RANK, Ranking, check_embeddings, rank
from .assignment import assignment, put_first
from .neighbours import neighbours
from .offsets import csls, dual_softmax, querybank
from .sinkhorn import sinkhorn

# the learned temperature of CLIP models is near 0.01
_TEMPERATURES = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005)


@dataclass(frozen=True)
class Reranker:
    """A method of re-ranking.

    Args:
        name (`str`):
            The name that `--rerank` takes.
        function (`Callable`, *optional*):
            Takes the embeddings of the articles and of the candidates, and by keyword its settings and needs; returns
            new embeddings, whose products are ranked. `None` ranks the given embeddings.
        transductive (`bool`, *optional*, defaults to `False`):
            Whether the ranking of an article depends on the other articles to be ranked.
        grid (`dict[str, tuple]`, *optional*):
            The settings and the values to try for each; of equally good ones the first is chosen.
        needs (`dict[str, str]`, *optional*):
            The inputs of `function` that are data, not settings, each with its kind: `"texts"` (the texts of the
            articles), `"earlier_texts"` (embeddings of earlier texts) or `"earlier_pairs"` (a [`Bank`]).
        assigns (`bool`, *optional*, defaults to `False`):
            Whether `function` returns one picture for each article (see [`assignment`]), to be put first.
    """

    name: str
    function: Callable[..., Any] | None = None
    transductive: bool = False
    grid: Mapping[str, tuple] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)
    assigns: bool = False


METHODS: dict[str, Reranker] = {
    method.name: method
    for method in (
        Reranker("none"),
        Reranker("dual_softmax", dual_softmax, transductive=True, grid={"temperature": _TEMPERATURES}),
        Reranker("csls", csls, transductive=True, grid={"neighbours": (50, 20, 10, 5, 2, 1)}),
        Reranker("querybank", querybank, grid={"temperature": _TEMPERATURES}, needs={"bank": "earlier_texts"}),
        # lower temperatures take thousands of iterations
        Reranker("sinkhorn", sinkhorn, transductive=True, grid={"temperature": _TEMPERATURES[:4]}),
        Reranker("assignment", assignment, transductive=True, assigns=True),
        Reranker(
            "neighbours",
            neighbours,
            grid={
                "nearest": (100, 50, 20, 10),
                "names": (0.0, 0.5, 0.75, 1.0),
                "weight": (0.1, 0.2, 0.3, 0.5, 0.7),
            },
            needs={"texts": "texts", "bank": "earlier_pairs"},
        ),
    )
}


def rerank(
    text_embeds: torch.Tensor,
    image_embeds: torch.Tensor,
    article_ids: Sequence[str],
    image_ids: Sequence[str],
    method: str = "none",
    k: int = MAX_RANK,
    **settings: Any,
) -> Ranking:
    """Rank the candidate pictures of each article by one of the methods.

    Equal scores are ordered as the candidates are.

    Args:
        text_embeds (`torch.Tensor` of shape `(articles, d)`, any floating dtype):
            Unit-length embeddings of the articles.
        image_embeds (`torch.Tensor` of shape `(pictures, d)`, any floating dtype):
            Unit-length embeddings of the candidates.
        article_ids (`Sequence[str]`):
            One for each row of `text_embeds`.
        image_ids (`Sequence[str]`):
            One for each row of `image_embeds`, all different.
        method (`str`, *optional*, defaults to `"none"`):
            One of `METHODS`. A transductive method assumes all articles at hand: the ranking of one depends on the
            others, and a single article is ranked as by `"none"`.
        k (`int`, *optional*, defaults to 100):
            The number of pictures listed for each article.
        settings:
            The settings and needs of the method's function.

    Returns:
        [`Ranking`] with scores. Where a method changes the scores, they compare within one article only.

    Raises:
        [`NewsMatchError`]: on an unknown method, as [`rank`], or on settings that the method refuses.
    """
    check_method(method)
    article_ids, image_ids = list(article_ids), list(image_ids)
    text_embeds, image_embeds = text_embeds.float(), image_embeds.float()
    check_embeddings(text_embeds, image_embeds, article_ids, image_ids)
    reranker = METHODS[method]
    if reranker.function is None or not article_ids:
        return rank(text_embeds, image_embeds, article_ids, image_ids, k)
    result = reranker.function(text_embeds, image_embeds, **settings)
    if reranker.assigns:
        ranking = rank(text_embeds, image_embeds, article_ids, image_ids, k)
        return put_first(ranking, result, image_ids, text_embeds, image_embeds)
    text_embeds, image_embeds = result
    return rank(text_embeds, image_embeds, article_ids, image_ids, k)


def check_method(method: str) -> None:
    """Raise a [`NewsMatchError`] for an unknown method."""
    if method not in METHODS:
        raise NewsMatchError(f"There is no re-ranking '{method}'; the methods are {', '.join(METHODS)}.")
