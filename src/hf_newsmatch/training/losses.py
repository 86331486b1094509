"""The contrastive loss that CLIP is fine-tuned with."""

import math

import torch
import torch.nn.functional as F

from . import distributed

# Radford et al. 2021, section 2.5: the temperature is clipped so that logits are never scaled by more than 100.
MAX_LOGIT_SCALE = math.log(100)


def contrastive_loss(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    logit_scale: torch.Tensor,
    image_ids: torch.Tensor | None = None,
    text_ids: torch.Tensor | None = None,
    across_processes: bool = False,
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
            The logarithm of the factor on the cosine similarities, as CLIP stores it; larger values count as ln 100.
        image_ids (`torch.Tensor` of shape `(n,)`, int64, *optional*):
            Equal values mean the same picture.
        text_ids (`torch.Tensor` of shape `(n,)`, int64, *optional*):
            Equal values mean the same text.
        across_processes (`bool`, *optional*, defaults to `False`):
            Whether the batch consists of the rows of all processes, equally many of each. Each process then computes
            the loss of its own rows against all columns: the mean of the processes' losses is the loss of the whole
            batch in one process, and the mean of their gradients is its gradient.

    Returns:
        `torch.Tensor`: the scalar float32 loss (nats), the mean of both directions' cross entropies.
    """
    rank = distributed.world()[0] if across_processes else 0
    gather = distributed.gather if across_processes else _unchanged
    # autocast would turn the products into half precision whatever the dtype of their factors
    with torch.autocast(device_type=image_embeds.device.type, enabled=False):
        image_embeds, text_embeds = image_embeds.float(), text_embeds.float()
        scale = logit_scale.float().clamp(max=MAX_LOGIT_SCALE).exp()
        per_text = scale * text_embeds @ gather(image_embeds).T
        per_image = scale * image_embeds @ gather(text_embeds).T

        targets = torch.arange(len(per_text), device=per_text.device) + rank * len(per_text)
        no_negatives = torch.zeros_like(per_text, dtype=torch.bool)
        for ids in (image_ids, text_ids):
            if ids is not None:
                no_negatives |= ids[:, None] == gather(ids)
        no_negatives.scatter_(1, targets[:, None], False)
        per_text = per_text.masked_fill(no_negatives, -math.inf)
        per_image = per_image.masked_fill(no_negatives, -math.inf)
        return (F.cross_entropy(per_text, targets) + F.cross_entropy(per_image, targets)) / 2


def _unchanged(tensor: torch.Tensor) -> torch.Tensor:
    return tensor
