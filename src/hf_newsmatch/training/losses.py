"""The contrastive losses: softmax over a batch, as CLIP's, and the sigmoid of each pair, as SigLIP's."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from ..errors import NewsMatchError
from ..models.architectures import Architecture
from . import distributed

# Radford et al. 2021, section 2.5: the temperature is clipped so that logits are never scaled by more than 100.
MAX_LOGIT_SCALE = math.log(100)


def check_loss(architecture: Architecture, loss: str | None) -> str:
    """The loss that a model is trained with: the one named or, by default, its own.

    Raises:
        [`NewsMatchError`]: when the sigmoid loss is asked of a model that has no bias for it.
    """
    if loss == "sigmoid" and architecture.bias is None:
        raise NewsMatchError(
            f"--loss sigmoid needs a model with a logit_bias, such as SigLIP, and {architecture.title} has none; take"
            " --loss softmax or another base model."
        )
    return loss or architecture.loss


def contrastive_loss(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    logit_scale: torch.Tensor,
    image_ids: torch.Tensor | None = None,
    text_ids: torch.Tensor | None = None,
    across_processes: bool = False,
    max_logit_scale: float | None = MAX_LOGIT_SCALE,
) -> torch.Tensor:
    r"""Symmetric InfoNCE over the matching pairs of a batch (Radford et al. 2021, figure 3), in float32.

    Row `i` of both matrices is a pair, and every other combination is a negative, except two articles published with
    the same picture or two pictures with the same text: such a combination is left out of the denominators of both
    directions. Without duplicates the value is that of `CLIPModel(..., return_loss=True)`.

    Args:
        image_embeds (`torch.Tensor` of shape `(n, d)`):
            Unit-length image embeddings, any floating dtype.
        text_embeds (`torch.Tensor` of shape `(n, d)`):
            Unit-length text embeddings of the same pairs.
        logit_scale (`torch.Tensor`, scalar):
            The logarithm of the factor on the cosine similarities, as CLIP stores it.
        image_ids (`torch.Tensor` of shape `(n,)`, int64, *optional*):
            Equal values mean the same picture.
        text_ids (`torch.Tensor` of shape `(n,)`, int64, *optional*):
            Equal values mean the same text.
        across_processes (`bool`, *optional*, defaults to `False`):
            Whether the batch consists of the rows of all processes, equally many of each. Each process then computes
            the loss of its own rows against all columns: the mean of the processes' losses is the loss of the whole
            batch in one process, and the mean of their gradients is its gradient.
        max_logit_scale (`float`, *optional*, defaults to ln 100):
            Larger values of `logit_scale` count as this; `None` for no limit.

    Returns:
        `torch.Tensor`: the scalar float32 loss (nats), the mean of both directions' cross entropies.
    """
    rank = distributed.world()[0] if across_processes else 0
    gather = distributed.gather if across_processes else _unchanged
    # autocast would turn the products into half precision whatever the dtype of their factors
    with torch.autocast(device_type=image_embeds.device.type, enabled=False):
        image_embeds, text_embeds = image_embeds.float(), text_embeds.float()
        scale = _factor(logit_scale, max_logit_scale)
        per_text = scale * text_embeds @ gather(image_embeds).T
        per_image = scale * image_embeds @ gather(text_embeds).T

        targets = torch.arange(len(per_text), device=per_text.device) + rank * len(per_text)
        no_negatives = _doubles(per_text, targets, image_ids, text_ids, gather)
        per_text = per_text.masked_fill(no_negatives, -math.inf)
        per_image = per_image.masked_fill(no_negatives, -math.inf)
        return (F.cross_entropy(per_text, targets) + F.cross_entropy(per_image, targets)) / 2


def sigmoid_loss(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    logit_scale: torch.Tensor,
    logit_bias: torch.Tensor,
    image_ids: torch.Tensor | None = None,
    text_ids: torch.Tensor | None = None,
    across_processes: bool = False,
    max_logit_scale: float | None = None,
) -> torch.Tensor:
    r"""Sigmoid loss over all pairs of a batch (Zhai et al. 2023, equation 1), in float32.

    Each combination of a text and a picture is a decision of its own: a match for those of one row, none for all
    others, except two articles published with the same picture or two pictures with the same text, which are left out.
    Without duplicates the value is that of `SiglipModel(..., return_loss=True)`.

    Args:
        image_embeds, text_embeds, logit_scale, image_ids, text_ids, max_logit_scale:
            As for [`contrastive_loss`]; without a limit on `logit_scale` by default.
        logit_bias (`torch.Tensor`, scalar):
            What is added to the logits.
        across_processes (`bool`, *optional*, defaults to `False`):
            As for [`contrastive_loss`].

    Returns:
        `torch.Tensor`: the scalar float32 loss (nats): the sum over the combinations, divided by the number of texts.
    """
    rank = distributed.world()[0] if across_processes else 0
    gather = distributed.gather if across_processes else _unchanged
    with torch.autocast(device_type=image_embeds.device.type, enabled=False):
        image_embeds, text_embeds = image_embeds.float(), text_embeds.float()
        scale = _factor(logit_scale, max_logit_scale)
        per_text = scale * text_embeds @ gather(image_embeds).T + logit_bias.float()
        targets = torch.arange(len(per_text), device=per_text.device) + rank * len(per_text)
        signs = -torch.ones_like(per_text)
        signs.scatter_(1, targets[:, None], 1.0)
        losses = -F.logsigmoid(signs * per_text)
        return losses.masked_fill(_doubles(per_text, targets, image_ids, text_ids, gather), 0.0).sum() / len(per_text)


def _factor(logit_scale: torch.Tensor, largest: float | None) -> torch.Tensor:
    scale = logit_scale.float()
    return (scale if largest is None else scale.clamp(max=largest)).exp()


def _doubles(
    logits: torch.Tensor,
    targets: torch.Tensor,
    image_ids: torch.Tensor | None,
    text_ids: torch.Tensor | None,
    gather: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Where a logit is of no negative: of the same picture or text as the pair's own, and not the pair itself."""
    doubles = torch.zeros_like(logits, dtype=torch.bool)
    for ids in (image_ids, text_ids):
        if ids is not None:
            doubles |= ids[:, None] == gather(ids)
    return doubles.scatter_(1, targets[:, None], False)


def _unchanged(tensor: torch.Tensor) -> torch.Tensor:
    return tensor
