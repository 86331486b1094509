"""What a training asks of its data before it begins."""

from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from transformers.trainer_utils import SaveStrategy

from ..data.image_cache import cache_pictures
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


def check_columns(dataset: Any, text_fields: Sequence[str]) -> None:
    """Refuse data without what a batch needs; of data sets that do not name their columns the collator tells.

    Raises:
        [`NewsMatchError`]: naming the column.
    """
    columns = getattr(dataset, "column_names", None)
    if not columns:
        return
    if not {"image", "pixels"} & set(columns):
        raise NewsMatchError("The data have no column 'image' with the pictures; rename the one that has them.")
    if "image_id" not in columns:
        raise NewsMatchError(
            "The data have no column 'image_id', by which equal pictures are known; add it, where no picture recurs by"
            " dataset.add_column('image_id', range(len(dataset)))."
        )
    for field in text_fields:
        if field not in columns:
            raise NewsMatchError(
                f"The data have no column '{field}'; text_fields names those with the texts, of {', '.join(columns)}."
            )


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


def choose_by_one(eval_dataset: Any, args: ContrastiveTrainingArguments) -> None:
    """With several validation sets, let `metric_for_best_model` be that of one of them, or of none.

    Raises:
        [`NewsMatchError`]: when a best epoch is asked for and no set is named.
    """
    metric = args.metric_for_best_model
    if not isinstance(eval_dataset, dict) or metric is None:
        return
    if any(metric.removeprefix("eval_").startswith(f"{name}_") for name in eval_dataset):
        return
    if args.load_best_model_at_end or args.save_strategy == SaveStrategy.BEST or args.early_stopping_patience:
        metrics = " or ".join(f"{name}_{metric.removeprefix('eval_')}" for name in eval_dataset)
        raise NewsMatchError(
            f"With several validation sets, metric_for_best_model names one of them: {metrics}, not {metric}."
        )
    args.metric_for_best_model = None  # type: ignore[assignment]  # which transformers takes, but no flag can say


def with_cached(dataset: Any, image_processor: Any, inputs: Sequence[str]) -> Any:
    """The same data with pictures decoded and resized once and kept.

    Raises:
        [`NewsMatchError`]: on data that are no `datasets.Dataset`.
    """
    if isinstance(dataset, dict):
        return {name: with_cached(item, image_processor, inputs) for name, item in dataset.items()}
    if dataset is not None and not isinstance(dataset, Dataset):
        raise NewsMatchError(f"cache_images needs a datasets.Dataset, not a {type(dataset).__name__}.")
    return dataset if dataset is None else cache_pictures(dataset, image_processor, inputs)


def with_files(dataset: Any) -> Any:
    """The same data with pictures left as files: the collator decodes them, in its workers and with our checks."""
    if isinstance(dataset, dict):
        return {name: with_files(item) for name, item in dataset.items()}
    return undecoded(dataset) if "image" in (getattr(dataset, "column_names", None) or ()) else dataset
