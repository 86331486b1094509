"""The data of the report's gallery: the articles of a split, their lists, and thumbnails."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
from tqdm.auto import tqdm

from ..data.corpus import Split
from ..data.images import thumbnail, undecoded
from ..retrieval.ranking import Ranking
from ..utils.machine import usable_cores

SHOWN = 5  # the pictures that the gallery shows of each list
SIZE = 144  # longer side of a thumbnail, in pixels
TEXT_LENGTH = 400  # the characters that the gallery shows of an article


def write_thumbnails(folder: Path, split: str, part: Split, progress: bool) -> dict[str, imagehash.ImageHash]:
    """Write a small WebP of each picture, named by its number because ids may hold any character.

    Returns:
        `dict[str, imagehash.ImageHash]`: the perceptual hash of each picture, by its id.
    """
    images = undecoded(part.images).select_columns(["image_id", "image"])

    def write(item: tuple[int, dict[str, Any]]) -> imagehash.ImageHash:
        place, row = item
        picture = thumbnail(row["image"], SIZE)
        picture.save(folder / f"{split}-{place}.webp", quality=60, method=1)
        return imagehash.phash(picture)

    # Pillow decodes and encodes outside the interpreter's lock
    with ThreadPoolExecutor(usable_cores()) as pool:
        hashes = pool.map(write, enumerate(images))
        bar = tqdm(hashes, f"Thumbnails of the {split} split", len(images), unit="picture", disable=not progress)
        return dict(zip(images["image_id"][:], list(bar)))


def list_articles(
    articles: Sequence[Mapping[str, Any]],
    image_ids: Sequence[str],
    gold: Mapping[str, str],
    ranks: Mapping[str, np.ndarray],
    rankings: Mapping[str, Ranking],
    labels: Mapping[str, list[str]],
    cases: Mapping[str, list],
) -> dict[str, Any]:
    """The gallery of a split, ready for JSON, with pictures by their number."""
    number = {image_id: place for place, image_id in enumerate(image_ids)}
    lists = [_top(ranking, number) for ranking in rankings.values()]
    rows = []
    for place, (article, (article_id, image_id)) in enumerate(zip(articles, gold.items())):
        text = article["read"]
        rows.append(
            {
                "id": article_id,
                "text": text if len(text) <= TEXT_LENGTH else text[:TEXT_LENGTH] + "…",
                "date": f"{article['published']:%Y-%m-%d}" if article["published"] else "",
                "picture": number.get(image_id),
                "groups": [values[place] for values in labels.values()],
                "ranks": [_finite(ranks[run][place]) for run in rankings],
                "top": [top.get(article_id, []) for top in lists],
            }
        )
    return {
        "runs": list(rankings),
        "dimensions": list(labels),
        "pictures": list(number),
        "articles": rows,
        "cases": {name: [(case.article, case.amount) for case in found] for name, found in cases.items()},
    }


def _top(ranking: Ranking, number: Mapping[str, int]) -> dict[str, list[tuple[int, float | None]]]:
    """The first pictures of each article, with their scores when the ranking has them."""
    scores: Sequence[Sequence[float | None]] = ranking.scores or [[None] * SHOWN] * len(ranking)
    return {
        article_id: [
            (number[name], None if value is None else round(value, 3))
            for name, value in zip(image_ids[:SHOWN], values)
        ]
        for article_id, image_ids, values in zip(ranking.article_ids, ranking.image_ids, scores)
    }


def _finite(value: float) -> int | None:
    return int(value) if np.isfinite(value) else None


def write_script(file: Path, split: str, gallery: Mapping[str, Any]) -> None:
    """Write the gallery as a script, because a page from disk may load scripts but not fetch files."""
    data = json.dumps(gallery, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    file.write_text(f"newsmatchData({json.dumps(split)},{data});\n", encoding="utf-8")
