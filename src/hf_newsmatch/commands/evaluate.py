"""Score prediction files: MRR@100 and Recall@k with 95 % intervals.

    python scripts/evaluate.py                                                  # the runs in outputs/demo
    python scripts/evaluate.py --predictions run1.tsv run2.tsv --gold gold.tsv  # any files

Prints tables and writes them as JSON and Markdown: OUTPUT_DIR/scores.json and scores.md, or what --scores_file names.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from ..configs import EvaluateArguments
from ..errors import NewsMatchError, exits_cleanly
from .parser import parse_arguments
from .terminal import WIDTH, make_console, set_up_logging

logger = logging.getLogger(__name__)


@exits_cleanly(again="The same command does it again; scores that were there stay.")
def main(argv: Sequence[str] | None = None) -> None:
    (args,) = parse_arguments(EvaluateArguments, description=__doc__, argv=argv)
    check(args)
    from ..experiment.evaluation import evaluate, evaluate_files, heading
    from ..experiment.folder import Experiment
    from ..metrics.tables import terminal_table

    set_up_logging()
    comparisons = evaluate_files(args) if args.predictions else evaluate(Experiment.open(args.output_dir), args)
    console = make_console()
    for name, comparison in comparisons.items():
        console.print(terminal_table(comparison, heading(name), intervals=console.width >= WIDTH))
    if args.scores_file or not args.predictions:
        file = Path(args.scores_file or Path(args.output_dir) / "scores.json")
        logger.info("Written to %s and %s.", file, file.with_suffix(".md").name)


def check(args: EvaluateArguments) -> None:
    """Refuse flags that would be ignored, with a [`NewsMatchError`]."""
    for name in ("gold", "articles", "candidates"):
        if getattr(args, name) and not args.predictions:
            raise NewsMatchError(f"--{name} goes with --predictions; the runs of a folder bring their own.")
    if args.predictions and not args.gold:
        raise NewsMatchError("--predictions needs --gold, the true picture of each article.")
    if args.scores_file and Path(args.scores_file).suffix != ".json":
        raise NewsMatchError(
            f"--scores_file names a .json file, not {args.scores_file}; Markdown is written beside it."
        )
