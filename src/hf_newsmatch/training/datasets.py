"""What a training asks of its data before it begins."""

from collections.abc import Sequence
from typing import Any

from datasets import Dataset

from ..data.images import undecoded
from ..data.text import article_texts
from ..errors import NewsMatchError
from .arguments import ContrastiveTrainingArguments


def fit_the_only_batch(size: int, args: ContrastiveTrainingArguments) -> None:
    """Lower the batch size to `size` pairs when they are fewer: an incomplete last batch is dropped, but not the only.

    Several processes then get equally many pairs each, none of them twice.

    Raises:
        [`NewsMatchError`]: when a process would have no two pairs.
    """
    if size < 2 * args.world_size:
        raise NewsMatchError(
            f"Contrastive training needs at least two pairs in each process, {2 * args.world_size} in all, not"
            f" {size}; give more training data."
        )
    args.per_device_train_batch_size = min(args.per_device_train_batch_size, size // args.world_size)


def check_distinct(dataset: Any, text_fields: Sequence[str]) -> None:
    """Refuse training data in which no pair is a negative of another, from which nothing can be learned.

    Raises:
        [`NewsMatchError`]: when all pairs share one picture or one text.
    """
    if not isinstance(dataset, Dataset) or not {"image_id", *text_fields} <= set(dataset.column_names):
        return
    for what, values in (("picture", dataset["image_id"][:]), ("text", article_texts(dataset, text_fields))):
        if len(set(values)) < 2:
            raise NewsMatchError(
                f"All {len(dataset)} training pairs have the same {what}, so that none can be told from another; check"
                f" {'the images' if what == 'picture' else '--text_fields'}, or give other training data."
            )


def with_files(dataset: Any) -> Any:
    """The same data with pictures left as files: the collator decodes them, in its workers and with our checks."""
    return undecoded(dataset) if "image" in (getattr(dataset, "column_names", None) or ()) else dataset
