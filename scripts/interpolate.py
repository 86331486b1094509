"""Interpolate zero-shot and fine-tuned weights (WiSE-FT).

    python scripts/interpolate.py                                    # alpha from the validation part
    python scripts/interpolate.py --alpha 0.4
    python scripts/interpolate.py --alpha_rule one_standard_error    # or time_robust, forward_chaining
    python scripts/interpolate.py --per_tower true                   # an alpha for each tower

Continues from the run in OUTPUT_DIR and writes the checkpoint to OUTPUT_DIR/wise_ft. When alpha is chosen, the curve
with 95 % intervals goes to OUTPUT_DIR/alpha_curve.csv, and a picture of it to alpha_curve.png and .pdf.
"""

import logging
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from hf_newsmatch.arguments import InterpolateArguments, parse_arguments, set_up_logging, use_all_cores
from hf_newsmatch.checkpoints import weights_sha256
from hf_newsmatch.console import make_console
from hf_newsmatch.data.splits import chronological_slices
from hf_newsmatch.errors import NewsMatchError, exits_cleanly
from hf_newsmatch.experiment import Experiment
from hf_newsmatch.metrics.tables import metric_label
from hf_newsmatch.wise_ft import AlphaSweep, check_alpha, choose_alpha, interpolate, sweep_alpha, sweep_towers
from hf_newsmatch.wise_ft.rules import Alpha, check_metric, check_rule, describe_rule
from hf_newsmatch.wise_ft.sweep import write_curve

logger = logging.getLogger("hf_newsmatch.interpolate")


@exits_cleanly
def main() -> None:
    (args,) = parse_arguments(InterpolateArguments, description=__doc__.splitlines()[0])
    set_up_logging()
    use_all_cores()
    alpha = parse_alpha(args.alpha)
    check(args, alpha)
    experiment = Experiment.open(args.output_dir)
    if not experiment.has_model("fine_tuned"):
        raise NewsMatchError(f"{args.output_dir} has no fine-tuned model yet; run scripts/train.py first.")

    chosen: dict[str, Any] = {"rule": "given"}
    if alpha is None:
        alpha, chosen = choose(experiment, args)

    towers = {"alpha_vision": alpha[0], "alpha_text": alpha[1]} if isinstance(alpha, tuple) else {}
    folder = interpolate(
        experiment.checkpoint("zero_shot"),
        experiment.checkpoint("fine_tuned"),
        None if towers else alpha,
        experiment.output_dir / "wise_ft",
        zero_shot_revision=experiment.revision("zero_shot"),
        **towers,
    )
    made = {"sha256": weights_sha256(folder), "endpoints": experiment.endpoints()}
    experiment.record["wise_ft"] = {**(towers or {"alpha": alpha}), **chosen, **made}
    experiment.save()
    logger.info("The WiSE-FT model with alpha %s is in %s.", label(alpha), folder)


def parse_alpha(value: str) -> float | None:
    """The number that `--alpha` gives, or None for `auto`."""
    if value == "auto":
        return None
    try:
        alpha = float(value)
    except ValueError:
        raise NewsMatchError(f"--alpha takes a number from 0 to 1 or auto, not '{value}'.") from None
    check_alpha(alpha)
    return alpha


def check(args: InterpolateArguments, alpha: float | None) -> None:
    """Refuse, before anything is read, what could not be chosen by."""
    check_rule(args.alpha_rule)
    check_metric(args.alpha_metric)
    if args.per_tower and alpha is not None:
        raise NewsMatchError("--per_tower searches the alphas itself; leave --alpha out.")
    if args.per_tower and args.alpha_rule == "forward_chaining":
        raise NewsMatchError("--alpha_rule forward_chaining chooses one alpha for both towers; leave --per_tower out.")


def choose(experiment: Experiment, args: InterpolateArguments) -> tuple[Alpha, dict[str, Any]]:
    """Sweep the validation part, choose by the rule, and show and write what was seen."""
    from hf_newsmatch.wise_ft.folds import fine_tune_again, sweep_folds
    from hf_newsmatch.wise_ft.plotting import plot_curve, plot_towers, save_figure

    data, output_dir = experiment.data(), experiment.output_dir
    sort_by = experiment.record["data"]["arguments"]["sort_by"]
    common = {
        "text_fields": experiment.text_fields,
        "batch_size": args.batch_size,
        "zero_shot_revision": experiment.revision("zero_shot"),
    }
    slices, folds = None, None
    if args.alpha_rule == "time_robust":
        slices = chronological_slices(data.validation, args.alpha_slices, sort_by)
    if args.alpha_rule == "forward_chaining":
        with tempfile.TemporaryDirectory(prefix=".folds.", dir=output_dir) as temporary:
            fine_tune = fine_tune_again(experiment, Path(temporary))
            sweep = partial(sweep_alpha, experiment.checkpoint("zero_shot"), **common)
            folds = sweep_folds(data.train, fine_tune, sweep, args.alpha_slices, sort_by)
    ends = experiment.checkpoint("zero_shot"), experiment.checkpoint("fine_tuned")
    if args.per_tower:
        sweep = sweep_towers(*ends, data.validation, args.max_evaluations, args.alpha_metric, **common)
    else:
        sweep = sweep_alpha(*ends, data.validation, **common)
    alpha = choose_alpha(sweep, args.alpha_rule, args.alpha_metric, slices, folds)

    make_console().print(curve_table(sweep, alpha, args.alpha_rule))
    write_curve(sweep, output_dir / "alpha_curve.csv")
    chosen = {
        "rule": describe_rule(args.alpha_rule, args.alpha_metric, args.alpha_slices),
        "alpha_rule": args.alpha_rule,
        "alpha_metric": args.alpha_metric,
    }
    title = f"Validation part, {len(sweep.image_ids)} articles"
    if args.per_tower:
        save_figure(plot_towers(sweep, alpha, args.alpha_metric, title), output_dir / "alpha_curve")
        return alpha, chosen
    save_figure(plot_curve(sweep, alpha, args.alpha_metric, title, folds or ()), output_dir / "alpha_curve")
    return alpha, {**chosen, "curve": list(sweep), **({"folds": [list(fold) for fold in folds]} if folds else {})}


def label(alpha: Alpha) -> str:
    """An alpha, or the two of the towers, in words."""
    return f"{alpha[0]:g} (vision) and {alpha[1]:g} (text)" if isinstance(alpha, tuple) else f"{alpha:g}"


def curve_table(sweep: AlphaSweep, chosen: Alpha, rule: str) -> Table:
    """The validation scores of each alpha, the chosen one marked; of a grid, only the chosen vision alpha's."""
    caption = f"0 is zero-shot, 1 fine-tuned; ◀ chosen by the rule {rule}."
    if isinstance(chosen, tuple):
        caption = f"Of {len(sweep)} pairs, those with the chosen vision alpha. {caption}"
    table = Table(title="Validation part by alpha", caption=caption)
    for name in sweep[0]:
        table.add_column(metric_label(name).replace("@", "\n@").replace("_", "\n"), justify="right")
    table.add_column()
    for alpha, point in zip(sweep.alphas, sweep):
        if isinstance(chosen, tuple) and alpha[0] != chosen[0]:
            continue
        mark = "◀" if alpha == chosen else ""
        formats = {"alpha": ".1f", "alpha_vision": "g", "alpha_text": "g"}
        cells = [f"{value:{formats.get(name, '.3f')}}" for name, value in point.items()]
        table.add_row(*cells, mark, style="bold" if mark else None)
    return table


if __name__ == "__main__":
    main()
