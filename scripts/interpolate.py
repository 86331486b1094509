"""Interpolate zero-shot and fine-tuned weights (WiSE-FT).

    python scripts/interpolate.py                                    # alpha from the validation part
    python scripts/interpolate.py --alpha 0.4
    python scripts/interpolate.py --alpha_rule one_standard_error    # or time_robust, forward_chaining
    python scripts/interpolate.py --per_tower true                   # search an alpha for each tower

Continues from the run in OUTPUT_DIR and writes the checkpoint to OUTPUT_DIR/wise_ft. When alpha is chosen, the curve
with 95 % intervals goes to OUTPUT_DIR/alpha_curve.csv, and a picture of it to alpha_curve.png and .pdf.
"""

import logging
from typing import Any

from hf_newsmatch.arguments import InterpolateArguments, parse_arguments, set_up_logging, use_all_cores
from hf_newsmatch.checkpoints import weights_sha256
from hf_newsmatch.errors import NewsMatchError, exits_cleanly
from hf_newsmatch.experiment import Experiment
from hf_newsmatch.wise_ft.interpolation import check_alpha, interpolate

logger = logging.getLogger("hf_newsmatch.interpolate")


@exits_cleanly
def main() -> None:
    (args,) = parse_arguments(InterpolateArguments, description=__doc__.splitlines()[0])
    set_up_logging()
    use_all_cores()
    alpha = parse_alpha(args.alpha)
    if alpha is not None and args.per_tower:
        raise NewsMatchError("--per_tower searches the alphas itself; leave --alpha out.")
    experiment = Experiment.open(args.output_dir)
    if not experiment.has_model("fine_tuned"):
        raise NewsMatchError(f"{args.output_dir} has no fine-tuned model yet; run scripts/train.py first.")

    chosen: dict[str, Any] = {"rule": "given"}
    by_tower = {}
    if alpha is None:
        # imported here because a given alpha needs neither data nor models
        from hf_newsmatch.wise_ft.choosing import choose_for_run

        alpha, chosen = choose_for_run(experiment, args)
        if args.per_tower:
            by_tower = dict(zip(("alpha_vision", "alpha_text"), alpha))
            alpha, chosen = None, {**by_tower, **chosen}

    folder = interpolate(
        experiment.checkpoint("zero_shot"),
        experiment.checkpoint("fine_tuned"),
        alpha,
        experiment.output_dir / "wise_ft",
        zero_shot_revision=experiment.revision("zero_shot"),
        **by_tower,
    )
    made = {"sha256": weights_sha256(folder), "endpoints": experiment.endpoints()}
    experiment.record["wise_ft"] = {"alpha": alpha, **chosen, **made}
    experiment.save()
    which = (
        "alpha {alpha_vision:g} (vision) and {alpha_text:g} (text)".format(**by_tower)
        if by_tower
        else f"alpha {alpha:g}"
    )
    logger.info("The WiSE-FT model with %s is in %s.", which, folder)


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


if __name__ == "__main__":
    main()
