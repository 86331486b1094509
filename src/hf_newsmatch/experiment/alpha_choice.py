"""The choice of alpha for an experiment: sweep, apply the rule, show and write the curve."""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..commands.terminal import make_console
from ..configs import InterpolateArguments
from ..data.splits import chronological_slices
from ..errors import NewsMatchError
from ..merging.curve import Alpha, AlphaSweep, write_curve
from ..merging.plotting import plot_curve, plot_towers
from ..merging.selection import check_metric, check_rule, choose_alpha, describe_rule
from ..merging.sweep import check_evaluations, sweep_alpha, sweep_towers
from ..merging.tables import curve_table
from ..utils.figures import save_figure
from .folder import Experiment
from .forward_chaining import fine_tune_again, sweep_folds


def choose_for_run(experiment: Experiment, args: InterpolateArguments) -> tuple[Alpha, dict[str, Any]]:
    """Choose alpha on the validation split of an experiment.

    Prints the curve and writes it to the run's folder: `alpha_curve.csv`, `.png` and `.pdf`.

    Args:
        experiment ([`Experiment`]):
            The run, trained.
        args ([`InterpolateArguments`]):
            The rule and what belongs to it.

    Returns:
        `tuple`: the alpha, or the pair of alphas of the vision and the text tower; and what is to be recorded of the
        choice.

    Raises:
        [`NewsMatchError`]: on an unknown rule or metric, or data that the rule has no use for.
    """
    check_rule(args.alpha_rule)
    check_metric(args.alpha_metric)
    if args.per_tower:
        check_evaluations(args.max_evaluations)
        if args.alpha_rule == "forward_chaining":
            raise NewsMatchError("--alpha_rule forward_chaining chooses one alpha for both towers; drop --per_tower.")
    data, sort_by = experiment.data(), experiment.record["data"]["arguments"]["sort_by"]
    ends = experiment.checkpoint("zero_shot"), experiment.checkpoint("fine_tuned")
    common = {
        "text_fields": experiment.text_fields,
        "batch_size": args.batch_size,
        "zero_shot_revision": experiment.revision("zero_shot"),
    }
    slices, folds = None, []
    if args.alpha_rule == "time_robust":
        slices = chronological_slices(data.validation, args.alpha_slices, sort_by)
    if args.alpha_rule == "forward_chaining":
        with tempfile.TemporaryDirectory(prefix=".folds.", dir=experiment.output_dir) as temporary:
            fine_tune = fine_tune_again(experiment, Path(temporary))
            folds = sweep_folds(
                data.train, fine_tune, partial(sweep_alpha, ends[0], **common), args.alpha_slices, sort_by
            )
    if args.per_tower:
        sweep = sweep_towers(*ends, data.validation, args.max_evaluations, args.alpha_metric, **common)
    else:
        sweep = sweep_alpha(*ends, data.validation, **common)
    alpha = choose_alpha(sweep, args.alpha_rule, args.alpha_metric, slices, folds)

    make_console().print(curve_table(sweep, alpha, args.alpha_rule))
    _write(sweep, alpha, args.alpha_metric, folds, experiment.output_dir)
    chosen = {
        "rule": describe_rule(args.alpha_rule, args.alpha_metric, args.alpha_slices),
        "alpha_rule": args.alpha_rule,
        "alpha_metric": args.alpha_metric,
    }
    if not args.per_tower:
        chosen["curve"] = list(sweep)
    if folds:
        chosen["folds"] = [list(fold) for fold in folds]
    return alpha, chosen


def _write(sweep: AlphaSweep, alpha: Alpha, metric: str, folds: Sequence[AlphaSweep], folder: Path) -> None:
    title = f"Validation split, {len(sweep.image_ids)} articles"
    if isinstance(alpha, tuple):
        figure = plot_towers(sweep, alpha, metric, title)
    else:
        figure = plot_curve(sweep, alpha, metric, title, folds)
    write_curve(sweep, folder / "alpha_curve.csv")
    save_figure(figure, folder / "alpha_curve")
