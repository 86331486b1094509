"""Stopping a training whose loss or weights are no longer finite numbers."""

from collections.abc import Iterable, Sequence

import torch

from ..errors import NewsMatchError

_SHOWN = 10


def check_finite(
    loss: torch.Tensor, step: int, article_ids: Sequence[str], image_embeds: torch.Tensor, text_embeds: torch.Tensor
) -> None:
    """Stop before a loss that is NaN or infinite spoils the weights.

    Args:
        loss (`torch.Tensor`, scalar):
            The loss of a batch.
        step (`int`):
            The optimizer step that the batch belongs to, from 1.
        article_ids (`Sequence[str]`):
            The batch's articles.
        image_embeds, text_embeds (`torch.Tensor` of shape `(batch, d)`):
            Their embeddings.

    Raises:
        [`NewsMatchError`]: when the loss is NaN or infinite. It names the articles whose embeddings are, or all.
    """
    if torch.isfinite(loss):
        return
    finite = torch.isfinite(image_embeds).all(dim=1) & torch.isfinite(text_embeds).all(dim=1)
    spoilt = [article_id for article_id, fine in zip(article_ids, finite.tolist()) if not fine]
    where = "whose embeddings are not finite either" if spoilt else "of its batch"
    named = spoilt or list(article_ids)
    more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
    raise NewsMatchError(
        f"The loss became {loss.item()} at step {step}; the articles {where}: {', '.join(named[:_SHOWN])}{more}. Start"
        " over (--overwrite) with a lower --learning_rate or with gradient clipping (--max_grad_norm 1), and with"
        " --bf16 in place of --fp16."
    )


def check_weights(named_parameters: Iterable[tuple[str, torch.nn.Parameter]], step: int) -> None:
    """Refuse trained weights that are NaN or infinite, before they are evaluated or saved.

    Raises:
        [`NewsMatchError`]: naming the first such weight.
    """
    for name, parameter in named_parameters:
        if parameter.requires_grad and not torch.isfinite(parameter).all():
            raise NewsMatchError(
                f"After step {step} the weight {name} is not finite, so no checkpoint is made of it; start over"
                " (--overwrite) with a lower --learning_rate or with gradient clipping (--max_grad_norm 1)."
            )
