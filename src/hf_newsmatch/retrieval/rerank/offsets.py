"""Offsets of pictures: dual softmax, CSLS and querybank normalisation.

A plain ranking orders the pictures of article i by `s_ij`, the similarity of its text with picture j. These methods
order them by `s_ij - o_j`, with an offset for each picture that measures its nearness to texts in general. (All other
terms of their formulas are the same for all pictures of an article, and leave its order as it is.) An offset is one
more dimension of the embeddings: text `[t, 1]` times picture `[p, -o]`. So each method makes new embeddings of the
given ones, in blocks that bound the memory, and [`rank`] does the rest. To rank a matrix of similarities, take it for
the embeddings of the texts and `torch.eye(pictures)` for those of the pictures.
"""

import math
from collections.abc import Callable

import torch

from ...errors import NewsMatchError
from ..ranking import CHUNK

Embeddings = tuple[torch.Tensor, torch.Tensor]


def dual_softmax(text_embeds: torch.Tensor, image_embeds: torch.Tensor, temperature: float) -> Embeddings:
    """Dual softmax: the probability of the picture given the text, times that of the text given the picture.

    `P_ij = softmax_j(s_ij / t) * softmax_i(s_ij / t)`, so that `t / 2 * log P_ij` is, but for a term that is the same
    in all of row i, `s_ij - t / 2 * log sum_i exp(s_ij / t)`: the offset is the second term. (Rocco et al. 2018,
    "Neighbourhood Consensus Networks", have the product; Cheng et al. 2021, "Improving Video-Text Retrieval by
    Multi-Stream Corpus Alignment and Dual Softmax Loss", use it for retrieval, with the similarity in place of the
    first softmax.)

    Transductive. Two passes over the similarities, a block at a time.

    Args:
        text_embeds (`torch.Tensor` of shape `(articles, d)`, float32):
            The articles.
        image_embeds (`torch.Tensor` of shape `(pictures, d)`, float32):
            The candidates.
        temperature (`float`):
            `t`, above 0; the learned one of CLIP models is near 0.01.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]` of shapes `(articles, d + 1)` and `(pictures, d + 1)`.
    """
    return with_offsets(text_embeds, image_embeds, _soft_maxima(text_embeds, image_embeds, temperature) / 2)


def csls(text_embeds: torch.Tensor, image_embeds: torch.Tensor, neighbours: int) -> Embeddings:
    """Cross-domain similarity local scaling (Conneau et al. 2018, "Word Translation Without Parallel Data", eq. 4).

    `CSLS_ij = 2 * s_ij - r_i - r_j`, where `r_j` is the mean similarity of picture j with its nearest texts and `r_i`
    that of text i with its nearest pictures; `r_i` is the same in all of row i. The offset is `r_j / 2`: hubs,
    pictures near to many texts, move down.

    Transductive. Two passes over the similarities, a block at a time.

    Args:
        text_embeds (`torch.Tensor` of shape `(articles, d)`, float32):
            The articles.
        image_embeds (`torch.Tensor` of shape `(pictures, d)`, float32):
            The candidates.
        neighbours (`int`):
            The number of nearest texts (the paper: 10); all of them when there are fewer.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]` of shapes `(articles, d + 1)` and `(pictures, d + 1)`.
    """
    if neighbours < 1:
        raise NewsMatchError(f"The neighbours of csls must be 1 or more, not {neighbours}.")
    neighbours = min(neighbours, len(text_embeds))
    means = _by_picture(text_embeds, image_embeds, lambda block: block.topk(neighbours, sorted=False).values.mean(1))
    return with_offsets(text_embeds, image_embeds, means / 2)


def querybank(
    text_embeds: torch.Tensor, image_embeds: torch.Tensor, bank: torch.Tensor, temperature: float
) -> Embeddings:
    """Querybank normalisation with the dynamic inverted softmax (Bogolin et al. 2022, eq. 5 and 6).

    `exp(s_ij / t) / sum_b exp(s_bj / t)` over the texts b of a bank, for those articles whose nearest picture is also
    the nearest of some text of the bank; the others keep `s_ij`. In its logarithm, times t, the offset is
    `t * log sum_b exp(s_bj / t)`. ("Cross Modal Retrieval with Querybank Normalisation"; its beta is `1 / t`.)

    Not transductive: the other articles do not matter, only the bank and the candidates.

    Args:
        text_embeds (`torch.Tensor` of shape `(articles, d)`, float32):
            The articles.
        image_embeds (`torch.Tensor` of shape `(pictures, d)`, float32):
            The candidates.
        bank (`torch.Tensor` of shape `(texts, d)`, float32):
            Other texts, those of training and validation.
        temperature (`float`):
            `t`, above 0.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]` of shapes `(articles, d + 1)` and `(pictures, d + 1)`.
    """
    if not len(bank):
        raise NewsMatchError("The bank of querybank is empty; give it the texts of training.")
    if bank.shape[1] != image_embeds.shape[1] or not torch.isfinite(bank).all():
        raise NewsMatchError("The bank of querybank must be finite and of the same checkpoint as the pictures.")
    offsets = _soft_maxima(bank, image_embeds, temperature)
    hubs = torch.zeros(len(image_embeds), dtype=torch.bool)
    hubs[_nearest(bank, image_embeds)] = True
    return with_offsets(text_embeds, image_embeds, offsets, hubs[_nearest(text_embeds, image_embeds)])


def check_temperature(temperature: float) -> None:
    """Raise a [`NewsMatchError`] for a temperature that is not above 0 and finite."""
    if not 0 < temperature < math.inf:
        raise NewsMatchError(f"A temperature must be above 0 and finite, not {temperature}.")


def with_offsets(
    text_embeds: torch.Tensor, image_embeds: torch.Tensor, offsets: torch.Tensor, used: torch.Tensor | None = None
) -> Embeddings:
    """Embeddings whose products are reduced by each picture's offset, for all articles or only those in `used`."""
    used = torch.ones(len(text_embeds)) if used is None else used.float()
    return torch.cat([text_embeds, used[:, None]], 1), torch.cat([image_embeds, -offsets[:, None]], 1)


def _by_picture(
    text_embeds: torch.Tensor, image_embeds: torch.Tensor, reduce: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """One number for each picture, reduced from its similarities with all texts."""
    return torch.cat([reduce(block @ text_embeds.T) for block in blocks(image_embeds, len(text_embeds))])


def _soft_maxima(text_embeds: torch.Tensor, image_embeds: torch.Tensor, temperature: float) -> torch.Tensor:
    """The smoothed maximum `t * log sum exp(s / t)` of each picture's similarities with the texts."""
    check_temperature(temperature)
    return _by_picture(text_embeds / temperature, image_embeds, lambda block: block.logsumexp(1)) * temperature


def _nearest(text_embeds: torch.Tensor, image_embeds: torch.Tensor) -> torch.Tensor:
    """The row of each text's nearest picture, the first of equal ones."""
    return torch.cat([(block @ image_embeds.T).argmax(1) for block in blocks(text_embeds, len(image_embeds))])


def blocks(rows: torch.Tensor, width: int) -> tuple[torch.Tensor, ...]:
    """The rows in blocks whose products with `width` others fit into memory."""
    return rows.split(max(1, CHUNK // width))
