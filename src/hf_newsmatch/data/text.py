"""The text of an article as the text tower reads it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

DEFAULT_TEXT_FIELDS = ("title", "text")


def join_text(row: Mapping[str, Any], text_fields: Sequence[str] = DEFAULT_TEXT_FIELDS) -> str:
    """Join the non-empty fields of an article by `". "`, the headline first, which no truncation then cuts off."""
    return ". ".join(row[field] for field in text_fields if row[field])


def article_texts(articles: "Dataset", text_fields: Sequence[str] = DEFAULT_TEXT_FIELDS) -> list[str]:
    """The joined text of each article, in order; see [`join_text`]."""
    columns = articles.select_columns(list(dict.fromkeys(text_fields)))[:]
    return [join_text(dict(zip(columns, row)), text_fields) for row in zip(*columns.values())]
