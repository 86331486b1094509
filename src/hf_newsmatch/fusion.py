"""Several models' opinions in one ranking."""

import math

import torch

from .errors import NewsMatchError


def ensemble(first: torch.Tensor, second: torch.Tensor, weight: float = 0.5) -> torch.Tensor:
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
    if not 0 <= weight <= 1:
        raise NewsMatchError(f"The weight of an ensemble lies between 0 and 1, not at {weight}.")
    return torch.cat([math.sqrt(1 - weight) * first, math.sqrt(weight) * second], dim=1)
