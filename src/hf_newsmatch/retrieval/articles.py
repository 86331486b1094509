"""Articles and pictures of a data set, embedded and ranked with one model."""

from collections.abc import Sequence

import torch
from datasets import Dataset
from transformers import PreTrainedModel, ProcessorMixin

from ..data.images import undecoded
from ..data.text import DEFAULT_TEXT_FIELDS, article_texts
from .embeddings import embed_images, embed_texts
from .ranking import MAX_RANK, Ranking, rank


def rank_articles(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    articles: Dataset,
    images: Dataset,
    text_fields: Sequence[str] = DEFAULT_TEXT_FIELDS,
    k: int = MAX_RANK,
    **kwargs,
) -> Ranking:
    """Embed articles and candidate pictures with one model and [`rank`] them.

    Args:
        model, processor, articles, images, text_fields, kwargs:
            As for [`embed_articles`].
        k (`int`, *optional*, defaults to 100):
            The number of pictures listed for each article.

    Returns:
        [`Ranking`] with scores.
    """
    text_embeds, image_embeds = embed_articles(model, processor, articles, images, text_fields, **kwargs)
    return rank(text_embeds, image_embeds, articles["article_id"], images["image_id"], k)


def embed_articles(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    articles: Dataset,
    images: Dataset,
    text_fields: Sequence[str] = DEFAULT_TEXT_FIELDS,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embed articles and candidate pictures with one model.

    Args:
        model (`PreTrainedModel`), processor (`ProcessorMixin`):
            One checkpoint.
        articles (`datasets.Dataset`):
            With `article_id` and the text fields.
        images (`datasets.Dataset`):
            With `image_id` and `image`, one row for each distinct picture, all usable.
        text_fields (`Sequence[str]`, *optional*, defaults to `("title", "text")`):
            The columns that make up the text that the model reads.
        kwargs:
            `batch_size`, `num_workers` and `progress` of [`embed_images`].

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: the texts `(articles, d)` and the pictures `(pictures, d)`, float32 on the
        CPU, each row of length 1.
    """
    pictures = undecoded(images)["image"]
    texts = article_texts(articles, text_fields)
    text_embeds = embed_texts(model, processor, texts, progress=kwargs.get("progress", True))
    return text_embeds, embed_images(model, processor, pictures, **kwargs)
