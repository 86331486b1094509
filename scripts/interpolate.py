"""Interpolate zero-shot and fine-tuned weights (WiSE-FT).

    python scripts/interpolate.py                # alpha from the validation part
    python scripts/interpolate.py --alpha 0.4
    python scripts/interpolate.py --alpha 0.2 0.4 0.6
    python scripts/interpolate.py --alpha_vision 0.3 --alpha_text 0.6

Continues from the run in OUTPUT_DIR and writes the checkpoint to OUTPUT_DIR/wise_ft; of several alphas, each to a
folder of its own, such as OUTPUT_DIR/wise_ft_alpha_0.40.
"""

import logging
from typing import TYPE_CHECKING, Any

from hf_newsmatch.arguments import InterpolateArguments, parse_arguments, set_up_logging, use_all_cores
from hf_newsmatch.checkpoints import weights_sha256
from hf_newsmatch.errors import NewsMatchError, exits_cleanly
from hf_newsmatch.experiment import Experiment
from hf_newsmatch.wise_ft.interpolation import check_alpha, interpolate, read_alphas

if TYPE_CHECKING:
    from rich.table import Table

logger = logging.getLogger("hf_newsmatch.interpolate")


@exits_cleanly
def main() -> None:
    (args,) = parse_arguments(InterpolateArguments, description=__doc__.splitlines()[0])
    set_up_logging()
    use_all_cores()
    alphas = parse_alphas(args)
    by_weight = {
        "alpha_vision": args.alpha_vision,
        "alpha_text": args.alpha_text,
        "logit_scale_with": args.logit_scale_with,
        "alphas": read_alphas(args.alphas_file) if args.alphas_file else None,
    }
    experiment = Experiment.open(args.output_dir)
    if not experiment.has_model("fine_tuned"):
        raise NewsMatchError(f"{args.output_dir} has no fine-tuned model yet; run scripts/train.py first.")
    zero_shot, fine_tuned = experiment.checkpoint("zero_shot"), experiment.checkpoint("fine_tuned")

    chosen: dict[str, Any] = {
        "rule": "given",
        **{name: value for name, value in by_weight.items() if value is not None},
    }
    if alphas is None:
        # imported here because a given alpha needs neither data nor models
        from hf_newsmatch.console import make_console
        from hf_newsmatch.wise_ft.rules import choose_alpha
        from hf_newsmatch.wise_ft.sweep import sweep_alpha

        curve = sweep_alpha(
            zero_shot,
            fine_tuned,
            experiment.data().validation,
            text_fields=experiment.text_fields,
            batch_size=args.batch_size,
            zero_shot_revision=experiment.revision("zero_shot"),
        )
        alpha = choose_alpha(curve)
        alphas = [alpha]
        chosen = {"rule": "highest validation recall@1, then mrr@100, then the smaller alpha", "curve": curve}
        make_console().print(curve_table(curve, alpha))

    for alpha in alphas:
        name = "wise_ft" if len(alphas) == 1 else folder_name(alpha)
        folder = interpolate(
            zero_shot,
            fine_tuned,
            alpha,
            experiment.output_dir / name,
            zero_shot_revision=experiment.revision("zero_shot"),
            **by_weight,
            extrapolate=args.extrapolate,
            dtype=args.dtype,
            max_shard_size=args.max_shard_size,
        )
        made = {"sha256": weights_sha256(folder), "endpoints": experiment.endpoints()}
        if name == "wise_ft":
            experiment.record["wise_ft"] = {"alpha": alpha, **chosen, **made}
        else:
            experiment.record.setdefault("wise_ft_family", {})[name] = {"alpha": alpha, **made}
        experiment.save()
        which = "alphas by weight" if alpha is None else f"alpha {alpha:g}"
        logger.info("The WiSE-FT model with %s is in %s.", which, folder)


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


def folder_name(alpha: float) -> str:
    """Where the model of one alpha of several goes: two decimals, or more where there are more."""
    return f"wise_ft_alpha_{alpha:.2f}" if round(alpha, 2) == alpha else f"wise_ft_alpha_{alpha!r}"


def curve_table(curve: list[dict[str, float]], chosen: float) -> "Table":
    """The validation scores of each alpha, the chosen one marked."""
    from rich.table import Table

    from hf_newsmatch.metrics.tables import metric_label

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
