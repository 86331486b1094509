"""Score prediction files: MRR@100 and Recall@k with 95 % intervals.

    python scripts/evaluate.py                                                       # the runs in outputs/demo
    python scripts/evaluate.py --predictions run1.tsv run2.tsv --gold gold.tsv  # any files

Prints tables and writes them as JSON and Markdown: OUTPUT_DIR/scores.json and scores.md, or what --scores_file names.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..configs import EvaluateArguments
from ..data.newsimages import load_articles, load_gold, load_images
from ..errors import NewsMatchError, exits_cleanly
from ..experiment.folder import Experiment, plain
from ..metrics import compare_runs
from ..metrics.tables import markdown_table, terminal_table
from ..retrieval.predictions import read_predictions
from ..utils.files import atomic_path, write_json
from .parser import parse_arguments
from .terminal import WIDTH, make_console, set_up_logging

logger = logging.getLogger("hf_newsmatch.evaluate")


@exits_cleanly
def main(argv: Sequence[str] | None = None) -> None:
    (args,) = parse_arguments(EvaluateArguments, description=__doc__.splitlines()[0], argv=argv)
    set_up_logging()
    check(args)
    comparisons = compare_files(args) if args.predictions else compare_experiment(args)
    console = make_console()
    for name, comparison in comparisons.items():
        console.print(terminal_table(comparison, title(name), intervals=console.width >= WIDTH))
    scores_file = Path(args.scores_file or Path(args.output_dir) / "scores.json")
    if args.scores_file or not args.predictions:
        write_json(comparisons, scores_file)
        with atomic_path(scores_file.with_suffix(".md")) as temporary:
            tables = [markdown_table(comparison, title(name)) for name, comparison in comparisons.items()]
            temporary.write_text("\n".join(tables), encoding="utf-8")
        logger.info("Written to %s and %s.", scores_file, scores_file.with_suffix(".md").name)


def title(name: str) -> str:
    """The heading of a part's table; the validation part's says that it was not unseen."""
    return f"{name} (chose the epoch and alpha: optimistic)" if name == "validation" else name


def check(args: EvaluateArguments) -> None:
    """Refuse flags that would be ignored."""
    for name in ("gold", "articles", "candidates"):
        if getattr(args, name) and not args.predictions:
            raise NewsMatchError(f"--{name} goes with --predictions; the runs of a folder bring their own.")
    if args.predictions and not args.gold:
        raise NewsMatchError("--predictions needs --gold, the true picture of each article.")
    if args.scores_file and Path(args.scores_file).suffix != ".json":
        raise NewsMatchError(
            f"--scores_file names a .json file, not {args.scores_file}; Markdown is written beside it."
        )


def compare_files(args: EvaluateArguments) -> dict[str, dict[str, Any]]:
    """Score any prediction files against a gold file."""
    articles = load_articles(args.articles) if args.articles else None
    gold = load_gold(args.gold, articles)
    candidates = load_images(args.candidates)["image_id"] if args.candidates else None
    rankings = {str(file): read_predictions(file) for file in args.predictions}
    return {Path(args.gold).name: compare_runs(rankings, gold, args.ks, candidates, args.seed)}


def compare_experiment(args: EvaluateArguments) -> dict[str, dict[str, Any]]:
    """Score the runs that scripts/predict.py wrote, of every part that has gold."""
    experiment = Experiment.open(args.output_dir)
    comparisons = {}
    for split in experiment.predicted_splits():
        gold = experiment.gold(split)
        if gold is None:
            logger.warning("The %s part has no gold and cannot be scored.", split)
            continue
        rankings = experiment.rankings(split)
        # what was ranked again is compared with the plain ranking of the same model
        baselines = {run: plain(run) for run in rankings if run != plain(run)}
        candidates = experiment.candidates(split)
        comparisons[split] = compare_runs(rankings, gold, args.ks, candidates, args.seed, baselines)
    if not comparisons:
        raise NewsMatchError(f"{args.output_dir} has no prediction that can be scored; run scripts/predict.py first.")
    return comparisons
