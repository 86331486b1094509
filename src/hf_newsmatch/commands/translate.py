"""Translate a list of news articles with a Marian model.

    python scripts/translate.py --articles_file articles.tsv                  # German to English, as Parquet
    python scripts/translate.py --articles_file articles.tsv --format tsv     # with columns titleEN and textEN
    accelerate launch --multi_gpu scripts/translate.py --articles_file articles.tsv

All other scripts read either file as English, so nobody needs the model twice. Sentences that are done are never done
again, whatever list they come from. What the model failed on is listed in OUTPUT_FILE.report.json.
"""

import csv
import dataclasses
import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from datasets import Dataset

from ..configs import TranslateArguments
from ..data.newsimages import load_articles, load_pairs
from ..errors import NewsMatchError, exits_cleanly
from ..translation import Translator, translate_dataset
from ..translation.processes import launched_together
from ..utils.files import atomic_path, write_json
from .parser import parse_arguments
from .terminal import set_up_logging, use_all_cores

logger = logging.getLogger("hf_newsmatch.translate")


@exits_cleanly
def main(argv: Sequence[str] | None = None) -> None:
    # ---- Arguments --------------------------------------------------------------------------------------------------
    (args,) = parse_arguments(TranslateArguments, description=__doc__.splitlines()[0], argv=argv)
    set_up_logging()
    use_all_cores()
    if not args.articles_file:
        raise NewsMatchError("No articles are named: give --articles_file.")
    output = output_file(args)

    # ---- Data, translation ------------------------------------------------------------------------------------------
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
            return

    # ---- Results ----------------------------------------------------------------------------------------------------
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
    logger.info(
        "%s: %d articles; %d sentences, %d of them different: %d were done before, %d keep their source text.",
        output,
        len(translated),
        report["sentences"],
        report["distinct"],
        report["from_cache"],
        len(report["kept"]),
    )


def output_file(args: TranslateArguments) -> Path:
    """Where the result goes, checked before the work begins."""
    if args.format not in ("parquet", "tsv"):
        raise NewsMatchError(f"There is no --format {args.format}; take parquet or tsv.")
    output = Path(args.output_file or f"outputs/translated/{Path(args.articles_file).stem}.{args.format}")
    if output.exists() and output.samefile(args.articles_file):
        raise NewsMatchError(f"{output} is the list itself; name another --output_file.")
    return output


def load(args: TranslateArguments) -> Dataset:
    """The articles, with the links to their pictures where the list has them, and pictures that lie inside it."""
    reading = {"translated": args.use_english_columns, "skip_bad_rows": args.skip_bad_rows}
    try:
        return load_pairs(args.articles_file, find_pictures=False, **reading)
    except NewsMatchError:  # without links; whatever else is wrong is found again
        return load_articles(args.articles_file, **reading)


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
