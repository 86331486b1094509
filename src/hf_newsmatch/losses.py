"""The contrastive objective CLIP is fine-tuned with."""

import math

import torch
import torch.nn.functional as F

# Radford et al. 2021, section 2.5: the temperature is clipped so that logits are never scaled by more than 100.
MAX_LOGIT_SCALE = math.log(100)


def contrastive_loss(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    logit_scale: torch.Tensor,
    image_ids: torch.Tensor | None = None,
    text_ids: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""Symmetric InfoNCE over the matching pairs of a batch (Radford et al. 2021, figure 3), in float32.

    Row `i` of both matrices is a pair; every other combination is a negative, except those that are none: two articles
    published with the same picture, or two pictures with the same text. Such an off-diagonal pair leaves the
    denominators of both directions. Without duplicates the value is that of `CLIPModel(..., return_loss=True)`.

    Args:
        image_embeds (`torch.Tensor` of shape `(n, d)`):
            Unit-length image embeddings, any floating dtype.
        text_embeds (`torch.Tensor` of shape `(n, d)`):
            Unit-length text embeddings of the same pairs.
        logit_scale (`torch.Tensor`, scalar):
            The logarithm of the factor on the cosine similarities, as CLIP stores it; taken as at most ln 100.
        image_ids (`torch.Tensor` of shape `(n,)`, int64, *optional*):
            Equal values mean the same picture.
        text_ids (`torch.Tensor` of shape `(n,)`, int64, *optional*):
            Equal values mean the same text.

    Returns:
        `torch.Tensor`: the scalar float32 loss (nats), the mean of both directions' cross entropies.
    """
    # autocast would turn the product into half precision whatever the dtype of its factors
    with torch.autocast(device_type=image_embeds.device.type, enabled=False):
        scale = logit_scale.float().clamp(max=MAX_LOGIT_SCALE).exp()
        logits = scale * text_embeds.float() @ image_embeds.float().T

        for ids in (image_ids, text_ids):
            if ids is not None:
                logits = logits.masked_fill(_off_diagonal_equal(ids), -math.inf)

        targets = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


def _off_diagonal_equal(ids: torch.Tensor) -> torch.Tensor:
    return (ids[:, None] == ids[None, :]).fill_diagonal_(False)
