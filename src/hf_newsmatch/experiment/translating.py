"""The translate step: a list of articles in, a translated list out."""

import csv
import dataclasses
import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from datasets import Dataset

from ..configs import TranslateArguments, split_files
from ..data.layouts import Layout, find_layout, normalise
from ..data.newsimages import load_articles, load_pairs
from ..data.parsing import RawTable, read_table
from ..data.schema import Kind, build_records
from ..errors import NewsMatchError
from ..translation import Translator, translate_dataset
from ..translation.processes import launched_together
from ..translation.translator import TranslationReport
from ..utils.files import atomic_path, write_json

logger = logging.getLogger(__name__)

TSV_COLUMNS = ("titleEN", "textEN")


@dataclass
class Translation:
    """A translated list.

    Args:
        file (`Path`): The list.
        articles (`int`): How many articles it has.
        report ([`TranslationReport`]): What was translated, what was done before, and what keeps its source text.
    """

    file: Path
    articles: int
    report: TranslationReport


def translate(args: TranslateArguments) -> Translation | None:
    """Translate a list of articles; every process of a launch calls this and takes its share of the sentences.

    Writes `args.output_file`, and beside it a report as JSON.

    Returns:
        [`Translation`]; `None` in every process but the first.

    Raises:
        [`NewsMatchError`]: on a list, a model or options that cannot be used.
    """
    output = output_file(args)
    with launched_together() as first:
        dataset = load(args)
        translator = Translator(
            args.translation_model,
            args.translation_revision,
            source_language=args.source_language,
            target_language=args.target_language,
            backend=args.backend,
            dtype=args.dtype,
            device=args.device,
            generation={} if args.num_beams is None else {"num_beams": args.num_beams},
            tokens_per_batch=args.tokens_per_batch,
            cache_file=args.cache_file,
        )
        if args.format == "tsv" and translator.checkpoint.target_language != "en":
            raise NewsMatchError("--format tsv has columns for English only; leave it out for a Parquet file.")
        translated = translate_dataset(
            dataset, args.columns, translator, language=args.language, max_sentences=args.max_sentences
        )
        if not first:
            return None
    if args.format == "tsv":
        write_tsv(translated, output, other_columns(args, translated))
    else:
        write_parquet(translated, output)
    report = {
        "articles_file": args.articles_file,
        "articles": len(translated),
        "model": translator.checkpoint.name,
        "model_identity": translator.checkpoint.identity,
        **dataclasses.asdict(translator.report),
    }
    write_json(report, f"{output}.report.json")
    return Translation(output, len(translated), translator.report)


def articles_file(args: TranslateArguments) -> str:
    """The list that the arguments name, refused with a [`NewsMatchError`] when they name none."""
    if not args.articles_file:
        raise NewsMatchError("No articles are named: give --articles_file.")
    return args.articles_file


def output_file(args: TranslateArguments) -> Path:
    """The file that is written; refused before the work begins where it cannot be."""
    if args.format not in ("parquet", "tsv"):
        raise NewsMatchError(f"There is no --format {args.format}; take parquet or tsv.")
    source = articles_file(args)
    output = Path(args.output_file or f"outputs/translated/{Path(source).stem}.{args.format}")
    if output.exists() and output.samefile(source):
        raise NewsMatchError(f"{output} is the list itself; name another --output_file.")
    return output


def load(args: TranslateArguments) -> Dataset:
    """The articles, with the links to their pictures where the list has them, and pictures that lie inside it."""
    file = articles_file(args)
    options: dict[str, Any] = {
        "translated": args.use_english_columns,
        "skip_bad_rows": args.skip_bad_rows,
        "several_pictures": args.several_pictures,
    }
    try:
        return load_pairs(file, find_pictures=False, **options)
    except NewsMatchError:  # without links; whatever else is wrong is found again
        return load_articles(file, **options)


def write_parquet(dataset: Dataset, file: Path) -> None:
    """The data set as it is."""
    with atomic_path(file) as temporary:
        dataset.to_parquet(str(temporary))


def other_columns(args: TranslateArguments, articles: Dataset) -> dict[str, list[str]]:
    """The columns of a list's files that the readers take nothing from, in the order of its articles.

    A cell is empty where one of several files does not have the column. A column whose name would let the readers take
    the result for another layout gets the ending `_original`.
    """
    files = [Path(file) for file in split_files(articles_file(args))]
    if not all(file.is_file() for file in files):
        return {}
    rows: list[dict[str, str]] = []
    for file in files:
        rows += _other_cells(read_table(file), args, articles.column_names)
    if len(rows) != len(articles):
        return {}
    names = dict.fromkeys(name for row in rows for name in row)
    others = {name: cells for name in names if any(cells := [row.get(name) or "" for row in rows])}
    own = [name for name in articles.column_names if not name.endswith("_source")]

    def layout_with(names: Iterable[str]) -> Layout | None:
        found = find_layout([*own, *TSV_COLUMNS, *names])
        return found and found[0]

    if layout_with(others) is not layout_with(()):
        others = {f"{name}_original": cells for name, cells in others.items()}
    return others


def _other_cells(raw: RawTable, args: TranslateArguments, names: Sequence[str]) -> list[dict[str, str]]:
    """The cells of each article of a file that the readers take nothing from."""
    kind: Kind = "pairs" if "image_id" in names else "articles"
    table = build_records(raw, kind, args.use_english_columns, args.several_pictures).table
    at = {line: row for row, line in enumerate(raw.lines)}
    taken = {name for named in raw.layout.columns.values() for name in named[:1]}
    taken |= {*raw.layout.english.values(), *raw.layout.original.values()}
    taken |= {normalise(name) for name in (*names, *TSV_COLUMNS)}
    others = {name: cells for name, cells in raw.columns.items() if name not in taken}
    return [{name: cells[at[line]] for name, cells in others.items()} for line in table["line"].to_pylist()]


def write_tsv(dataset: Dataset, file: Path, others: Mapping[str, Sequence[str]] | None = None) -> None:
    """The columns before the translation, and `titleEN`, `textEN`; empty for articles that are not in English.

    Args:
        dataset (`Dataset`): The translated articles.
        file (`Path`): The file.
        others (`Mapping[str, Sequence[str]]`, *optional*): Further columns of the list, as its file has them.
    """
    others = others or {}
    if "image" in dataset.column_names:
        logger.warning("The pictures inside the data set have no place in a TSV file and are left out.")
        dataset = dataset.remove_columns("image")
    names = [name for name in dataset.column_names if not name.endswith("_source")]
    with atomic_path(file) as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow([*names, *TSV_COLUMNS, *others])
        for row, further in zip(dataset, zip(*others.values()) if others else itertools.repeat(())):
            english = (row["title"], row["text"]) if (row["language"] or "").startswith("en") else ("", "")
            writer.writerow(
                [*(cell(row.get(f"{name}_source", row[name])) for name in names), *map(cell, english), *further]
            )


def cell(value: object) -> str:
    """A value as the readers take it."""
    if value is None:
        return ""
    return value.isoformat() if isinstance(value, datetime) else str(value)
