"""Choosing the alpha of a run: sweep, apply the rule, and show and write what was seen."""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from ..commands.terminal import make_console
from ..configs import InterpolateArguments
from ..data.splits import chronological_slices
from ..errors import NewsMatchError
from ..merging.plotting import plot_curve, plot_towers, save_figure
from ..merging.selection import Alpha, check_metric, check_rule, choose_alpha, describe_rule
from ..merging.sweep import AlphaSweep, check_evaluations, sweep_alpha, sweep_towers, write_curve
from ..metrics.tables import metric_label
from .folder import Experiment
from .forward_chaining import fine_tune_again, sweep_folds


def choose_for_run(experiment: Experiment, args: InterpolateArguments) -> tuple[Alpha, dict[str, Any]]:
    """Choose alpha on the validation part of a run.

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
    title = f"Validation part, {len(sweep.image_ids)} articles"
    if isinstance(alpha, tuple):
        figure = plot_towers(sweep, alpha, metric, title)
    else:
        figure = plot_curve(sweep, alpha, metric, title, folds)
    write_curve(sweep, folder / "alpha_curve.csv")
    save_figure(figure, folder / "alpha_curve")


def curve_table(sweep: AlphaSweep, chosen: Alpha, rule: str) -> Table:
    """The scores of each alpha, the chosen one marked; of both towers, only those with the chosen vision alpha."""
    caption = f"0 is zero-shot, 1 fine-tuned; ◀ chosen by the rule {rule}."
    if isinstance(chosen, tuple):
        caption = f"Of {len(sweep)} pairs, those with the chosen alpha of the vision tower. {caption}"
    table = Table(title="Validation part by alpha", caption=caption)
    for name in sweep[0]:
        table.add_column(metric_label(name).replace("@", "\n@").replace("_", "\n"), justify="right")
    table.add_column()
    formats = {"alpha": ".1f", "alpha_vision": "g", "alpha_text": "g"}
    for alpha, point in zip(sweep.alphas, sweep):
        if isinstance(chosen, tuple) and alpha[0] != chosen[0]:
            continue
        mark = "◀" if alpha == chosen else ""
        cells = [f"{value:{formats.get(name, '.3f')}}" for name, value in point.items()]
        table.add_row(*cells, mark, style="bold" if mark else None)
    return table
