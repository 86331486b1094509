"""Interpolation of weights between the zero-shot and the fine-tuned model: Equation 1 of the paper."""

import math
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import ml_dtypes
import numpy as np
from tqdm.auto import tqdm

from ..errors import NewsMatchError
from ..models.architectures import CLIP, Architecture, architecture_of
from ..models.loading import load_config
from ..models.tensors import write_weights
from ..models.weights import (
    Weights,
    base_of,
    check_replaceable,
    copy_settings,
    open_weights,
    raw_config,
)
from ..utils.files import atomic_path
from ..utils.yaml_files import read_yaml

if TYPE_CHECKING:
    import torch

Values = TypeVar("Values", np.ndarray, "torch.Tensor")

DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
# the weights of a tensor that are interpolated at a time, few enough for a processor's cache
_PIECE = 2**15
# settings that change the towers' computations but not the names and shapes of their weights
_HIDDEN_SETTINGS = {
    "text_config": ("num_attention_heads", "hidden_act", "layer_norm_eps"),
    "vision_config": ("num_attention_heads", "hidden_act", "layer_norm_eps", "image_size", "patch_size"),
}
# of other architectures than CLIP, as far as their configurations have them
_OTHER_SETTINGS = ("batch_norm_eps", "layer_norm_epsilon", "pooling_type", "max_position_embeddings", "model_type")
# the batches that a batch norm has seen in training: a count that no output depends on
_COUNTER = ".num_batches_tracked"
_SHOWN = 3


def equation_1(zero_shot: Values, fine_tuned: Values, alpha: float) -> Values:
    """Equation 1 of the paper: `(1 - alpha) * zero_shot + alpha * fine_tuned`.

    It takes arrays of NumPy and tensors of PyTorch alike, and overwrites both, which takes half the time of a new
    array for each step.
    """
    zero_shot *= 1 - alpha
    fine_tuned *= alpha
    zero_shot += fine_tuned
    return zero_shot


def interpolate_array(zero_shot: np.ndarray, fine_tuned: np.ndarray, alpha: float, dtype: np.dtype) -> np.ndarray:
    """Equation 1 for one array, in `dtype`.

    Each value is rounded once: in float32 alone, four roundings add up to more than the last place, and to any error
    where the two weights nearly cancel. At alpha 0 and 1 the input itself is returned, cast where the dtypes differ:
    the endpoints equal their inputs bit for bit. Integers, which both models have in common, stay as they are.
    """
    if not _is_floating(fine_tuned):
        return fine_tuned
    if alpha in (0, 1):
        return (fine_tuned if alpha else zero_shot).astype(dtype, copy=False)
    return equation_1(zero_shot.astype(np.float64), fine_tuned.astype(np.float64), alpha).astype(dtype)


