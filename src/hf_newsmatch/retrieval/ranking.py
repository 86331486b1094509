"""From embeddings to the submitted ranking, and its file."""

import csv
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, Image
from transformers import CLIPModel, ProcessorMixin

from ..configs import MAX_RANK
from ..data.text import DEFAULT_TEXT_FIELDS, join_text
from ..errors import NewsMatchError, first_sentence
from ..utils.files import atomic_path
from .embeddings import embed_images, embed_texts

CHUNK = 2**23  # similarities held at a time: 32 MiB in float32, so few that they stay near the processor


@dataclass
class Ranking:
    """For each article the best pictures, best first.

    Args:
        article_ids (`list[str]`):
            The articles, in the order of the data.
        image_ids (`list[list[str]]`):
            The pictures of each article, best first, at most 100.
        scores (`list[list[float]]`, *optional*):
            The cosine similarity of each, or what a re-ranking made of it; a prediction file does not hold them.
    """

    article_ids: list[str]
    image_ids: list[list[str]]
    scores: list[list[float]] | None = None

    def __len__(self) -> int:
        return len(self.article_ids)


def rank(
    text_embeds: torch.Tensor,
    image_embeds: torch.Tensor,
    article_ids: Sequence[str],
    image_ids: Sequence[str],
    k: int = MAX_RANK,
) -> Ranking:
    """Rank the candidate pictures of each article by cosine similarity (the paper, section 3.3).

    Exact: every article is compared with every picture, in chunks that bound the memory. Equal similarities are
    ordered as the candidates are, so that a ranking is reproducible.

    Args:
        text_embeds (`torch.Tensor` of shape `(articles, d)`, any floating dtype):
            Unit-length embeddings of the articles.
        image_embeds (`torch.Tensor` of shape `(pictures, d)`, any floating dtype):
            Unit-length embeddings of the candidates.
        article_ids (`Sequence[str]`):
            One a row of `text_embeds`.
        image_ids (`Sequence[str]`):
            One a row of `image_embeds`, all different.
        k (`int`, *optional*, defaults to 100):
            How many pictures an article; fewer when there are fewer candidates.

    Returns:
        [`Ranking`] with scores.

    Raises:
        [`NewsMatchError`]: on ids and embeddings of different number, repeated ids, NaN, embeddings of different
            width, or `k` below 1.
    """
    # a column of `datasets` reads the table again for each id
    article_ids, image_ids = list(article_ids), list(image_ids)
    text_embeds, image_embeds = text_embeds.float(), image_embeds.float()
    check_embeddings(text_embeds, image_embeds, article_ids, image_ids)
    if k < 1:
        raise NewsMatchError(f"k must be at least 1, not {k}.")
    k = min(k, len(image_ids))
    # numpy's product: PyTorch's library takes twice its time on processors of another make than its own
    texts, pictures = text_embeds.numpy(force=True), image_embeds.numpy(force=True)
    names, size = np.array(image_ids, dtype=object), max(1, CHUNK // len(image_ids))
    lists, scores = [], []
    for start in range(0, len(texts), size):
        indices, values = stable_topk(texts[start : start + size] @ pictures.T, k)
        lists += names[indices].tolist()
        scores += values.tolist()
    return Ranking(article_ids, lists, scores)


def rank_articles(
    model: CLIPModel,
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
            How many pictures an article.

    Returns:
        [`Ranking`] with scores.
    """
    text_embeds, image_embeds = embed_articles(model, processor, articles, images, text_fields, **kwargs)
    return rank(text_embeds, image_embeds, articles["article_id"], images["image_id"], k)


def embed_articles(
    model: CLIPModel,
    processor: ProcessorMixin,
    articles: Dataset,
    images: Dataset,
    text_fields: Sequence[str] = DEFAULT_TEXT_FIELDS,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embed articles and candidate pictures with one model.

    Args:
        model (`CLIPModel`), processor (`ProcessorMixin`):
            One checkpoint.
        articles (`datasets.Dataset`):
            With `article_id` and the text fields.
        images (`datasets.Dataset`):
            With `image_id` and `image`, one row a distinct picture, all usable.
        text_fields (`Sequence[str]`, *optional*, defaults to `("title", "text")`):
            The columns that make up what CLIP reads.
        kwargs:
            `batch_size`, `num_workers` and `progress` of [`embed_images`].

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: the texts `(articles, d)` and the pictures `(pictures, d)`, float32 on the
        CPU, each row of length 1.
    """
    texts = [join_text(row, text_fields) for row in articles.select_columns(list(text_fields))]
    pictures = images.cast_column("image", Image(decode=False))["image"]
    text_embeds = embed_texts(model, processor, texts, progress=kwargs.get("progress", True))
    return text_embeds, embed_images(model, processor, pictures, **kwargs)


def stable_topk(similarities: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns and values of the k highest of each row, highest first, equal ones by column.

    Few entries are sorted: those not below the k-th highest of the maxima of groups of columns, which is not above the
    k-th highest of all.

    Args:
        similarities (`np.ndarray` of shape `(rows, columns)`):
            Finite.
        k (`int`):
            From 1 to the number of columns.

    Returns:
        `tuple[np.ndarray, np.ndarray]`, each of shape `(rows, k)`.
    """
    count, width = similarities.shape
    size = max(1, width // (8 * k))  # more than k groups, so many that the bound is near
    groups = width // size
    maxima = similarities[:, : groups * size].reshape(count, size, groups).max(axis=1)
    bounds = np.partition(maxima, groups - k, axis=1)[:, groups - k]
    flat = similarities.ravel()
    found = np.flatnonzero(similarities >= bounds[:, None])
    rows = found // width
    counts = np.bincount(rows, minlength=count)
    starts = counts.cumsum() - counts
    candidates = np.full((count, counts.max()), -np.inf, dtype=similarities.dtype)
    candidates[rows, np.arange(len(found)) - starts[rows]] = flat[found]
    chosen = found[starts[:, None] + np.argsort(-candidates, axis=1, kind="stable")[:, :k]]
    return chosen % width, flat[chosen]


def check_embeddings(
    text_embeds: torch.Tensor, image_embeds: torch.Tensor, article_ids: list[str], image_ids: list[str]
) -> None:
    """Refuse what cannot be ranked, with a [`NewsMatchError`]: see [`rank`]."""
    _check_ids(article_ids, text_embeds, "article")
    _check_ids(image_ids, image_embeds, "image")
    if not len(image_ids):
        raise NewsMatchError("There are no candidate pictures to rank.")
    if text_embeds.shape[1] != image_embeds.shape[1]:
        raise NewsMatchError(
            f"The embeddings of articles have {text_embeds.shape[1]} dimensions and those of images"
            f" {image_embeds.shape[1]}; take both from the same checkpoint."
        )


def _check_ids(ids: list[str], embeds: torch.Tensor, kind: str) -> None:
    if embeds.ndim != 2:
        raise NewsMatchError(f"The {kind} embeddings are to be a matrix, not of shape {tuple(embeds.shape)}.")
    if len(ids) != len(embeds):
        raise NewsMatchError(f"There are {len(ids)} {kind} ids but {len(embeds)} {kind} embeddings.")
    check_distinct(ids, kind)
    if not torch.isfinite(embeds).all():
        row = int((~torch.isfinite(embeds)).any(dim=1).nonzero()[0])
        raise NewsMatchError(f"The embedding of {kind} '{ids[row]}' is not finite; is the checkpoint sound?")


def check_distinct(ids: Sequence[str], kind: str) -> None:
    """Refuse ids of which one occurs twice, with a [`NewsMatchError`]."""
    repeated = next((name for name, times in Counter(ids).items() if times > 1), None)
    if repeated is not None:
        raise NewsMatchError(f"The {kind} id '{repeated}' occurs more than once; each {kind} is to be ranked once.")


def write_predictions(ranking: Ranking, file: str | Path) -> Path:
    """Write a prediction file in the organisers' format: `articleID iid1 … iid100`, tab-separated, one row an article.

    Scores, when the ranking has them, go into a Parquet file of the same name beside it (columns `article_id`, `rank`,
    `image_id`, `score`). Both appear whole or not at all. Without scores, an old one is removed.

    Args:
        ranking ([`Ranking`]):
            What to write.
        file (`str` or `Path`):
            The `.tsv` file; its folder is made when missing.

    Returns:
        `Path`: the file.

    Raises:
        [`NewsMatchError`]: on a list of more than 100 pictures, or a repeated article.
    """
    file = Path(file)
    check_distinct(ranking.article_ids, "article")
    for article_id, image_ids in zip(ranking.article_ids, ranking.image_ids):
        if len(image_ids) > MAX_RANK:
            raise NewsMatchError(
                f"The list of article '{article_id}' has {len(image_ids)} pictures; the task accepts up to {MAX_RANK}."
            )
    width = max((len(row) for row in ranking.image_ids), default=0)
    with atomic_path(file) as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
        writer.writerow(["articleID", *(f"iid{place}" for place in range(1, width + 1))])
        for article_id, image_ids in zip(ranking.article_ids, ranking.image_ids):
            writer.writerow([article_id, *image_ids])
    scores_file = file.with_suffix(".parquet")
    if ranking.scores is None:
        scores_file.unlink(missing_ok=True)
    else:
        _write_scores(ranking, scores_file)
    return file


def _write_scores(ranking: Ranking, file: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    lengths = np.array([len(row) for row in ranking.image_ids])
    places = np.concatenate([np.arange(1, length + 1, dtype=np.int32) for length in lengths]) if len(lengths) else []
    table = pa.table(
        {
            "article_id": pa.array(np.repeat(np.array(ranking.article_ids, dtype=object), lengths), pa.string()),
            "rank": pa.array(places, pa.int32()),
            "image_id": pa.array([name for row in ranking.image_ids for name in row], pa.string()),
            "score": pa.array([value for row in ranking.scores for value in row], pa.float32()),
        }
    )
    with atomic_path(file) as temporary:
        pq.write_table(table, temporary)


def read_predictions(file: str | Path) -> Ranking:
    """Read a prediction file in the organisers' format, ours or anybody's; the header may be missing.

    Args:
        file (`str` or `Path`):
            The tab-separated file. When the Parquet file of [`write_predictions`] lies beside it and names the same
            articles and pictures, its scores come along.

    Returns:
        [`Ranking`].

    Raises:
        [`NewsMatchError`]: on a missing or empty file, an article that occurs twice or has no picture, or a damaged
            Parquet file.
    """
    file = Path(file)
    if not file.is_file():
        raise NewsMatchError(f"There is no prediction file {file}; scripts/predict.py writes them.")
    article_ids: list[str] = []
    image_ids: list[list[str]] = []
    seen: dict[str, int] = {}
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter="\t")
            for row in reader:
                cells = [cell.strip() for cell in row]
                while cells and not cells[-1]:
                    cells.pop()
                if not cells or (not article_ids and _is_header(cells)):
                    continue
                article_id, *pictures = cells
                if article_id in seen:
                    raise NewsMatchError(
                        f"{file}, line {reader.line_num}: article '{article_id}' was ranked before, in line"
                        f" {seen[article_id]}; keep one of the two."
                    )
                if not pictures or not all(pictures):
                    raise NewsMatchError(
                        f"{file}, line {reader.line_num}: article '{article_id}' has an empty place in its list;"
                        " expected the article id, then up to 100 image ids, tab-separated."
                    )
                seen[article_id] = reader.line_num
                article_ids.append(article_id)
                image_ids.append(pictures)
    except (UnicodeDecodeError, csv.Error) as error:
        raise NewsMatchError(f"{file} is no prediction file: {error}.") from error
    if not article_ids:
        raise NewsMatchError(f"{file} ranks no article.")
    return Ranking(article_ids, image_ids, _read_scores(file.with_suffix(".parquet"), article_ids, image_ids))


def _is_header(cells: list[str]) -> bool:
    return cells[0].lstrip("#").strip().lower() in ("articleid", "article_id", "article")


def _read_scores(file: Path, article_ids: list[str], image_ids: list[list[str]]) -> list[list[float]] | None:
    if not os.path.isfile(file):
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"article_id": pa.string(), "image_id": pa.string(), "score": pa.float32()}
    try:
        table = pq.read_table(file).select(list(columns)).cast(pa.schema(columns))
    except (pa.ArrowException, OSError, KeyError) as error:
        raise NewsMatchError(
            f"{file} holds no scores ({first_sentence(error)}); run scripts/predict.py again or delete it."
        ) from error
    rows = [(article_id, name) for article_id, names in zip(article_ids, image_ids) for name in names]
    if list(zip(table["article_id"].to_pylist(), table["image_id"].to_pylist())) != rows:
        return None  # a Parquet file of another run
    scores, position, flat = [], 0, table["score"].to_pylist()
    for row in image_ids:
        scores.append(flat[position : position + len(row)])
        position += len(row)
    return scores
