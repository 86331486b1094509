"""Entropic optimal transport between articles and pictures."""

import logging
import math

import torch
from tqdm.auto import tqdm

from .offsets import Embeddings, blocks, check_temperature, with_offsets

logger = logging.getLogger(__name__)


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
    more pictures than articles, an additional row that is equally near to all pictures takes the rest. The offset is
    `-t * g_j` (see [`offsets`]).

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
            The number of iterations to stop at in any case, with a warning.
        tolerance (`float`, *optional*, defaults to 1e-3):
            The relative error of the articles' sums at which to stop.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]` of shapes `(articles, d + 1)` and `(pictures, d + 1)`.
    """
    check_temperature(temperature)
    logits = (text_embeds @ image_embeds.T).div_(temperature)
    articles, pictures = logits.shape
    share = math.log(max(1.0, articles / pictures))
    rows, columns = torch.zeros(articles), torch.zeros(pictures)
    with tqdm(total=max_iterations, desc="Sinkhorn", unit="iteration", leave=False, delay=1) as bar:
        for iteration in range(max_iterations):
            before, rows = rows, -_log_sums(logits, columns)
            # the distance of the last plan's sums over each article from 1, in logarithms
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
    return with_offsets(text_embeds, image_embeds, -temperature * columns)


def _log_sums(logits: torch.Tensor, potentials: torch.Tensor) -> torch.Tensor:
    """`log sum_j exp(logits_ij + potentials_j)` for each row i."""
    return torch.cat([(block + potentials).logsumexp(1) for block in blocks(logits, logits.shape[1])])