def interpolate_tensor(zero_shot: "torch.Tensor", fine_tuned: "torch.Tensor", alpha: float) -> "torch.Tensor":
    """Equation 1 for one tensor on any device, as [`interpolate_array`], in the dtype of the fine-tuned tensor."""
    import torch

    if not fine_tuned.is_floating_point():
        return fine_tuned
    if alpha in (0, 1):
        return (fine_tuned if alpha else zero_shot).to(fine_tuned.dtype)
    exact = torch.float32 if fine_tuned.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
    first, second = (end.to(exact, copy=True) for end in (zero_shot, fine_tuned))
    return equation_1(first, second, alpha).to(fine_tuned.dtype)


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
    """Write the WiSE-FT model of Equation 1 as an ordinary checkpoint in safetensors.

    Both checkpoints are read, and the result is written, a piece of a tensor at a time.

    Args:
        zero_shot (`str` or `Path`):
            Hub id or folder of the model before fine-tuning.
        fine_tuned (`str` or `Path`):
            Hub id or folder of the model after it; its configuration, tokenizer and processor are copied.
        alpha (`float`):
            From 0 (zero-shot) to 1 (fine-tuned). `None` when the alphas below cover every weight.
        output_dir (`str` or `Path`):
            The folder to write; it appears whole or not at all. An empty folder or an older checkpoint is replaced.
        zero_shot_revision, fine_tuned_revision (`str`, *optional*):
            Branch, tag or commit of a model on the Hub.
        alpha_vision, alpha_text (`float`, *optional*):
            The alpha of one tower with its projection, in place of `alpha`.
        logit_scale_with (`str`, *optional*):
            `"vision"` or `"text"`: the tower whose alpha `logit_scale` takes. By default it takes `alpha` or, without
            one, the text tower's.
        alphas (`Mapping[str, float]`, *optional*):
            Alphas of the weights whose names match a pattern such as `"vision_model.encoder.layers.1?.*"`, in place
            of the alphas above; of several patterns that match, the last counts.
        extrapolate (`bool`, *optional*, defaults to `False`):
            Allow alphas below 0 and above 1.
        dtype (`str`, *optional*):
            `"float32"`, `"float16"` or `"bfloat16"`; by default that of the fine-tuned weights.
        max_shard_size (`int` or `str`, *optional*):
            Bytes, or a size such as `"2GB"`, above which the weights go to several files; one file by default.
        progress (`bool`, *optional*, defaults to `True`):
            Show a progress bar when the work takes longer than a second.

    Returns:
        `Path`: the folder, which `AutoModel.from_pretrained` and `AutoProcessor.from_pretrained` load.

    Raises:
        [`NewsMatchError`]: on an alpha outside [0, 1], a pattern without a match, a folder without a checkpoint, two
            checkpoints that do not fit or hold values that are no numbers, or an `output_dir` that holds something
            else.
    """
    choice = partial(_patterns, alpha, alpha_vision, alpha_text, logit_scale_with, alphas, extrapolate)
    choice(CLIP)  # what is wrong with the alphas is said before anything is read
    if dtype is not None and dtype not in DTYPES:
        raise NewsMatchError(f"There is no dtype '{dtype}' for weights; take one of {', '.join(DTYPES)}.")
    check_replaceable(output_dir)
    with (
        open_weights(zero_shot, zero_shot_revision) as theta_0,
        open_weights(fine_tuned, fine_tuned_revision) as theta_1,
    ):
        names = matching_names(theta_0, theta_1)
        architecture = architecture_of(raw_config(theta_1), theta_1.source)
        alpha_of = _alpha_of(names, choice(architecture))
        if set(alpha_of.values()) != {1}:
            check_trained(theta_0)
        layout = {name: _planned(theta_1.arrays[name], dtype) for name in names}
        total = sum(array.nbytes for array in layout.values())
        with (
            atomic_path(output_dir) as temporary,
            tqdm(total=total, desc="Interpolating", unit="B", unit_scale=True, delay=1, disable=not progress) as bar,
        ):

            def pieces(name: str) -> Iterator[np.ndarray]:
                ends = theta_0.arrays[name].reshape(-1), theta_1.arrays[name].reshape(-1)
                for start in range(0, ends[1].size, _PIECE):
                    rows = slice(start, start + _PIECE)
                    for theta, end in zip((theta_0, theta_1), ends):
                        check_finite(name, end[rows], theta.source)
                    piece = interpolate_array(ends[0][rows], ends[1][rows], alpha_of[name], layout[name].dtype)
                    yield piece
                    bar.update(piece.nbytes)

            temporary.mkdir()
            copy_settings(theta_1, temporary, dtype, other=theta_0)
            write_weights(temporary, layout, pieces, max_shard_size)
    return Path(output_dir)


def check_trained(theta_0: Weights) -> None:
    """Refuse a zero-shot model whose projections were never trained: nothing lies between chance and a model.

    Raises:
        [`NewsMatchError`]: saying what to do instead.
    """
    config = raw_config(theta_0)
    architecture = architecture_of(config, theta_0.source)
    if architecture.is_fresh(theta_0.arrays[architecture.temperature.name].item(), config):
        raise NewsMatchError(
            f"The projections of {theta_0.source} were never trained, so that it has no zero-shot meaning to"
            " interpolate with; take the fine-tuned model as it is, or train the projections alone first"
            " (--unfreeze_last_layers 0) and name that model as the base of another training."
        )


def check_finite(name: str, values: np.ndarray, source: str) -> None:
    """Refuse values of a weight that are NaN or infinite.

    Raises:
        [`NewsMatchError`]: naming the weight and the checkpoint, `source`.
    """
    if _is_floating(values) and not np.isfinite(values).all():
        raise NewsMatchError(
            f"The weight {name} of {source} has values that are no finite numbers; download it or train it again."
        )


def check_alpha(alpha: float, extrapolate: bool = False) -> None:
    """Raise a [`NewsMatchError`] for an alpha that is not a finite number, or lies outside [0, 1]."""
    if not (isinstance(alpha, Real) and math.isfinite(alpha)):
        raise NewsMatchError(f"The alpha must be a number between 0 (zero-shot) and 1 (fine-tuned), not {alpha!r}.")
    if not (extrapolate or 0 <= alpha <= 1):
        raise NewsMatchError(
            f"The alpha must lie between 0 (zero-shot) and 1 (fine-tuned), not at {alpha!r}; --extrapolate allows it."
        )


