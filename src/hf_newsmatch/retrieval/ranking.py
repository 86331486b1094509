"""Exact rankings of pictures by cosine similarity, and the checks of ids, embeddings and lists."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..configs import MAX_RANK
from ..errors import NewsMatchError

if TYPE_CHECKING:
    import torch  # reading and scoring prediction files takes no PyTorch, which is slow to import

CHUNK = 2**23  # similarities held at a time: 32 MiB in float32, few enough to stay near the processor


@dataclass
class Ranking:
    """The best pictures of each article, best first.

    Args:
        article_ids (`list[str]`):
            The articles, in the order of the data.
        image_ids (`list[list[str]]`):
            The pictures of each article, best first, at most 100.
        scores (`list[list[float]]`, *optional*):
            The cosine similarity of each picture, or its score by a re-ranking; a prediction file does not hold them.
    """

    article_ids: list[str]
    image_ids: list[list[str]]
    scores: list[list[float]] | None = None

    def __len__(self) -> int:
        return len(self.article_ids)

    @property
    def known_scores(self) -> list[list[float]]:
        """The scores.

        Raises:
            [`NewsMatchError`]: when the ranking has none, as one that was read from a prediction file.
        """
        if self.scores is None:
            raise NewsMatchError(
                "This ranking has no scores, as a prediction file holds none; rank the pictures again."
            )
        return self.scores


def rank(
    text_embeds: "torch.Tensor",
    image_embeds: "torch.Tensor",
    article_ids: Sequence[str],
    image_ids: Sequence[str],
    k: int = MAX_RANK,
) -> Ranking:
    """Rank the candidate pictures of each article by cosine similarity (the paper, section 3.3).

    Exact: every article is compared with every picture, in chunks that bound the memory. Equal similarities are
    ordered as the candidates are, so that a ranking is reproducible.

    Args:
        text_embeds (`torch.Tensor` of shape `(articles, d)`, any floating dtype):
            Unit-length embeddings of the articles.
        image_embeds (`torch.Tensor` of shape `(pictures, d)`, any floating dtype):
            Unit-length embeddings of the candidates.
        article_ids (`Sequence[str]`):
            One for each row of `text_embeds`.
        image_ids (`Sequence[str]`):
            One for each row of `image_embeds`, all different.
        k (`int`, *optional*, defaults to 100):
            The number of pictures listed for each article; fewer when there are fewer candidates.

    Returns:
        [`Ranking`] with scores.

    Raises:
        [`NewsMatchError`]: on ids and embeddings of different number, repeated ids, NaN, embeddings of different
            width, or `k` below 1.
    """
    # a column of `datasets` reads the table again for each id
    article_ids, image_ids = list(article_ids), list(image_ids)
    text_embeds, image_embeds = text_embeds.float(), image_embeds.float()
    check_embeddings(text_embeds, image_embeds, article_ids, image_ids)
    if k < 1:
        raise NewsMatchError(f"k must be at least 1, not {k}.")
    k = min(k, len(image_ids))
    # numpy's product: PyTorch's library takes twice its time on processors of another make than its own
    texts, pictures = text_embeds.numpy(force=True), image_embeds.numpy(force=True)
    names, size = np.array(image_ids, dtype=object), max(1, CHUNK // len(image_ids))
    lists, scores = [], []
    for start in range(0, len(texts), size):
        indices, values = stable_topk(texts[start : start + size] @ pictures.T, k)
        lists += names[indices].tolist()
        scores += values.tolist()
    return Ranking(article_ids, lists, scores)


def stable_topk(similarities: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The columns and the values of the k highest entries of each row, highest first, equal ones by column.

    Few entries are sorted: those not below the k-th highest of the maxima of groups of columns, which is not above the
    k-th highest of all.

    Args:
        similarities (`np.ndarray` of shape `(rows, columns)`):
            Finite.
        k (`int`):
            From 1 to the number of columns.

    Returns:
        `tuple[np.ndarray, np.ndarray]`, each of shape `(rows, k)`.
    """
    count, width = similarities.shape
    size = max(1, width // (8 * k))  # more than k groups, so many that the bound is near
    groups = width // size
    maxima = similarities[:, : groups * size].reshape(count, size, groups).max(axis=1)
    bounds = np.partition(maxima, groups - k, axis=1)[:, groups - k]
    flat = similarities.ravel()
    found = np.flatnonzero(similarities >= bounds[:, None])
    rows = found // width
    counts = np.bincount(rows, minlength=count)
    starts = counts.cumsum() - counts
    candidates = np.full((count, counts.max()), -np.inf, dtype=similarities.dtype)
    candidates[rows, np.arange(len(found)) - starts[rows]] = flat[found]
    chosen = found[starts[:, None] + np.argsort(-candidates, axis=1, kind="stable")[:, :k]]
    return chosen % width, flat[chosen]


def check_embeddings(
    text_embeds: "torch.Tensor", image_embeds: "torch.Tensor", article_ids: list[str], image_ids: list[str]
) -> None:
    """Raise a [`NewsMatchError`] for embeddings that cannot be ranked, as [`rank`] describes."""
    _check_ids(article_ids, text_embeds, "article")
    _check_ids(image_ids, image_embeds, "image")
    if not len(image_ids):
        raise NewsMatchError("There are no candidate pictures to rank.")
    if text_embeds.shape[1] != image_embeds.shape[1]:
        raise NewsMatchError(
            f"The embeddings of articles have {text_embeds.shape[1]} dimensions and those of images"
            f" {image_embeds.shape[1]}; take both from the same checkpoint."
        )


def _check_ids(ids: list[str], embeds: "torch.Tensor", kind: str) -> None:
    if embeds.ndim != 2:
        raise NewsMatchError(f"The {kind} embeddings must be a matrix, not of shape {tuple(embeds.shape)}.")
    if len(ids) != len(embeds):
        raise NewsMatchError(f"There are {len(ids)} {kind} ids but {len(embeds)} {kind} embeddings.")
    check_distinct(ids, kind)
    finite = embeds.isfinite()
    if not finite.all():
        row = int((~finite).any(dim=1).nonzero()[0])
        raise NewsMatchError(f"The embedding of {kind} '{ids[row]}' is not finite; is the checkpoint sound?")


def check_distinct(ids: Sequence[str], kind: str) -> None:
    """Raise a [`NewsMatchError`] when an id occurs twice."""
    repeated = next((name for name, times in Counter(ids).items() if times > 1), None)
    if repeated is not None:
        raise NewsMatchError(f"The {kind} id '{repeated}' occurs more than once; rank each {kind} once.")


def check_list(article_id: str, image_ids: Sequence[str], candidates: set[str] | None = None) -> None:
    """Raise a [`NewsMatchError`] for a list that is too long, repeats a picture or names one that is no candidate."""
    if len(image_ids) > MAX_RANK:
        raise NewsMatchError(
            f"The list of article '{article_id}' has {len(image_ids)} pictures, more than {MAX_RANK}."
        )
    if len(set(image_ids)) != len(image_ids):
        repeated = next(name for name in image_ids if image_ids.count(name) > 1)
        raise NewsMatchError(f"The list of article '{article_id}' has the picture '{repeated}' more than once.")
    if candidates is not None and not candidates.issuperset(image_ids):
        stranger = next(name for name in image_ids if name not in candidates)
        raise NewsMatchError(
            f"The list of article '{article_id}' has '{stranger}', which is not among the candidates."
        )
