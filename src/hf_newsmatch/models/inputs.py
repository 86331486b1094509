"""Texts and pictures as the towers of a model take them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .architectures import CLIP, Architecture

if TYPE_CHECKING:
    import torch
    from transformers import ProcessorMixin


def text_inputs(
    processor: "ProcessorMixin", texts: Sequence[str], architecture: Architecture = CLIP
) -> "dict[str, torch.Tensor]":
    """Tokenize texts, cut at the tokenizer's `model_max_length`, and pad them as the model needs it.

    Args:
        processor (`ProcessorMixin`):
            As [`load_model`] gives it: its tokenizer's limit is the model's context.
        texts (`Sequence[str]`):
            The texts.
        architecture ([`Architecture`], *optional*):
            That of the model; CLIP's by default.

    Returns:
        `dict[str, torch.Tensor]`: `input_ids` and, where the model takes one, `attention_mask`, int64 of shape
        `(len(texts), tokens)`.
    """
    padding = "max_length" if architecture.pads_to_context else True
    tokens = processor.tokenizer(cased(texts, architecture), padding=padding, truncation=True, return_tensors="pt")
    return {name: tokens[name] for name in architecture.text_inputs}


def cased(texts: Sequence[str], architecture: Architecture) -> list[str]:
    """The texts in the case that the model reads."""
    return [text.lower() for text in texts] if architecture.lower_case else list(texts)


def image_inputs(
    processor: "ProcessorMixin", pictures: Sequence[Any], architecture: Architecture = CLIP, **settings: Any
) -> "dict[str, torch.Tensor]":
    """Pictures as the vision tower takes them.

    Args:
        processor (`ProcessorMixin`):
            The checkpoint's processor.
        pictures (`Sequence`):
            Opened pictures.
        architecture ([`Architecture`], *optional*):
            That of the model; CLIP's by default.
        settings:
            The image processor's own, in place of those of the checkpoint.

    Returns:
        `dict[str, torch.Tensor]`: `pixel_values`, float32 of shape `(len(pictures), 3, height, width)`, or what the
        architecture takes in their place, the first dimension that of the pictures.
    """
    made = processor.image_processor(list(pictures), return_tensors="pt", **settings)
    return {name: made[name] for name in architecture.image_inputs}


def save_processor(processor: "ProcessorMixin", folder: Path) -> None:
    """Save a processor, with its tokenizer as it was before it cut or padded any batch."""
    # a fast tokenizer saves how it last cut and padded a batch, and one that has made none yet saves nothing of it
    if (backend := getattr(processor.tokenizer, "backend_tokenizer", None)) is not None:
        backend.no_truncation()
        backend.no_padding()
    processor.save_pretrained(folder)
