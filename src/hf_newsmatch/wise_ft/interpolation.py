"""Weights between the zero-shot and the fine-tuned model: Equation 1 of the paper."""

import math
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from numbers import Real
from pathlib import Path

import torch
import yaml
from tqdm.auto import tqdm

from ..checkpoints import Weights, base_of, copy_settings, holds_weights, open_weights, write_weights
from ..errors import NewsMatchError, first_sentence
from ..files import atomic_path
from ..modeling import load_config

TOWERS = {"vision": ("vision_model.*", "visual_projection.*"), "text": ("text_model.*", "text_projection.*")}
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# Weights of a tensor that are worked on at a time: few enough for a processor's cache, and no more than PyTorch leaves
# to one thread, since more threads wait for each other longer than they work.
_PIECE = 2**15
# What a tower computes with beside its weights, and their names and shapes do not show.
_HIDDEN_SETTINGS = ("num_attention_heads", "hidden_act", "layer_norm_eps", "image_size", "patch_size")
_SHOWN = 3


def interpolate_tensor(
    zero_shot: torch.Tensor, fine_tuned: torch.Tensor, alpha: float, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Equation 1 of the paper for one tensor: `(1 - alpha) * zero_shot + alpha * fine_tuned`.

    Each value is the formula's, rounded once: in float32 alone, four roundings add up to more than the last place, and
    to any error where the two nearly cancel. At alpha 0 and 1 the input itself is given, cast where the dtypes differ,
    so that the endpoints are their inputs bit for bit. Integers, which both have in common, stay as they are.

    Args:
        zero_shot, fine_tuned (`torch.Tensor`):
            Two tensors of one shape.
        alpha (`float`):
            From 0 (zero-shot) to 1 (fine-tuned).
        dtype (`torch.dtype`, *optional*):
            Of the result; the fine-tuned one's by default.
    """
    dtype = dtype or fine_tuned.dtype
    if not fine_tuned.is_floating_point():
        return fine_tuned
    if alpha == 0:
        return zero_shot.to(dtype)
    if alpha == 1:
        return fine_tuned.to(dtype)
    exact = torch.float32 if fine_tuned.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
    # in place, on copies: half the time of allocating each step's result
    terms = (zero_shot.to(exact, copy=True).mul_(1 - alpha), fine_tuned.to(exact, copy=True).mul_(alpha))
    return terms[0].add_(terms[1]).to(dtype)


def interpolate(
    zero_shot: str | Path,
    fine_tuned: str | Path,
    alpha: float | None,
    output_dir: str | Path,
    zero_shot_revision: str | None = None,
    *,
    fine_tuned_revision: str | None = None,
    alpha_vision: float | None = None,
    alpha_text: float | None = None,
    logit_scale_with: str | None = None,
    alphas: Mapping[str, float] | None = None,
    extrapolate: bool = False,
    dtype: str | None = None,
    max_shard_size: int | str | None = None,
    progress: bool = True,
) -> Path:
    """Write the WiSE-FT model of Equation 1 as an ordinary CLIP checkpoint in safetensors.

    Both checkpoints are read, and the result is written, a piece of a tensor at a time.

    Args:
        zero_shot (`str` or `Path`):
            Hub id or folder of the model before fine-tuning.
        fine_tuned (`str` or `Path`):
            Hub id or folder of the model after it; its configuration, tokenizer and processor go along.
        alpha (`float`):
            From 0 (zero-shot) to 1 (fine-tuned). `None` when the alphas below cover every weight.
        output_dir (`str` or `Path`):
            The folder to write; it appears whole or not at all. An empty folder or another checkpoint is replaced.
        zero_shot_revision, fine_tuned_revision (`str`, *optional*):
            Branch, tag or commit of a model on the Hub.
        alpha_vision, alpha_text (`float`, *optional*):
            Alpha of one tower with its projection, in place of `alpha`.
        logit_scale_with (`str`, *optional*):
            `"vision"` or `"text"`: the tower whose alpha `logit_scale` takes. By default it takes `alpha` or, without
            one, the text tower's.
        alphas (`Mapping[str, float]`, *optional*):
            Alpha of the weights whose names match a pattern such as `"vision_model.encoder.layers.1?.*"`, in place of
            those above; of several patterns that match, the last counts.
        extrapolate (`bool`, *optional*, defaults to `False`):
            Allow alphas below 0 and above 1.
        dtype (`str`, *optional*):
            `"float32"`, `"float16"` or `"bfloat16"`; by default each weight keeps the fine-tuned one's.
        max_shard_size (`int` or `str`, *optional*):
            Bytes, or a size such as `"2GB"`, above which the weights go to several files; one file by default.
        progress (`bool`, *optional*, defaults to `True`):
            Show a progress bar when it takes longer than a second.

    Returns:
        `Path`: the folder, which `CLIPModel.from_pretrained` and `CLIPProcessor.from_pretrained` load.

    Raises:
        [`NewsMatchError`]: on an alpha outside [0, 1], a pattern that matches nothing, a checkpoint that is none, two
            that do not fit, or an `output_dir` that holds something else.
    """
    choice = _patterns(alpha, alpha_vision, alpha_text, logit_scale_with, alphas, extrapolate)
    if dtype is not None and dtype not in DTYPES:
        raise NewsMatchError(f"There is no dtype '{dtype}' here; take one of {', '.join(DTYPES)}.")
    _check_replaceable(Path(output_dir))
    with (
        open_weights(zero_shot, zero_shot_revision) as theta_0,
        open_weights(fine_tuned, fine_tuned_revision) as theta_1,
    ):
        names = matching_names(theta_0, theta_1)
        alpha_of = _alpha_of(names, choice)
        layout = {name: _planned(theta_1[name], DTYPES[dtype] if dtype else None) for name in names}
        total = sum(tensor.nbytes for tensor in layout.values())
        with (
            atomic_path(output_dir) as temporary,
            tqdm(total=total, desc="Interpolating", unit="B", unit_scale=True, delay=1, disable=not progress) as bar,
        ):

            def pieces(name: str) -> Iterator[torch.Tensor]:
                both = (theta[name].flatten().split(_PIECE) for theta in (theta_0, theta_1))
                for piece_0, piece_1 in zip(*both):
                    piece = interpolate_tensor(piece_0, piece_1, alpha_of[name], layout[name].dtype)
                    yield piece
                    bar.update(piece.nbytes)

            temporary.mkdir()
            copy_settings(theta_1, temporary, DTYPES[dtype] if dtype else None)
            write_weights(temporary, layout, pieces, max_shard_size)
    return Path(output_dir)


def check_alpha(alpha: float, extrapolate: bool = False) -> None:
    """Refuse an alpha outside [0, 1], NaN, or what is no number, with a [`NewsMatchError`]."""
    if not (isinstance(alpha, Real) and math.isfinite(alpha)):
        raise NewsMatchError(f"alpha must be a number between 0 (zero-shot) and 1 (fine-tuned), not {alpha!r}.")
    if not (extrapolate or 0 <= alpha <= 1):
        raise NewsMatchError(
            f"alpha must lie between 0 (zero-shot) and 1 (fine-tuned), not at {alpha!r}; --extrapolate allows it."
        )


def read_alphas(file: str | Path) -> dict[str, float]:
    """Read alphas by pattern from a YAML file, as [`interpolate`] takes them.

    Raises:
        [`NewsMatchError`]: when there is no such file, or it is no list of patterns with their alphas.
    """
    try:
        alphas = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise NewsMatchError(f"{file} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise NewsMatchError(f"{file} is not YAML: {first_sentence(error)}.") from error
    if not (isinstance(alphas, dict) and alphas and all(isinstance(pattern, str) for pattern in alphas)):
        raise NewsMatchError(f"{file} is to hold lines like `vision_model.encoder.layers.1?.*: 0.3`.")
    return alphas


def matching_names(theta_0: Weights, theta_1: Weights) -> list[str]:
    """The names of the weights that both checkpoints hold, in order, checked to agree.

    Raises:
        [`NewsMatchError`]: on a name that only one of them has, a shape or an integer buffer that differs, or a
            configuration by which equal weights would mean something else.
    """
    names_0, names_1 = set(theta_0.names), set(theta_1.names)
    shapes = {
        name: (tuple(theta_0[name].shape), tuple(theta_1[name].shape))
        for name in theta_1.names
        if name in names_0 and theta_0[name].shape != theta_1[name].shape
    }
    differences = []
    for theta, only in ((theta_0, names_0 - names_1), (theta_1, names_1 - names_0)):
        if only:
            differences.append(f"only {theta.source} has {_first(sorted(only))}")
    if shapes:
        sizes = [f"{name} {list(first)} and {list(second)}" for name, (first, second) in shapes.items()]
        differences.append(f"of another shape are {_first(sizes)}")
    differences = differences or _config_differences(theta_0, theta_1)
    if differences:
        base = base_of(theta_1)
        origin = f"; {theta_1.source} was fine-tuned from {base}" if base else ""
        raise NewsMatchError(
            f"{theta_0.source} and {theta_1.source} do not fit together: {'; '.join(differences)}{origin}."
        )
    for name in theta_1.names:
        pair = theta_0[name], theta_1[name]
        if not all(tensor.is_floating_point() for tensor in pair) and not torch.equal(*pair):
            raise NewsMatchError(
                f"The buffer '{name}' holds integers that differ between {theta_0.source} and {theta_1.source}: there"
                " is nothing between them."
            )
    return theta_1.names


def _first(items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more


def _config_differences(theta_0: Weights, theta_1: Weights) -> list[str]:
    configs = [load_config(theta.source, theta.revision) for theta in (theta_0, theta_1)]
    differences = []
    for tower in ("text_config", "vision_config"):
        for setting in _HIDDEN_SETTINGS:
            first, second = (getattr(getattr(config, tower), setting, None) for config in configs)
            if first != second:
                differences.append(f"{setting} in {tower} is {first} in the first and {second} in the second")
    return differences


def _patterns(
    alpha: float | None,
    alpha_vision: float | None,
    alpha_text: float | None,
    logit_scale_with: str | None,
    alphas: Mapping[str, float] | None,
    extrapolate: bool,
) -> list[tuple[str, float]]:
    """All the ways to name alphas as one: patterns of names, each with its alpha; the last that matches counts."""
    towers = {"vision": alpha_vision, "text": alpha_text}
    patterns = [("*", alpha)] if alpha is not None else []
    for tower, value in towers.items():
        if value is not None:
            patterns += [(pattern, value) for pattern in TOWERS[tower]]
    follows = logit_scale_with or ("text" if alpha is None else None)
    if follows is not None:
        if follows not in towers:
            raise NewsMatchError(f"logit_scale goes with vision or text, not with '{follows}'.")
        if towers[follows] is not None:
            patterns.append(("logit_scale", towers[follows]))
        elif logit_scale_with:
            raise NewsMatchError(f"logit_scale cannot go with the {follows} tower, which has no alpha of its own.")
    patterns += (alphas or {}).items()
    if not patterns:
        raise NewsMatchError("No alpha is given.")
    for _, value in patterns:
        check_alpha(value, extrapolate)
    return patterns


def _alpha_of(names: Sequence[str], patterns: Sequence[tuple[str, float]]) -> dict[str, float]:
    """The alpha of each weight."""
    chosen = {}
    for pattern, alpha in patterns:
        matched = [name for name in names if fnmatchcase(name, pattern)]
        if not matched:
            raise NewsMatchError(f"The pattern '{pattern}' matches no weight; their names are like '{names[0]}'.")
        chosen.update(dict.fromkeys(matched, alpha))
    left = [name for name in names if name not in chosen]
    if left:
        raise NewsMatchError(f"No alpha is given for {_first(left)}; name one with --alpha for the rest.")
    return chosen


def _planned(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    """What becomes of a fine-tuned tensor, without its values."""
    dtype = dtype if dtype and tensor.is_floating_point() else tensor.dtype
    return torch.empty(tensor.shape, dtype=dtype, device="meta")


def _check_replaceable(folder: Path) -> None:
    """Refuse to replace anything but an empty folder or a checkpoint, with a [`NewsMatchError`]."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not ((folder / "config.json").is_file() and holds_weights(folder)):
        raise NewsMatchError(f"{folder} is no checkpoint and is not replaced by one; name another output_dir.")
