"""Warnings of a training that learns nothing: no negatives, embeddings of one direction, a loss of guessing."""

import logging
from collections.abc import Callable

import torch

logger = logging.getLogger(__name__)

# The steps that are watched; by then a model that learns at all has left the loss of guessing.
STEPS = 50
# The fewest steps that are judged, and how near to guessing their losses all have to be.
_FEWEST, _NEAR = 10, 0.005
# Embeddings of another direction than their mean's by less than this are one direction.
_ONE_DIRECTION = 1e-5


class LearningCheck:
    """Watches the first steps of a training and warns, once of each kind, of what cannot learn.

    Args:
        max_steps (`int`):
            The steps of the whole training.
    """

    def __init__(self, max_steps: int) -> None:
        self.last = min(STEPS, max_steps)
        self.batches, self.losses, self.chances = 0, 0.0, 0.0
        self.is_flat = True
        self._said: set[str] = set()

    def check(
        self,
        step: int,
        loss: torch.Tensor,
        image_embeds: torch.Tensor,
        text_embeds: torch.Tensor,
        image_ids: torch.Tensor,
        text_ids: torch.Tensor,
        chance: Callable[[], torch.Tensor],
    ) -> None:
        """Look at one batch.

        Args:
            step (`int`):
                The optimizer step that it belongs to, from 1.
            loss (`torch.Tensor`, scalar):
                Its loss.
            image_embeds, text_embeds (`torch.Tensor` of shape `(batch, d)`):
                Its embeddings, of unit length.
            image_ids, text_ids (`torch.Tensor` of shape `(batch,)`):
                Equal values mean the same picture or text.
            chance (`Callable`):
                Gives the loss of guessing among the pairs of this batch. Every process calls it in the same steps.
        """
        if loss == 0 and not ((image_ids[:, None] != image_ids) & (text_ids[:, None] != text_ids)).any():
            self._say(
                f"In step {step} all pairs of a batch have the same picture or text, or there is only one: nothing is"
                " learned from such a batch. Keep --dataloader_drop_last and --distinct_batches true, or give a larger"
                " --per_device_train_batch_size."
            )
        if step > self.last:
            return
        for what, embeds, ids in (("texts", text_embeds, text_ids), ("pictures", image_embeds, image_ids)):
            if len(ids.unique()) > 1 and is_one_direction(embeds.detach()):
                self._say(
                    f"In step {step} all {what} of a batch have the same embedding: the model cannot tell them apart."
                    f" Check the base model with its {'tokenizer' if what == 'texts' else 'image processor'}, and"
                    " lower --learning_rate."
                )
        with torch.no_grad():
            value, guess = loss.item(), chance().item()
        self.batches, self.losses, self.chances = self.batches + 1, self.losses + value, self.chances + guess
        self.is_flat &= guess > 0 and abs(value - guess) < _NEAR * guess
        if step == self.last >= _FEWEST and self.is_flat:
            mean, chance_mean = self.losses / self.batches, self.chances / self.batches
            self._say(
                f"For {step} steps the training loss has been {mean:.3f}, and guessing gives {chance_mean:.3f}:"
                " nothing is learned so far. Check that texts belong to their pictures, raise --learning_rate, or name"
                " another base model."
            )

    def _say(self, text: str) -> None:
        kind = text.partition(" a batch")[2] or "loss"
        if kind not in self._said:
            self._said.add(kind)
            logger.warning(text)


def is_one_direction(embeds: torch.Tensor) -> bool:
    """Whether all embeddings, of unit length, point to the same direction."""
    return bool(embeds.double().mean(dim=0).norm() > 1 - _ONE_DIRECTION)
