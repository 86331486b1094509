"""Interpolate zero-shot and fine-tuned weights (WiSE-FT).

    python scripts/interpolate.py                                    # alpha from the validation part
    python scripts/interpolate.py --alpha_rule one_standard_error    # or time_robust, forward_chaining
    python scripts/interpolate.py --per_tower true                   # search an alpha for each tower
    python scripts/interpolate.py --alpha 0.4
    python scripts/interpolate.py --alpha 0.2 0.4 0.6
    python scripts/interpolate.py --alpha_vision 0.3 --alpha_text 0.6

Continues from the run in OUTPUT_DIR and writes the checkpoint to OUTPUT_DIR/wise_ft; of several alphas, each to a
folder of its own, such as OUTPUT_DIR/wise_ft_alpha_0.40. When alpha is chosen, the curve with 95 % intervals goes to
OUTPUT_DIR/alpha_curve.csv, and a picture of it to alpha_curve.png and .pdf.
"""

import logging
from collections.abc import Sequence
from typing import Any

from ..configs import InterpolateArguments
from ..errors import NewsMatchError, exits_cleanly
from ..experiment.folder import Experiment
from ..experiment.merging import interpolate_run
from ..merging.interpolation import check_alpha, read_alphas
from .parser import parse_arguments
from .terminal import set_up_logging, use_all_cores

logger = logging.getLogger("hf_newsmatch.interpolate")


@exits_cleanly
def main(argv: Sequence[str] | None = None) -> None:
    (args,) = parse_arguments(InterpolateArguments, description=__doc__.splitlines()[0], argv=argv)
    set_up_logging()
    use_all_cores()
    alphas = parse_alphas(args)
    if alphas is not None and args.per_tower:
        raise NewsMatchError("--per_tower searches the alphas itself; give none.")
    by_weight = {
        "alpha_vision": args.alpha_vision,
        "alpha_text": args.alpha_text,
        "logit_scale_with": args.logit_scale_with,
        "alphas": read_alphas(args.alphas_file) if args.alphas_file else None,
    }
    experiment = Experiment.open(args.output_dir)
    if not experiment.has_model("fine_tuned"):
        raise NewsMatchError(f"{args.output_dir} has no fine-tuned model yet; run scripts/train.py first.")

    chosen: dict[str, Any] = {
        "rule": "given",
        **{name: value for name, value in by_weight.items() if value is not None},
    }
    if alphas is None:
        # imported here because a given alpha needs neither data nor models
        from ..experiment.alpha_choice import choose_for_run

        alpha, chosen = choose_for_run(experiment, args)
        if args.per_tower:
            towers = dict(zip(("alpha_vision", "alpha_text"), alpha))
            by_weight |= towers
            alpha, chosen = None, {**towers, **chosen}
        alphas = [alpha]

    for alpha in alphas:
        name = interpolate_run(
            experiment,
            alpha,
            "wise_ft" if len(alphas) == 1 else None,
            chosen,
            **by_weight,
            extrapolate=args.extrapolate,
            dtype=args.dtype,
            max_shard_size=args.max_shard_size,
        )
        which = "alphas by weight" if alpha is None else f"alpha {alpha:g}"
        logger.info("The WiSE-FT model with %s is in %s.", which, experiment.output_dir / name)


def parse_alphas(args: InterpolateArguments) -> list[float | None] | None:
    """The numbers that `--alpha` gives, or None for `auto`; one None when the alphas are named by weight alone."""
    by_weight = [name for name in ("alpha_vision", "alpha_text", "alphas_file") if getattr(args, name) is not None]
    if args.logit_scale_with and not {"alpha_vision", "alpha_text"} & set(by_weight):
        raise NewsMatchError("--logit_scale_with goes with --alpha_vision and --alpha_text.")
    values = args.alpha or ([] if by_weight else ["auto"])
    if by_weight and (len(values) > 1 or values == ["auto"]):
        raise NewsMatchError(f"--{by_weight[0]} goes with one given --alpha or none, not with {' '.join(values)}.")
    if values == ["auto"]:
        return None
    alphas = []
    for value in values:
        try:
            alpha = float(value)
        except ValueError:
            raise NewsMatchError(f"--alpha takes numbers from 0 to 1, or auto alone, not '{value}'.") from None
        check_alpha(alpha, args.extrapolate)
        if alpha in alphas:
            raise NewsMatchError(f"--alpha names {alpha:g} twice.")
        alphas.append(alpha)
    return alphas or [None]
