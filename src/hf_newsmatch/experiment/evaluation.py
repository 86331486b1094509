"""The evaluate step: the runs of an experiment, or any prediction files, scored with intervals."""

import logging
from pathlib import Path
from typing import Any

from ..configs import EvaluateArguments
from ..data.newsimages import load_articles, load_gold, load_images
from ..errors import NewsMatchError
from ..metrics import compare_runs
from ..metrics.tables import markdown_table
from ..retrieval.predictions import read_predictions
from ..utils.files import atomic_path, write_json
from .folder import Experiment, plain

logger = logging.getLogger(__name__)

# Split, or name of a gold file, to the comparison of its runs.
Comparisons = dict[str, dict[str, Any]]


def evaluate(experiment: Experiment, args: EvaluateArguments | None = None) -> Comparisons:
    """Score the predictions of every split that has gold, and write `scores.json` and `scores.md`.

    Args:
        experiment ([`Experiment`]):
            The experiment, predicted.
        args ([`EvaluateArguments`], *optional*):
            The k, the seed, and another file than the experiment's own.

    Returns:
        `dict[str, dict]`: split to the comparison of its runs, as [`compare_runs`] gives it.

    Raises:
        [`NewsMatchError`]: when nothing can be scored, or a run is stale.
    """
    args = args or EvaluateArguments()
    comparisons: Comparisons = {}
    for split in experiment.predicted_splits():
        gold = experiment.gold(split)
        if gold is None:
            logger.warning("The %s split has no gold and cannot be scored.", split)
            continue
        rankings = experiment.rankings(split)
        if note := experiment.same_models(rankings):
            logger.warning(note)
        # what was ranked again is compared with the plain ranking of the same model
        baselines = {run: plain(run) for run in rankings if run != plain(run)}
        candidates = experiment.candidates(split)
        comparisons[split] = compare_runs(rankings, gold, args.ks, candidates, args.seed, baselines)
    if not comparisons and experiment.predicted_splits():
        raise NewsMatchError(
            f"{experiment.output_dir} has no prediction that can be scored, since the gold is missing; name the true"
            " pictures with `hf-newsmatch predict --gold_file`."
        )
    if not comparisons:
        raise NewsMatchError(
            f"{experiment.output_dir} has no prediction that can be scored; run `hf-newsmatch predict` first."
        )
    write_scores(comparisons, Path(args.scores_file or experiment.layout.scores))
    return comparisons


def evaluate_files(args: EvaluateArguments) -> Comparisons:
    """Score any prediction files against a gold file, and write the scores where `scores_file` names a file.

    Raises:
        [`NewsMatchError`]: on files that cannot be read or do not fit together.
    """
    if not args.predictions:
        raise NewsMatchError("No prediction file is named: give --predictions.")
    if not args.gold:
        raise NewsMatchError("--predictions needs --gold, the true picture of each article.")
    articles = load_articles(args.articles) if args.articles else None
    gold = load_gold(args.gold, articles)
    candidates = load_images(args.candidates)["image_id"] if args.candidates else None
    rankings = {str(file): read_predictions(file) for file in args.predictions}
    comparisons = {Path(args.gold).name: compare_runs(rankings, gold, args.ks, candidates, args.seed)}
    if args.scores_file:
        write_scores(comparisons, Path(args.scores_file))
    return comparisons


def write_scores(comparisons: Comparisons, file: Path) -> None:
    """Write comparisons as JSON, and as Markdown beside it."""
    write_json(comparisons, file)
    with atomic_path(file.with_suffix(".md")) as temporary:
        tables = [markdown_table(comparison, heading(name)) for name, comparison in comparisons.items()]
        temporary.write_text("\n".join(tables), encoding="utf-8")


def heading(name: str) -> str:
    """The heading of a split's table; the validation split's says that it was not unseen."""
    return f"{name} (chose the epoch and alpha: optimistic)" if name == "validation" else name
