"""The translate step: a list of articles in, a translated list out."""

import csv
import dataclasses
import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from datasets import Dataset

from ..configs import TranslateArguments
from ..data.newsimages import load_articles, load_pairs
from ..errors import NewsMatchError
from ..translation import Translator, translate_dataset
from ..translation.processes import launched_together
from ..translation.translator import TranslationReport
from ..utils.files import atomic_path, write_json

logger = logging.getLogger(__name__)


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
    write = write_tsv if args.format == "tsv" else write_parquet
    write(translated, output)
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
    """Where the result goes, checked before the work begins."""
    if args.format not in ("parquet", "tsv"):
        raise NewsMatchError(f"There is no --format {args.format}; take parquet or tsv.")
    source = articles_file(args)
    output = Path(args.output_file or f"outputs/translated/{Path(source).stem}.{args.format}")
    if output.exists() and output.samefile(source):
        raise NewsMatchError(f"{output} is the list itself; name another --output_file.")
    return output


def load(args: TranslateArguments) -> Dataset:
    """The articles, with the links to their pictures where the list has them, and pictures that lie inside it."""
    file, english, skip = articles_file(args), args.use_english_columns, args.skip_bad_rows
    try:
        return load_pairs(file, find_pictures=False, translated=english, skip_bad_rows=skip)
    except NewsMatchError:  # without links; whatever else is wrong is found again
        return load_articles(file, translated=english, skip_bad_rows=skip)


def write_parquet(dataset: Dataset, file: Path) -> None:
    """The data set as it is."""
    with atomic_path(file) as temporary:
        dataset.to_parquet(str(temporary))


def write_tsv(dataset: Dataset, file: Path) -> None:
    """The columns before the translation, and `titleEN`, `textEN`; empty for articles that are not in English."""
    if "image" in dataset.column_names:
        logger.warning("The pictures inside the data set have no place in a TSV file and are left out.")
        dataset = dataset.remove_columns("image")
    names = [name for name in dataset.column_names if not name.endswith("_source")]
    with atomic_path(file) as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow([*names, "titleEN", "textEN"])
        for row in dataset:
            english = (row["title"], row["text"]) if (row["language"] or "").startswith("en") else ("", "")
            writer.writerow([*(cell(row.get(f"{name}_source", row[name])) for name in names), *map(cell, english)])


def cell(value: object) -> str:
    """A value as the readers take it."""
    if value is None:
        return ""
    return value.isoformat() if isinstance(value, datetime) else str(value)