def read_alphas(file: str | Path) -> dict[str, float]:
    """Read alphas by pattern from a YAML file, as [`interpolate`] takes them.

    Raises:
        [`NewsMatchError`]: when there is no such file, or it does not map patterns to alphas.
    """
    alphas = read_yaml(file)
    if not (isinstance(alphas, dict) and alphas and all(isinstance(pattern, str) for pattern in alphas)) or any(
        isinstance(alpha, dict | list) for alpha in alphas.values()
    ):
        raise NewsMatchError(f"{file} must hold lines like `vision_model.encoder.layers.1?.*: 0.3`.")
    return alphas


def matching_names(theta_0: Weights, theta_1: Weights) -> list[str]:
    """The names of the weights of two checkpoints, in order, after a check that both agree.

    Raises:
        [`NewsMatchError`]: on a name that only one checkpoint has, a shape or an integer buffer that differs, or
            configurations by which equal weights would compute something else.
    """
    names_0, names_1 = set(theta_0.names), set(theta_1.names)
    shapes = {
        name: (theta_0.arrays[name].shape, theta_1.arrays[name].shape)
        for name in theta_1.names
        if name in names_0 and theta_0.arrays[name].shape != theta_1.arrays[name].shape
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
        pair = theta_0.arrays[name], theta_1.arrays[name]
        counts = name.endswith(_COUNTER)
        if not counts and not all(map(_is_floating, pair)) and not np.array_equal(*pair):
            raise NewsMatchError(
                f"The buffer '{name}' holds integers that differ between {theta_0.source} and {theta_1.source}; only"
                " floating-point weights can be interpolated."
            )
    return theta_1.names


def _first(items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more


def _config_differences(theta_0: Weights, theta_1: Weights) -> list[str]:
    first, second = (_hidden_settings(theta) for theta in (theta_0, theta_1))
    return [
        f"{name} is {first[name]} in the first and {second[name]} in the second"
        for name in first
        # a file that leaves out a setting of one kind of tower says nothing against the other
        if first[name] != second[name] and None not in (first[name], second[name])
    ]


def _hidden_settings(theta: Weights) -> dict[str, Any]:
    config = raw_config(theta)
    written = (set(config.get(tower) or {}) >= set(names) for tower, names in _HIDDEN_SETTINGS.items())
    if not all(written):
        # transformers knows the defaults that a file leaves out, but takes seconds to import
        config = load_config(theta.source, theta.revision).to_dict()
    return {
        f"{name} in {tower}": config[tower].get(name)
        for tower, names in _HIDDEN_SETTINGS.items()
        for name in (*names, *_OTHER_SETTINGS)
    }


def _patterns(
    alpha: float | None,
    alpha_vision: float | None,
    alpha_text: float | None,
    logit_scale_with: str | None,
    alphas: Mapping[str, float] | None,
    extrapolate: bool,
    architecture: Architecture,
) -> list[tuple[str, float]]:
    """Patterns of names with their alphas, from all the ways to give alphas; the last pattern that matches counts."""
    towers = {"vision": alpha_vision, "text": alpha_text}
    patterns = [("*", alpha)] if alpha is not None else []
    for tower, value in towers.items():
        if value is not None:
            patterns += [(pattern, value) for pattern in architecture.patterns(tower)]
    follows = logit_scale_with or ("text" if alpha is None else None)
    if follows is not None:
        if follows not in towers:
            raise NewsMatchError(f"The logit_scale goes with vision or text, not with '{follows}'.")
        own = towers[follows]
        if own is not None:
            patterns += [(name, own) for name in architecture.scalars]
        elif logit_scale_with:
            raise NewsMatchError(f"The logit_scale cannot go with the {follows} tower, which has no alpha of its own.")
    patterns += (alphas or {}).items()
    if not patterns:
        raise NewsMatchError("No alpha is given; name one with --alpha.")
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


def _is_floating(array: np.ndarray) -> bool:
    # numpy does not count bfloat16 among its floating types
    return array.dtype.kind not in "iub"


def _planned(array: np.ndarray, dtype: str | None) -> np.ndarray:
    """A stand-in for an interpolated array, of its shape and dtype, that takes no memory."""
    chosen = DTYPES[dtype] if dtype and _is_floating(array) else array.dtype
    return np.broadcast_to(np.empty((), chosen), array.shape)
