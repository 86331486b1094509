"""The interpolate step: WiSE-FT models of an experiment, made in its folder and registered in its record."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..configs import InterpolateArguments
from ..errors import NewsMatchError
from ..merging import interpolation
from ..models.weights import check_replaceable, weights_sha256
from ..utils.files import temporary_folder
from .folder import Experiment
from .layout import alpha_folder
from .record import Endpoints, InterpolatedRecord, Record

if TYPE_CHECKING:
    from .alpha_choice import AlphaChoice


@dataclass
class Interpolation:
    """The models that a step made.

    Args:
        models (`dict[Path, InterpolatedRecord]`): Folder to the record of the model in it.
        choice ([`AlphaChoice`], *optional*): The sweep and the alpha, when a rule chose it.
    """

    models: dict[Path, InterpolatedRecord] = field(default_factory=dict)
    choice: "AlphaChoice | None" = None


def interpolate(experiment: Experiment, args: InterpolateArguments) -> Interpolation:
    """Interpolate between the base and the fine-tuned model, at given alphas or at one that a rule chooses.

    One alpha makes the experiment's `wise_ft`, several make a folder each. A chosen alpha's curve is written to
    `alpha_curve.csv`, `.png` and `.pdf`.

    Args:
        experiment ([`Experiment`]):
            The experiment, trained.
        args ([`InterpolateArguments`]):
            The alphas, or the rule.

    Raises:
        [`NewsMatchError`]: on arguments that do not go together, an alpha outside [0, 1], or models that are missing
            or have changed.
    """
    alphas = parse_alphas(args)
    if alphas is not None and args.per_tower:
        raise NewsMatchError("--per_tower searches the alphas itself; give none.")
    by_weight: dict[str, Any] = {
        "alpha_vision": args.alpha_vision,
        "alpha_text": args.alpha_text,
        "logit_scale_with": args.logit_scale_with,
        "alphas": interpolation.read_alphas(args.alphas_file) if args.alphas_file else None,
    }
    if not experiment.has_model("fine_tuned"):
        raise NewsMatchError(f"{experiment.output_dir} has no fine-tuned model yet; run `hf-newsmatch train` first.")
    made = Interpolation()
    recorded: dict[str, Any] = {"rule": "given"}
    if alphas is None:
        # imported here because a given alpha needs neither data nor models
        from .alpha_choice import choose_for_experiment

        made.choice = choose_for_experiment(experiment, args)
        recorded = made.choice.recorded
        if isinstance(made.choice.alpha, tuple):
            by_weight |= dict(zip(("alpha_vision", "alpha_text"), made.choice.alpha))
            alphas = []
        else:
            alphas = [made.choice.alpha]
    recorded |= {name: value for name, value in by_weight.items() if value is not None}
    options = {"extrapolate": args.extrapolate, "dtype": args.dtype, "max_shard_size": args.max_shard_size}
    if len(alphas) <= 1:
        folder = make_wise_ft(experiment, alphas[0] if alphas else None, recorded, **by_weight, **options)
        made.models[folder] = experiment.record.interpolated
        return made
    for alpha in alphas:
        folder = make_alpha(experiment, alpha, **options)
        made.models[folder] = experiment.record.alphas[folder.name]
    return made


def make_wise_ft(
    experiment: Experiment, alpha: float | None, recorded: dict[str, Any] | None = None, **options: Any
) -> Path:
    """Interpolate the experiment's own WiSE-FT model and record it.

    Args:
        experiment ([`Experiment`]):
            The experiment, trained.
        alpha (`float`, *optional*):
            As for [`merging.interpolate`].
        recorded (`dict`, *optional*):
            The fields of [`InterpolatedRecord`] that say how the alphas were chosen.
        options:
            As for [`merging.interpolate`].

    Returns:
        `Path`: the folder of the model.

    Raises:
        [`NewsMatchError`]: as [`merging.interpolate`], and when the base model has changed since the experiment began.
    """

    def record(record: Record, entry: InterpolatedRecord) -> None:
        record.wise_ft = entry

    return _interpolate(experiment, alpha, "wise_ft", record, recorded or {"rule": "given"}, options)


def make_alpha(experiment: Experiment, alpha: float, **options: Any) -> Path:
    """Interpolate one of several alphas into a folder of its own and record it.

    Args:
        experiment, alpha, options:
            As for [`make_wise_ft`].

    Returns:
        `Path`: the folder of the model, such as `wise_ft_alpha_0.40`.
    """
    name = alpha_folder(alpha)

    def record(record: Record, entry: InterpolatedRecord) -> None:
        record.alphas[name] = entry

    return _interpolate(experiment, alpha, name, record, {}, options)


def _interpolate(
    experiment: Experiment,
    alpha: float | None,
    name: str,
    record: Callable[[Record, InterpolatedRecord], None],
    recorded: dict[str, Any],
    options: dict[str, Any],
) -> Path:
    """Make a model beside its place, then move it there and `record` it as one step."""
    zero_shot, fine_tuned = experiment.checkpoint("zero_shot"), experiment.checkpoint("fine_tuned")
    endpoints, options = experiment.endpoints(), {"zero_shot_revision": experiment.revision("zero_shot"), **options}
    check_replaceable(experiment.layout.model(name))
    with temporary_folder(experiment.output_dir, name) as temporary:
        made = interpolation.interpolate(zero_shot, fine_tuned, alpha, temporary / name, **options)
        entry = InterpolatedRecord(alpha, weights_sha256(made), endpoints, **recorded)

        def change(now: Record) -> None:
            if Endpoints(now.base_model.sha256, None if now.train is None else now.train.sha256) != endpoints:
                raise NewsMatchError(
                    f"The fine-tuned model in {experiment.output_dir} was replaced meanwhile; run"
                    " `hf-newsmatch interpolate` again."
                )
            record(now, entry)

        return experiment.put_model(name, made, change)


def parse_alphas(args: InterpolateArguments) -> list[float] | None:
    """The numbers that `--alpha` gives, none of them when weights alone name their alphas; `None` for `auto`.

    Raises:
        [`NewsMatchError`]: on what is no alpha, an alpha twice, or flags that do not go together.
    """
    by_weight = [name for name in ("alpha_vision", "alpha_text", "alphas_file") if getattr(args, name) is not None]
    if args.logit_scale_with and not {"alpha_vision", "alpha_text"} & set(by_weight):
        raise NewsMatchError("--logit_scale_with goes with --alpha_vision and --alpha_text.")
    values = args.alpha or ([] if by_weight else ["auto"])
    if by_weight and (len(values) > 1 or values == ["auto"]):
        raise NewsMatchError(f"--{by_weight[0]} goes with one given --alpha or none, not with {' '.join(values)}.")
    if values == ["auto"]:
        return None
    alphas: list[float] = []
    for value in values:
        try:
            alpha = float(value)
        except ValueError:
            raise NewsMatchError(f"--alpha takes numbers from 0 to 1, or auto alone, not '{value}'.") from None
        interpolation.check_alpha(alpha, args.extrapolate)
        if alpha in alphas:
            raise NewsMatchError(f"--alpha names {alpha:g} twice.")
        alphas.append(alpha)
    return alphas
