"""Weights between the zero-shot and the fine-tuned model: Equation 1 of the paper."""

from numbers import Real
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from ..checkpoints import Weights, copy_settings, open_weights
from ..errors import NewsMatchError
from ..files import atomic_path


def interpolate_tensor(zero_shot: torch.Tensor, fine_tuned: torch.Tensor, alpha: float) -> torch.Tensor:
    """Equation 1 of the paper for one tensor: `(1 - alpha) * zero_shot + alpha * fine_tuned`.

    Computed in float32 and given in the fine-tuned one's dtype. At alpha 0 and 1 the input itself is copied, so that
    the endpoints are their inputs bit for bit.
    """
    if alpha == 0:
        return zero_shot.to(fine_tuned.dtype)
    if alpha == 1:
        return fine_tuned
    return ((1 - alpha) * zero_shot.float() + alpha * fine_tuned.float()).to(fine_tuned.dtype)


def interpolate(
    zero_shot: str | Path,
    fine_tuned: str | Path,
    alpha: float,
    output_dir: str | Path,
    zero_shot_revision: str | None = None,
) -> Path:
    """Write the WiSE-FT model of Equation 1 as an ordinary CLIP checkpoint in safetensors.

    Args:
        zero_shot (`str` or `Path`):
            Hub id or folder of the model before fine-tuning.
        fine_tuned (`str` or `Path`):
            Hub id or folder of the model after it; its configuration, tokenizer and processor go along.
        alpha (`float`):
            From 0 (zero-shot) to 1 (fine-tuned).
        output_dir (`str` or `Path`):
            The folder to write; it appears whole or not at all. An empty folder or another checkpoint is replaced.
        zero_shot_revision (`str`, *optional*):
            Branch, tag or commit of a zero-shot model on the Hub.

    Returns:
        `Path`: the folder, which `CLIPModel.from_pretrained` and `CLIPProcessor.from_pretrained` load.

    Raises:
        [`NewsMatchError`]: on an alpha outside [0, 1], a checkpoint that is none, two that do not fit, or an
            `output_dir` that holds something else.
    """
    check_alpha(alpha)
    _check_replaceable(Path(output_dir))
    with open_weights(zero_shot, zero_shot_revision) as theta_0, open_weights(fine_tuned) as theta_1:
        names = matching_names(theta_0, theta_1)
        with atomic_path(output_dir) as temporary:
            temporary.mkdir()
            copy_settings(theta_1, temporary)
            tensors = {name: interpolate_tensor(theta_0[name], theta_1[name], alpha).contiguous() for name in names}
            save_file(tensors, temporary / "model.safetensors", metadata={"format": "pt"})
    return Path(output_dir)


def check_alpha(alpha: float) -> None:
    """Refuse an alpha outside [0, 1], NaN, or what is no number, with a [`NewsMatchError`]."""
    if not (isinstance(alpha, Real) and 0 <= alpha <= 1):
        raise NewsMatchError(f"alpha must be a number between 0 (zero-shot) and 1 (fine-tuned), not {alpha!r}.")


def _check_replaceable(folder: Path) -> None:
    """Refuse to replace anything but an empty folder or a checkpoint, with a [`NewsMatchError`]."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    weights = (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME)
    if not ((folder / "config.json").is_file() and any((folder / name).is_file() for name in weights)):
        raise NewsMatchError(f"{folder} is no checkpoint and is not replaced by one; name another output_dir.")


def matching_names(theta_0: Weights, theta_1: Weights) -> list[str]:
    """The names of the weights that both checkpoints hold, in order, checked to agree.

    Raises:
        [`NewsMatchError`]: on a name that only one of them has, or a shape that differs.
    """
    names_0, names_1 = set(theta_0.names), set(theta_1.names)
    if names_0 != names_1:
        name = min(names_0 ^ names_1)
        has, lacks = (theta_0, theta_1) if name in names_0 else (theta_1, theta_0)
        raise NewsMatchError(
            f"{theta_0.source} and {theta_1.source} are not the same architecture: {len(names_0 ^ names_1)} weights"
            f" are in one only, first '{name}', which {has.source} has and {lacks.source} lacks."
        )
    for name in theta_1.names:
        if theta_0.shape(name) != theta_1.shape(name):
            raise NewsMatchError(
                f"{theta_0.source} and {theta_1.source} do not fit: '{name}' has shape {theta_0.shape(name)} in the"
                f" first and {theta_1.shape(name)} in the second."
            )
    return theta_1.names
