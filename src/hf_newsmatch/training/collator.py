"""Batches for a dual encoder from rows of the schema."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import BatchEncoding, ProcessorMixin

from ..data.image_cache import cached_inputs
from ..data.text import DEFAULT_TEXT_FIELDS, join_text
from ..errors import NewsMatchError
from ..models.architectures import CLIP, Architecture
from ..models.inputs import text_inputs


def stable_id(value: str) -> int:
    """A 63-bit integer that is the same for the same string in every process and run (unlike `hash`)."""
    return int.from_bytes(hashlib.blake2b(value.encode(), digest_size=8).digest()) >> 1


@dataclass
class ContrastiveCollator:
    """Makes a batch: decodes the pictures, joins and tokenizes the texts, and gives equal ones equal ids.

    Texts are padded to the longest of the batch, or as the architecture needs it, and cut at the tokenizer's
    `model_max_length`.

    Args:
        processor (`ProcessorMixin`):
            The checkpoint's processor.
        text_fields (`Sequence[str]`, *optional*, defaults to `("title", "text")`):
            The columns that the text tower reads.
        architecture ([`Architecture`], *optional*):
            That of the model; CLIP's by default.

    It is called on a list of rows with the columns `article_id`, `image` (or `pixels`, see [`cache_pictures`]),
    `image_id` and the text fields, and returns what the model takes (for CLIP `pixel_values`, `input_ids` and
    `attention_mask`), `image_ids` and `text_ids` (int64, shape `(batch,)`), and `article_ids` (a list of strings).
    """

    processor: ProcessorMixin
    text_fields: Sequence[str] = DEFAULT_TEXT_FIELDS
    architecture: Architecture = CLIP

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> BatchEncoding:
        for name in ("image_id", *self.text_fields):
            if name not in rows[0]:
                raise NewsMatchError(
                    f"The rows have no '{name}'; they need an image, an image_id and {', '.join(self.text_fields)}."
                )
        texts = [join_text(row, self.text_fields) for row in rows]
        batch = BatchEncoding(text_inputs(self.processor, texts, self.architecture))
        batch.update(cached_inputs(rows, self.processor, self.architecture))
        batch["image_ids"] = torch.tensor([stable_id(str(row["image_id"])) for row in rows])
        batch["text_ids"] = torch.tensor([stable_id(text) for text in texts])
        batch["article_ids"] = [str(row.get("article_id", "?")) for row in rows]
        return batch
