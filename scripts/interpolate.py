"""Interpolate zero-shot and fine-tuned weights (WiSE-FT).

    python scripts/interpolate.py                # alpha from the validation part
    python scripts/interpolate.py --alpha 0.4

Continues from the run in OUTPUT_DIR and writes the checkpoint to OUTPUT_DIR/wise_ft.
"""

import logging
from typing import Any

from rich.table import Table

from hf_newsmatch.arguments import InterpolateArguments, parse_arguments, set_up_logging, use_all_cores
from hf_newsmatch.checkpoints import weights_sha256
from hf_newsmatch.console import make_console
from hf_newsmatch.errors import NewsMatchError, exits_cleanly
from hf_newsmatch.experiment import Experiment
from hf_newsmatch.metrics.tables import metric_label
from hf_newsmatch.wise_ft import check_alpha, choose_alpha, interpolate, sweep_alpha

logger = logging.getLogger("hf_newsmatch.interpolate")


@exits_cleanly
def main() -> None:
    (args,) = parse_arguments(InterpolateArguments, description=__doc__.splitlines()[0])
    set_up_logging()
    use_all_cores()
    alpha = parse_alpha(args.alpha)
    experiment = Experiment.open(args.output_dir)
    if not experiment.has_model("fine_tuned"):
        raise NewsMatchError(f"{args.output_dir} has no fine-tuned model yet; run scripts/train.py first.")
    zero_shot, fine_tuned = experiment.checkpoint("zero_shot"), experiment.checkpoint("fine_tuned")

    chosen: dict[str, Any] = {"rule": "given"}
    if alpha is None:
        curve = sweep_alpha(
            zero_shot,
            fine_tuned,
            experiment.data().validation,
            text_fields=experiment.text_fields,
            batch_size=args.batch_size,
            zero_shot_revision=experiment.revision("zero_shot"),
        )
        alpha = choose_alpha(curve)
        chosen = {"rule": "highest validation recall@1, then mrr@100, then the smaller alpha", "curve": curve}
        make_console().print(curve_table(curve, alpha))

    folder = interpolate(
        zero_shot,
        fine_tuned,
        alpha,
        experiment.output_dir / "wise_ft",
        zero_shot_revision=experiment.revision("zero_shot"),
    )
    made = {"sha256": weights_sha256(folder), "endpoints": experiment.endpoints()}
    experiment.record["wise_ft"] = {"alpha": alpha, **chosen, **made}
    experiment.save()
    logger.info("The WiSE-FT model with alpha %g is in %s.", alpha, folder)


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


def curve_table(curve: list[dict[str, float]], chosen: float) -> Table:
    """The validation scores of each alpha, the chosen one marked."""
    table = Table(title="Validation part by alpha", caption="0 is zero-shot, 1 fine-tuned; ◀ the highest Recall@1.")
    for name in curve[0]:
        table.add_column(metric_label(name).replace("@", "\n@"), justify="right")
    table.add_column()
    for point in curve:
        alpha, *scores = point.values()
        mark = "◀" if alpha == chosen else ""
        table.add_row(f"{alpha:.1f}", *(f"{value:.3f}" for value in scores), mark, style="bold" if mark else None)
    return table


if __name__ == "__main__":
    main()
