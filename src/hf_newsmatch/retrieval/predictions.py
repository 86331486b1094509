"""Prediction files in the organisers' format, with scores beside them."""

import csv
import io
import itertools
import unicodedata
from pathlib import Path

import numpy as np

from ..errors import NewsMatchError, first_sentence
from ..utils.files import atomic_path
from .ranking import MAX_RANK, Ranking, check_distinct


def write_predictions(ranking: Ranking, file: str | Path) -> Path:
    """Write a prediction file in the organisers' format.

    That is a header `articleID iid1 … iid100`, then one row for each article, tab-separated.

    Scores, when the ranking has them, go into a Parquet file of the same name beside it (columns `article_id`, `rank`,
    `image_id`, `score`). Both files appear whole or not at all. Without scores, an old Parquet file is removed.

    Args:
        ranking ([`Ranking`]):
            The ranking to write.
        file (`str` or `Path`):
            The `.tsv` file; its folder is made when missing.

    Returns:
        `Path`: the file.

    Raises:
        [`NewsMatchError`]: on a list of more than 100 pictures, a repeated article, or an id with a line end.
    """
    file = Path(file)
    check_distinct(ranking.article_ids, "article")
    for article_id, image_ids in zip(ranking.article_ids, ranking.image_ids):
        if len(image_ids) > MAX_RANK:
            raise NewsMatchError(
                f"The list of article '{article_id}' has {len(image_ids)} pictures; the task accepts up to {MAX_RANK}."
            )
    for name in itertools.chain(ranking.article_ids, *ranking.image_ids):
        if "\n" in name or "\r" in name:
            raise NewsMatchError(f"The id {name[:60]!r} has a line end, which no prediction file can hold; rename it.")
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
        _write_scores(ranking, ranking.scores, scores_file)
    return file


def _write_scores(ranking: Ranking, scores: list[list[float]], file: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    lengths = np.array([len(row) for row in ranking.image_ids])
    places = [place for length in lengths.tolist() for place in range(1, length + 1)]
    table = pa.table(
        {
            "article_id": pa.array(np.repeat(np.array(ranking.article_ids, dtype=object), lengths), pa.string()),
            "rank": pa.array(places, pa.int32()),
            "image_id": pa.array([name for row in ranking.image_ids for name in row], pa.string()),
            "score": pa.array([value for row in scores for value in row], pa.float32()),
        }
    )
    with atomic_path(file) as temporary:
        pq.write_table(table, temporary)


def read_predictions(file: str | Path) -> Ranking:
    """Read a prediction file in the organisers' format, whoever wrote it; the header may be missing.

    Args:
        file (`str` or `Path`):
            The tab-separated file. The scores are read from the Parquet file of [`write_predictions`] beside it, when
            that names the same articles and pictures.

    Returns:
        [`Ranking`].

    Raises:
        [`NewsMatchError`]: on a missing or empty file, an article that occurs twice or has no picture, a stray quote,
            or a damaged Parquet file.
    """
    file = Path(file)
    if not file.is_file():
        raise NewsMatchError(f"There is no prediction file {file}; `hf-newsmatch predict` writes them.")
    article_ids: list[str] = []
    image_ids: list[list[str]] = []
    seen: dict[str, int] = {}
    try:
        # line by line: no id has a line end, so that a stray quote joins no rows
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise NewsMatchError(
            f"{file} is not a prediction file ({first_sentence(error)}); save it as tab-separated text in UTF-8."
        ) from error
    for number, line in enumerate(lines, 1):
        found = _cells_of(line.rstrip("\r"))
        if found is None:
            raise NewsMatchError(
                f"{file}, line {number}: the quotes are wrong; write ids as they are, tab-separated, without quotes."
            )
        cells = [unicodedata.normalize("NFC", cell.strip()) for cell in found]
        while cells and not cells[-1]:
            cells.pop()
        if not cells or (not article_ids and _is_header(cells)):
            continue
        article_id, *pictures = cells
        if article_id in seen:
            raise NewsMatchError(
                f"{file}, line {number}: article '{article_id}' was ranked before, in line {seen[article_id]}; keep"
                " one of the two."
            )
        if not pictures or not all(pictures):
            raise NewsMatchError(
                f"{file}, line {number}: article '{article_id}' has an empty place in its list; expected the article"
                " id, then up to 100 image ids, tab-separated."
            )
        seen[article_id] = number
        article_ids.append(article_id)
        image_ids.append(pictures)
    if not article_ids:
        raise NewsMatchError(f"{file} ranks no article.")
    return Ranking(article_ids, image_ids, _read_scores(file.with_suffix(".parquet"), article_ids, image_ids))


def _cells_of(line: str) -> list[str] | None:
    """The cells of a line, or `None` where its quotes are not those of a writer of tables.

    A quote that opens no cell, or that none closes on the line, is stray.
    """
    if '"' not in line:
        return line.split("\t")
    try:
        cells = next(csv.reader([line], delimiter="\t", strict=True))
    except csv.Error:
        return None
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL):
        stream = io.StringIO()
        csv.writer(stream, delimiter="\t", lineterminator="", quoting=quoting).writerow(cells)
        if stream.getvalue() == line or not any('"' in cell for cell in cells):
            return cells
    return None


def _is_header(cells: list[str]) -> bool:
    return cells[0].lstrip("#").strip().lower() in ("articleid", "article_id", "article")


def _read_scores(file: Path, article_ids: list[str], image_ids: list[list[str]]) -> list[list[float]] | None:
    if not file.is_file():
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"article_id": pa.string(), "image_id": pa.string(), "score": pa.float32()}
    try:
        table = pq.read_table(file).select(list(columns)).cast(pa.schema(columns))
    except (pa.ArrowException, OSError, KeyError) as error:
        raise NewsMatchError(
            f"{file} holds no scores ({first_sentence(error)}); run `hf-newsmatch predict` again or delete it."
        ) from error
    rows = [(article_id, name) for article_id, names in zip(article_ids, image_ids) for name in names]
    if list(zip(table["article_id"].to_pylist(), table["image_id"].to_pylist())) != rows:
        return None  # a Parquet file of another run
    scores, position, flat = [], 0, table["score"].to_pylist()
    for row in image_ids:
        scores.append(flat[position : position + len(row)])
        position += len(row)
    return scores
