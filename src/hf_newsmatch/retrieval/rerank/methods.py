"""Methods that rank again, without any training.

A plain ranking takes the pictures of article i by `s_ij`, the similarity of its text with picture j. Most methods here
take them by `s_ij - o_j` instead, with an offset for each picture that says how readily it is near to any text. (What
else a formula has is the same for all pictures of an article, and leaves its order as it is.) An offset is one more
dimension of the embeddings: text `[t, 1]` times picture `[p, -o]`. So each method makes new embeddings of the old
ones, in blocks that bound the memory, and [`rank`] does the rest. To rank a matrix of similarities, take it for the
embeddings of the texts and `torch.eye(pictures)` for those of the pictures.
"""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from tqdm.auto import tqdm

from ...errors import NewsMatchError
from ..ranking import CHUNK, MAX_RANK, Ranking, check_embeddings, rank
from .neighbours import neighbours

logger = logging.getLogger(__name__)

Embeddings = tuple[torch.Tensor, torch.Tensor]


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
            One a row of `text_embeds`.
        image_ids (`Sequence[str]`):
            One a row of `image_embeds`, all different.
        method (`str`, *optional*, defaults to `"none"`):
            One of `METHODS`. Those in `TRANSDUCTIVE` assume all articles at hand: the ranking of one depends on the
            others, and a single article is ranked as by `"none"`.
        k (`int`, *optional*, defaults to 100):
            How many pictures an article.
        settings:
            What the method's function takes beside the embeddings.

    Returns:
        [`Ranking`] with scores: those of the method where it has its own, which compare within one article only.

    Raises:
        [`NewsMatchError`]: on an unknown method, on what [`rank`] refuses, or on settings that the method refuses.
    """
    check_method(method)
    article_ids, image_ids = list(article_ids), list(image_ids)
    text_embeds, image_embeds = text_embeds.float(), image_embeds.float()
    check_embeddings(text_embeds, image_embeds, article_ids, image_ids)
    if method == "assignment":
        ranking = rank(text_embeds, image_embeds, article_ids, image_ids, k)
        return _put_first(ranking, assignment(text_embeds, image_embeds), image_ids, text_embeds, image_embeds)
    if method != "none" and article_ids:
        text_embeds, image_embeds = METHODS[method](text_embeds, image_embeds, **settings)
    return rank(text_embeds, image_embeds, article_ids, image_ids, k)


def dual_softmax(text_embeds: torch.Tensor, image_embeds: torch.Tensor, temperature: float) -> Embeddings:
    """Both softmaxes: how likely the picture is for the text, times how likely the text is for the picture.

    `P_ij = softmax_j(s_ij / t) * softmax_i(s_ij / t)`, so that `t / 2 * log P_ij` is, but for what is the same in all
    of row i, `s_ij - t / 2 * log sum_i exp(s_ij / t)`: the offset is the second term. (Rocco et al. 2018,
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
            `t`, above 0; CLIP's own is near 0.01.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]` of shapes `(articles, d + 1)` and `(pictures, d + 1)`.
    """
    return _with_offsets(text_embeds, image_embeds, _soft_maxima(text_embeds, image_embeds, temperature) / 2)


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
            How many texts are the nearest (the paper: 10); all of them when there are fewer.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]` of shapes `(articles, d + 1)` and `(pictures, d + 1)`.
    """
    if neighbours < 1:
        raise NewsMatchError(f"The neighbours of csls are to be 1 or more, not {neighbours}.")
    neighbours = min(neighbours, len(text_embeds))
    means = _by_picture(text_embeds, image_embeds, lambda block: block.topk(neighbours, sorted=False).values.mean(1))
    return _with_offsets(text_embeds, image_embeds, means / 2)


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
        raise NewsMatchError("The bank of querybank is to be finite and of the same checkpoint as the pictures.")
    offsets = _soft_maxima(bank, image_embeds, temperature)
    hubs = torch.zeros(len(image_embeds), dtype=torch.bool)
    hubs[_nearest(bank, image_embeds)] = True
    return _with_offsets(text_embeds, image_embeds, offsets, hubs[_nearest(text_embeds, image_embeds)])


def sinkhorn(
    text_embeds: torch.Tensor,
    image_embeds: torch.Tensor,
    temperature: float,
    max_iterations: int = 200,
    tolerance: float = 1e-3,
) -> Embeddings:
    """Entropic optimal transport (Cuturi 2013, "Sinkhorn Distances"), in the log domain.

    The plan `P_ij = exp(s_ij / t + f_i + g_j)` gives each article one picture in all, and takes each picture once (or,
    with more articles than pictures, all of them equally often): `f` and `g` are set in turn until both hold. With
    more pictures than articles, a further row that is near to no picture more than to another takes what is left. The
    offset is `-t * g_j`.

    Transductive. It holds the whole matrix of similarities (4 bytes each: 400 MB for 10,000 x 10,000), and each
    iteration takes two exponentials of each of them; a low temperature needs more iterations.

    Args:
        text_embeds (`torch.Tensor` of shape `(articles, d)`, float32):
            The articles.
        image_embeds (`torch.Tensor` of shape `(pictures, d)`, float32):
            The candidates.
        temperature (`float`):
            `t`, above 0, the strength of the entropy.
        max_iterations (`int`, *optional*, defaults to 200):
            Where to stop in any case, with a warning.
        tolerance (`float`, *optional*, defaults to 1e-3):
            The relative error of the articles' sums at which to stop.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]` of shapes `(articles, d + 1)` and `(pictures, d + 1)`.
    """
    _check_temperature(temperature)
    logits = (text_embeds @ image_embeds.T).div_(temperature)
    articles, pictures = logits.shape
    share = math.log(max(1.0, articles / pictures))
    rows, columns = torch.zeros(articles), torch.zeros(pictures)
    with tqdm(total=max_iterations, desc="Sinkhorn", unit="iteration", leave=False, delay=1) as bar:
        for iteration in range(max_iterations):
            before, rows = rows, -_log_sums(logits, columns)
            # how far the last plan's sums over each article are from 1, in logarithms
            if iteration and (rows - before).abs().max() < tolerance:
                break
            sums = _log_sums(logits.T, rows)
            if pictures > articles:
                sums = torch.logaddexp(sums, math.log(pictures - articles) - columns.logsumexp(0))
            columns = share - sums
            bar.update()
        else:
            logger.warning(
                "Sinkhorn's sums were not within %g after %d iterations at temperature %g; a higher one needs fewer.",
                tolerance,
                max_iterations,
                temperature,
            )
    return _with_offsets(text_embeds, image_embeds, -temperature * columns)


def assignment(text_embeds: torch.Tensor, image_embeds: torch.Tensor) -> torch.Tensor:
    """The one-to-one matching with the highest sum of similarities (Kuhn 1955; scipy's solver is Crouse 2016).

    With more articles than pictures some article has none, and the other way round.

    Transductive. It holds the matrix of similarities in float64 (800 MB for 10,000 x 10,000), and takes time up to the
    third power of the number of articles.

    Args:
        text_embeds (`torch.Tensor` of shape `(articles, d)`, float32):
            The articles.
        image_embeds (`torch.Tensor` of shape `(pictures, d)`, float32):
            The candidates.

    Returns:
        `torch.Tensor` of shape `(articles,)`, int64: the row of each article's picture, -1 for none.
    """
    from scipy.optimize import linear_sum_assignment

    articles, pictures = linear_sum_assignment((text_embeds @ image_embeds.T).numpy(), maximize=True)
    pairs = torch.full((len(text_embeds),), -1)
    pairs[torch.from_numpy(articles)] = torch.from_numpy(pictures)
    return pairs


METHODS: dict[str, Callable[..., Any] | None] = {
    "none": None,
    "dual_softmax": dual_softmax,
    "csls": csls,
    "querybank": querybank,
    "sinkhorn": sinkhorn,
    "assignment": assignment,
    "neighbours": neighbours,
}
# those by which an article's ranking depends on the other articles to be ranked
TRANSDUCTIVE = ("dual_softmax", "csls", "sinkhorn", "assignment")


def check_method(method: str) -> None:
    """Refuse a method that there is not, with a [`NewsMatchError`]."""
    if method not in METHODS:
        raise NewsMatchError(f"There is no re-ranking '{method}'; the methods are {', '.join(METHODS)}.")


def _check_temperature(temperature: float) -> None:
    if not 0 < temperature < math.inf:
        raise NewsMatchError(f"A temperature is to be above 0 and finite, not {temperature}.")


def _with_offsets(
    text_embeds: torch.Tensor, image_embeds: torch.Tensor, offsets: torch.Tensor, used: torch.Tensor | None = None
) -> Embeddings:
    """Embeddings whose products are the old ones less the picture's offset, for all articles or those that use it."""
    used = torch.ones(len(text_embeds)) if used is None else used.float()
    return torch.cat([text_embeds, used[:, None]], 1), torch.cat([image_embeds, -offsets[:, None]], 1)


def _by_picture(
    text_embeds: torch.Tensor, image_embeds: torch.Tensor, reduce: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """A number for each picture, of its similarities with all texts."""
    return torch.cat([reduce(block @ text_embeds.T) for block in _blocks(image_embeds, len(text_embeds))])


def _soft_maxima(text_embeds: torch.Tensor, image_embeds: torch.Tensor, temperature: float) -> torch.Tensor:
    """`t * log sum exp(s / t)` over the texts, for each picture: their highest similarity, smoothed."""
    _check_temperature(temperature)
    return _by_picture(text_embeds / temperature, image_embeds, lambda block: block.logsumexp(1)) * temperature


def _nearest(text_embeds: torch.Tensor, image_embeds: torch.Tensor) -> torch.Tensor:
    """The row of each text's nearest picture, the first of equal ones."""
    return torch.cat([(block @ image_embeds.T).argmax(1) for block in _blocks(text_embeds, len(image_embeds))])


def _log_sums(logits: torch.Tensor, potentials: torch.Tensor) -> torch.Tensor:
    """`log sum_j exp(logits_ij + potentials_j)` for each row i."""
    return torch.cat([(block + potentials).logsumexp(1) for block in _blocks(logits, logits.shape[1])])


def _blocks(rows: torch.Tensor, width: int) -> tuple[torch.Tensor, ...]:
    """Rows in blocks whose products with `width` others fit into the memory."""
    return rows.split(max(1, CHUNK // width))


def _put_first(
    ranking: Ranking,
    pairs: torch.Tensor,
    image_ids: list[str],
    text_embeds: torch.Tensor,
    image_embeds: torch.Tensor,
) -> Ranking:
    """The picture that an article was given, then the others as they were."""
    given = (text_embeds * image_embeds[pairs]).sum(1).tolist()  # the last picture's where there is none: not used
    for row, (pair, score) in enumerate(zip(pairs.tolist(), given)):
        if pair < 0:
            continue
        names, scores = ranking.image_ids[row], ranking.scores[row]
        # below what is listed, it takes the last place's room
        place = names.index(image_ids[pair]) if image_ids[pair] in names else len(names) - 1
        names.insert(0, image_ids[pair])
        scores.insert(0, score)
        del names[place + 1], scores[place + 1]
    return ranking
