"""Chronological splits, the newest rows last, and their description."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict

from ..errors import NewsMatchError

ORDERS = ("published", "date_number", "file")


def chronological_split(dataset: Dataset, train_fraction: float = 0.8, sort_by: str | None = None) -> DatasetDict:
    """Split into an older `train` and a newer `validation` split.

    The order is that of `published` when every row has it, else of `date_number` when every row has it, else of the
    file. Rows of the same time keep the file's order. Ids are never sorted: some editions scramble them.

    Args:
        dataset ([`~datasets.Dataset`]):
            Pairs or articles, as loaded.
        train_fraction (`float`, *optional*, defaults to 0.8):
            The share of the older split, rounded to whole rows.
        sort_by (`str`, *optional*):
            `"published"`, `"date_number"` or `"file"`, instead of the rule above.

    Returns:
        [`~datasets.DatasetDict`]: `train` and `validation`.

    Raises:
        [`NewsMatchError`]: when an argument is out of range, there are fewer than two rows, or some rows have no date.
    """
    if not 0 < train_fraction < 1:
        raise NewsMatchError(f"The train fraction is {train_fraction}; give one between 0 and 1, both excluded.")
    if len(dataset) < 2:
        raise NewsMatchError(f"{len(dataset)} rows cannot be split in two; at least 2 are needed.")
    order = _choose_order(dataset, sort_by)
    if order != "file":
        dataset = dataset.select(_oldest_first(dataset, order))
    size = min(max(round(len(dataset) * train_fraction), 1), len(dataset) - 1)
    return DatasetDict(train=dataset.select(range(size)), validation=dataset.select(range(size, len(dataset))))


def chronological_slices(dataset: Dataset, count: int, sort_by: str | None = None) -> list[np.ndarray]:
    """Cut into `count` slices of equal size (or one row less), oldest first.

    The order is that of [`chronological_split`], but the file's own is taken for time only when `sort_by` says so.

    Args:
        dataset ([`~datasets.Dataset`]):
            Pairs or articles, as loaded.
        count (`int`):
            The number of slices, at least 2.
        sort_by (`str`, *optional*):
            `"published"`, `"date_number"` or `"file"`.

    Returns:
        `list[np.ndarray]`: The row numbers of each slice, int64.

    Raises:
        [`NewsMatchError`]: when `count` is below 2, there are fewer rows than slices, or rows have no date.
    """
    if count < 2:
        raise NewsMatchError(f"{count} is not a number of slices to compare; give at least 2.")
    if len(dataset) < count:
        raise NewsMatchError(f"{len(dataset)} rows cannot be cut into {count} slices; give fewer slices or more rows.")
    order = _choose_order(dataset, sort_by)
    if order == "file" and sort_by != "file":
        raise NewsMatchError(
            f"The {len(dataset)} rows have no dates to slice them by; add the dates, or say that the file is in the"
            " order of time with sort_by='file' (--sort_by file, when training)."
        )
    return np.array_split(_oldest_first(dataset, order), count)


def split_report(splits: DatasetDict) -> dict:
    """Describe splits: their sizes and dates, and how many pictures they share.

    Args:
        splits ([`~datasets.DatasetDict`]):
            The splits, oldest first.

    Returns:
        `dict`: `order`, the first of `published`, `date_number` and `file` by which no split begins before the one
        before it ends; and `parts`, for each split its `rows`, `pictures` (distinct), `first_date` and `last_date`
        (ISO 8601 or null), and for all but the first `shared_pictures` and `shared_rows`: the number of its pictures,
        and of rows with them, that were also in an earlier split.
    """
    reports: dict[str, dict[str, Any]] = {}
    earlier: set[str] = set()
    for name, split in splits.items():
        ids = [image_id for image_id in _column(split, "image_id").to_pylist() if image_id is not None]
        first, last = _range(_column(split, "published"))
        report = {
            "rows": len(split),
            "pictures": len(set(ids)),
            "first_date": first and first.isoformat(),
            "last_date": last and last.isoformat(),
        }
        if reports:
            report["shared_pictures"] = len(set(ids) & earlier)
            report["shared_rows"] = sum(image_id in earlier for image_id in ids)
        reports[name] = report
        earlier.update(ids)
    order = next(order for order in ORDERS if _is_order_of(list(splits.values()), order))
    return {"order": order, "parts": reports}


def _choose_order(dataset: Dataset, sort_by: str | None) -> str:
    if sort_by is not None and sort_by not in ORDERS:
        raise NewsMatchError(f"sort_by is {sort_by!r}; give one of {', '.join(ORDERS)}.")
    missing = {order: _column(dataset, order).null_count for order in ORDERS[:-1]}
    complete = [order for order in ORDERS if not missing.get(order)]
    started = [order for order in missing if 0 < missing[order] < len(dataset)]
    if sort_by in complete:
        return sort_by
    if sort_by is None and (complete != ["file"] or not started):
        return complete[0]
    order = sort_by or started[0]
    raise NewsMatchError(
        f"{missing[order]} of {len(dataset)} rows have no {order}; add the dates, leave these rows out, or split in"
        " the file's order with sort_by='file' (--sort_by file)."
    )


def _oldest_first(dataset: Dataset, order: str) -> np.ndarray:
    """The row numbers in the order of time; rows of the same time keep the file's."""
    if order == "file":
        return np.arange(len(dataset))
    return np.argsort(_column(dataset, order).to_numpy(), kind="stable")


def _is_order_of(splits: Sequence[Dataset], order: str) -> bool:
    """Whether no split begins before the one before it ends."""
    if order == "file":
        return True
    columns = [_column(split, order) for split in splits]
    if any(column.null_count or not len(column) for column in columns):
        return False
    return all(earlier[1] <= later[0] for earlier, later in pairwise(map(_range, columns)))


def _column(dataset: Dataset, name: str) -> pa.ChunkedArray:
    """The values of a column, or nulls where there is none, as Arrow has them: Python objects take seconds."""
    if name not in dataset.column_names:
        return pa.chunked_array([pa.nulls(len(dataset))])
    return dataset.select_columns([name]).with_format("arrow")[:][name]


def _range(column: pa.ChunkedArray) -> tuple:
    """The smallest and the largest value, both `None` in a column without any."""
    extremes = pc.min_max(column).as_py()
    return extremes["min"], extremes["max"]
