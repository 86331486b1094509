"""The choice of an experiment's alpha on its validation split: sweep, apply the rule, write the curve."""

import logging
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..configs import InterpolateArguments
from ..data.splits import chronological_slices
from ..errors import NewsMatchError, needs_extra
from ..merging.curve import Alpha, AlphaSweep, write_curve
from ..merging.selection import check_metric, check_rule, choose_alpha, describe_rule
from ..merging.sweep import check_evaluations, sweep_alpha, sweep_towers
from ..utils.files import temporary_folder
from .folder import Experiment
from .forward_chaining import fine_tune_again, sweep_folds
from .rerank_search import warn_of_few

logger = logging.getLogger(__name__)


@dataclass
class AlphaChoice:
    """An alpha that a rule chose.

    Args:
        alpha (`float` or `tuple[float, float]`): The alpha, or those of the vision and the text tower.
        rule (`str`): The name of the rule.
        metric (`str`): The metric that it goes by.
        sweep ([`AlphaSweep`]): The validation scores of every alpha.
        folds (`list[AlphaSweep]`): Those of earlier folds, for `forward_chaining`.
        recorded (`dict`): The fields of [`InterpolatedRecord`] that say all this.
    """

    alpha: Alpha
    rule: str
    metric: str
    sweep: AlphaSweep
    folds: list[AlphaSweep]
    recorded: dict[str, Any]


def choose_for_experiment(experiment: Experiment, args: InterpolateArguments) -> AlphaChoice:
    """Choose alpha on the validation split, and write the curve into the experiment's folder.

    Args:
        experiment ([`Experiment`]):
            The experiment, trained.
        args ([`InterpolateArguments`]):
            The rule and what belongs to it.

    Raises:
        [`NewsMatchError`]: on an unknown rule or metric, or data that the rule has no use for.
    """
    check_rule(args.alpha_rule)
    check_metric(args.alpha_metric)
    if args.per_tower:
        check_evaluations(args.max_evaluations)
        if args.alpha_rule == "forward_chaining":
            raise NewsMatchError("--alpha_rule forward_chaining chooses one alpha for both towers; drop --per_tower.")
    data, sort_by = experiment.data(), experiment.record.data.arguments.sort_by
    warn_of_few(len(data.validation), f"the alpha that {args.alpha_rule} chooses")
    ends = experiment.checkpoint("zero_shot"), experiment.checkpoint("fine_tuned")
    common: dict[str, Any] = {
        "text_fields": experiment.text_fields,
        "batch_size": args.batch_size,
        "zero_shot_revision": experiment.revision("zero_shot"),
    }
    slices, folds = None, []
    if args.alpha_rule == "time_robust":
        slices = chronological_slices(data.validation, args.alpha_slices, sort_by)
    if args.alpha_rule == "forward_chaining":
        with temporary_folder(experiment.output_dir, "folds") as temporary:
            fine_tune = fine_tune_again(experiment, temporary / "folds")
            folds = sweep_folds(
                data.train, fine_tune, partial(sweep_alpha, ends[0], **common), args.alpha_slices, sort_by
            )
    if args.per_tower:
        sweep = sweep_towers(*ends, data.validation, args.max_evaluations, args.alpha_metric, **common)
    else:
        sweep = sweep_alpha(*ends, data.validation, **common)
    alpha = choose_alpha(sweep, args.alpha_rule, args.alpha_metric, slices, folds)
    recorded = {
        "rule": describe_rule(args.alpha_rule, args.alpha_metric, args.alpha_slices),
        "alpha_rule": args.alpha_rule,
        "alpha_metric": args.alpha_metric,
        "curve": None if args.per_tower else list(sweep),
        "folds": [list(fold) for fold in folds] or None,
    }
    choice = AlphaChoice(alpha, args.alpha_rule, args.alpha_metric, sweep, folds, recorded)
    _write(choice, experiment)
    return choice


def _write(choice: AlphaChoice, experiment: Experiment) -> None:
    """Write the curve as a table, and as a picture where matplotlib is installed."""
    file = experiment.layout.alpha_curve("csv")
    write_curve(choice.sweep, file)
    try:
        with needs_extra("matplotlib"):
            from ..merging.plotting import plot_curve, plot_towers
            from ..utils.figures import save_figure
    except NewsMatchError as error:
        logger.warning("The curve in %s has no picture. %s", file, error)
        return
    title = f"Validation split, {len(choice.sweep.image_ids)} articles"
    if isinstance(choice.alpha, tuple):
        figure = plot_towers(choice.sweep, choice.alpha, choice.metric, title)
    else:
        figure = plot_curve(choice.sweep, choice.alpha, choice.metric, title, choice.folds)
    save_figure(figure, file.with_suffix(""))
