"""The WiSE-FT models of a run: made in its folder and registered in its record."""

from typing import Any

from ..merging.interpolation import interpolate
from ..models.weights import weights_sha256
from .folder import ALPHA_FOLDER, Experiment


def interpolate_run(
    experiment: Experiment,
    alpha: float | None,
    name: str | None = None,
    chosen: dict[str, Any] | None = None,
    **options,
) -> str:
    """Interpolate between the two models of a run, into its folder, and record what the result was made of.

    Args:
        experiment ([`Experiment`]):
            The run, trained.
        alpha (`float`, *optional*):
            As for [`interpolate`].
        name (`str`, *optional*):
            The folder: `"wise_ft"` is the run's own model; by default it is one of several, by [`folder_name`].
        chosen (`dict`, *optional*):
            What else is recorded of the run's own model.
        options:
            As for [`interpolate`].

    Returns:
        `str`: the name of the folder in that of the run.

    Raises:
        [`NewsMatchError`]: as [`interpolate`], and when the base model has changed since the run began.
    """
    name = name or folder_name(alpha)
    folder = interpolate(
        experiment.checkpoint("zero_shot"),
        experiment.checkpoint("fine_tuned"),
        alpha,
        experiment.output_dir / name,
        zero_shot_revision=experiment.revision("zero_shot"),
        **options,
    )
    made = {"sha256": weights_sha256(folder), "endpoints": experiment.endpoints()}
    if name == "wise_ft":
        experiment.record["wise_ft"] = {"alpha": alpha, **(chosen or {}), **made}
    else:
        experiment.record.setdefault("wise_ft_family", {})[name] = {"alpha": alpha, **made}
    experiment.save()
    return name


def is_current(experiment: Experiment, name: str) -> bool:
    """Whether one of several models is there as it was made, of the two models that are there now."""
    made, folder = experiment.record.get("wise_ft_family", {}).get(name), experiment.output_dir / name
    return (
        made is not None
        and made["endpoints"] == experiment.endpoints()
        and folder.is_dir()
        and made["sha256"] == weights_sha256(folder)
    )


def folder_name(alpha: float) -> str:
    """Where the model of one alpha of several goes: two decimals, or more where there are more."""
    return f"{ALPHA_FOLDER}{alpha:.2f}" if round(alpha, 2) == alpha else f"{ALPHA_FOLDER}{alpha!r}"
