"""Loading dual encoders, from a folder or the Hub."""

import logging
import pickle
from collections.abc import Iterator
from contextlib import AbstractContextManager
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import NewsMatchError, explain, first_sentence, shortened
from .architectures import Architecture, architecture_of
from .checks import PREFIX, check_end_of_text, check_loaded, other_layout, refuse_adapter, scale_of_one_value
from .converted import commit_of, converted, is_open_clip
from .inputs import image_inputs

# PyTorch and transformers' models are imported where they are needed: that takes seconds, and interpolating weights
# needs none
if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, ProcessorMixin

logger = logging.getLogger(__name__)

# The name under which the checkpoint inside the package goes, where a Hub id or a folder is expected.
DEMO_MODEL = "demo"
# What no model exceeds, by the end of a setting's name: larger ones would take the memory or hours before they fail.
_LIMITS = {"num_hidden_layers": 512, "num_attention_heads": 4096, "image_size": 8192, "_size": 2**24, "_dim": 2**24}
_MAX_PIXELS = 8192  # of a side, to which a processor may bring pictures
_PROCESSOR = "tokenizer or image processor"


def named_checkpoint(name_or_path: str | Path) -> str:
    """The folder or Hub id a user means: `"demo"` is the tiny CLIP inside the package, all else stays as it is."""
    if str(name_or_path) == DEMO_MODEL:
        return str(files("hf_newsmatch") / "demo" / "clip")
    return str(name_or_path)


def resolve_checkpoint(name_or_path: str | Path, revision: str | None = None, offline: bool = False) -> str:
    """The folder or Hub id that is loaded: what a user names, or what it was converted to from open_clip's layout.

    Args:
        name_or_path (`str` or `Path`):
            A folder, a Hub id, or `"demo"`.
        revision (`str`, *optional*):
            Branch, tag or commit of a Hub id.
        offline (`bool`, *optional*, defaults to `False`):
            Whether to look at nothing but this machine for a Hub id.

    Raises:
        [`NewsMatchError`]: on a checkpoint of open_clip that cannot be converted.
    """
    checkpoint = named_checkpoint(name_or_path)
    return converted(checkpoint, revision, offline) if is_open_clip(checkpoint, revision, offline) else checkpoint


def best_device() -> "torch.device":
    """The accelerator when there is one, as accelerate finds it, else the CPU."""
    import torch

    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def is_local(name_or_path: str | Path) -> bool:
    """Whether a checkpoint is a folder on this machine (or the one inside the package) rather than a Hub id."""
    return Path(named_checkpoint(name_or_path)).is_dir()


def load_config(name_or_path: str | Path, revision: str | None = None) -> "PreTrainedConfig":
    """Load the configuration of a dual encoder's checkpoint.

    Raises:
        [`NewsMatchError`]: when there is no such checkpoint, or it is no dual encoder that is known.
    """
    from transformers import AutoConfig

    checkpoint = resolve_checkpoint(name_or_path, revision)
    refuse_adapter(name_or_path, checkpoint, revision)
    try:
        with _explained(name_or_path):
            config = AutoConfig.from_pretrained(checkpoint, revision=revision)
    except NewsMatchError as error:
        if layout := other_layout(name_or_path, checkpoint, revision):
            raise NewsMatchError(layout) from error
        raise
    try:
        architecture = architecture_of(config, name_or_path)
    except NewsMatchError as error:
        if layout := other_layout(name_or_path, checkpoint, revision):
            raise NewsMatchError(layout) from error
        raise
    _check_sizes(name_or_path, config, architecture)
    if checkpoint != named_checkpoint(name_or_path):
        config._commit_hash = commit_of(named_checkpoint(name_or_path), revision)
    return config


def _check_sizes(name_or_path: str | Path, config: "PreTrainedConfig", architecture: Architecture) -> None:
    """Refuse sizes that no model has before anything of such a size is made."""
    settings = [("", config), ("text_config.", config.text_config), ("vision_config.", config.vision_config)]
    for prefix, section in settings:
        for name, value in section.to_dict().items():
            limit = next((limit for end, limit in _LIMITS.items() if name.endswith(end)), None)
            at_end = architecture.reads_at_end and prefix == "text_config."
            if at_end and name == "eos_token_id" and not isinstance(value, int):
                raise NewsMatchError(
                    f"No checkpoint of a dual encoder in '{name_or_path}': its config.json has a {prefix}{name} that"
                    " is no number."
                )
            if limit is not None and isinstance(value, int) and not 1 <= value <= limit:
                raise NewsMatchError(
                    f"No checkpoint of a dual encoder in '{name_or_path}': its config.json has a {prefix}{name} of"
                    f" {shortened(str(value), 20)}, which no model has."
                )


def load_model(
    name_or_path: str | Path,
    revision: str | None = None,
    dtype: "torch.dtype | str" = "float32",
    strict: bool = False,
) -> "tuple[PreTrainedModel, ProcessorMixin]":
    """Load the checkpoint of a dual encoder and its processor.

    Weights come in float32 unless asked otherwise: `transformers` keeps a checkpoint's own dtype, and training in
    half precision loses small updates. Texts are cut at the model's own context (77 tokens for OpenAI's CLIP),
    whatever the tokenizer's files say. Pictures are prepared by Pillow: the pixels must not depend on torchvision.

    Args:
        name_or_path (`str` or `Path`):
            A folder, a Hub id, or `"demo"`.
        revision (`str`, *optional*):
            Branch, tag or commit of a Hub id.
        dtype (`torch.dtype` or `str`, *optional*, defaults to `"float32"`):
            The dtype of the weights.
        strict (`bool`, *optional*, defaults to `False`):
            Whether to refuse weights that the model has no place for, as a training does.

    Returns:
        `tuple[PreTrainedModel, ProcessorMixin]`, the model in evaluation mode on the CPU, of one of the classes in
        [`ARCHITECTURES`].

    Raises:
        [`NewsMatchError`]: when there is no such checkpoint, or it is no dual encoder that is known.
    """
    config = load_config(name_or_path, revision)
    architecture = architecture_of(config, name_or_path)
    model = build_model(name_or_path, revision, dtype, config, strict)
    processor = load_processor(name_or_path, revision, config)
    if architecture.reads_at_end:
        check_end_of_text(name_or_path, config, processor)
    if architecture.is_fresh(getattr(model, architecture.temperature.name).item(), config):
        logger.warning(
            "The projections of '%s' were never trained, its logit_scale is still the initial one: until they are, its"
            " rankings are chance.",
            name_or_path,
        )
    return model, processor


# its name before it loaded more than CLIP
load_clip = load_model


def build_model(
    name_or_path: str | Path,
    revision: str | None,
    dtype: "torch.dtype | str",
    config: "PreTrainedConfig",
    strict: bool = False,
) -> "PreTrainedModel":
    """Load the model of a checkpoint whose configuration is known, in evaluation mode.

    A checkpoint that has a pickle alone (`pytorch_model.bin`) is read by PyTorch's restricted loader, which takes
    tensors and nothing that could run.

    Raises:
        [`NewsMatchError`]: when the weights cannot be read, or they and the configuration do not fit.
    """
    import transformers

    architecture = architecture_of(config, name_or_path)
    checkpoint = resolve_checkpoint(name_or_path, revision)
    # SigLIP has a list of one value by nature
    scale = None if architecture.bias else scale_of_one_value(checkpoint, revision)
    with _explained(name_or_path):
        model, report = getattr(transformers, architecture.model).from_pretrained(
            checkpoint,
            config=config,
            revision=revision,
            dtype=dtype,
            output_loading_info=True,
            weights_only=True,
            key_mapping={PREFIX.pattern: ""},
            ignore_mismatched_sizes=scale is not None,
        )
    if scale is not None:
        other = sorted(name for name, *_ in report["mismatched_keys"] if name != "logit_scale")
        if other:
            raise NewsMatchError(
                f"The weight {other[0]} of '{name_or_path}' is of another size than its config.json says; put the"
                " config.json of these weights beside them."
            )
        model.logit_scale.data.fill_(scale)
    # published without it, and then it is the configuration's
    optional = set() if architecture.temperature.is_logarithm else {architecture.temperature.name}
    missing = sorted(set(report["missing_keys"]) - optional)
    if missing:
        raise NewsMatchError(
            f"The checkpoint '{name_or_path}' lacks {len(missing)} weights of its own configuration, first"
            f" {missing[0]}; download or save it again."
        )
    # a weight of a tower that the model has no place for: the configuration names fewer layers
    left = sorted(name for name in report["unexpected_keys"] if ".layers." in name)
    if left:
        raise NewsMatchError(
            f"The checkpoint '{name_or_path}' has {len(left)} weights that its config.json has no place for, first"
            f" {left[0]}; put the config.json of these weights beside them."
        )
    check_loaded(name_or_path, model, report, strict)
    return model.eval()


def load_processor(name_or_path: str | Path, revision: str | None, config: "PreTrainedConfig") -> "ProcessorMixin":
    """Load the processor of a checkpoint whose configuration is known; its tokenizer cuts texts where the model does.

    Raises:
        [`NewsMatchError`]: when there is none, or its tokenizer is not the model's: without its files, `transformers`
            makes up one that knows two tokens and takes every word for the end of the text.
    """
    architecture = architecture_of(config, name_or_path)
    with _explained(name_or_path, _PROCESSOR):
        processor = _read_processor(resolve_checkpoint(name_or_path, revision), revision, architecture)
    # a table of embeddings may be padded beyond the vocabulary, but not to twice its size
    size, rows = len(processor.tokenizer), config.text_config.vocab_size
    if not rows / 2 < size <= rows:
        raise NewsMatchError(
            f"The tokenizer of '{name_or_path}' knows {size} tokens and the model {rows}; put the model's own"
            " tokenizer.json, or vocab.json and merges.txt, beside its weights."
        )
    _check_pixels(name_or_path, processor, config, architecture)
    tokenizer = processor.tokenizer
    tokenizer.model_max_length = architecture.text_length(config, tokenizer.model_max_length)
    return processor


def _read_processor(checkpoint: str, revision: str | None, architecture: Architecture) -> "ProcessorMixin":
    import transformers

    processor_class = getattr(transformers, architecture.processor)
    if architecture.image_processor is None:
        return processor_class.from_pretrained(checkpoint, revision=revision, backend="pil")
    module, _, name = architecture.image_processor.partition(":")
    images = getattr(import_module(module), name).from_pretrained(checkpoint, revision=revision)
    return processor_class(images, transformers.AutoTokenizer.from_pretrained(checkpoint, revision=revision))


def _check_pixels(
    name_or_path: str | Path, processor: "ProcessorMixin", config: "PreTrainedConfig", architecture: Architecture
) -> None:
    """Try the image processor on a small picture: what it gives must be what the model reads."""
    import numpy as np
    import PIL.Image

    image_processor, vision = processor.image_processor, config.vision_config
    size = _image_size(vision)
    sides = [side for name in ("size", "crop_size") for side in _sides(getattr(image_processor, name, None))]
    shape: tuple[float, ...] = (3, max(sides, default=0), max(sides, default=0))
    sound = all(1 <= side <= max(_MAX_PIXELS, 4 * (size or 0)) for side in sides)
    if sound:
        with _explained(name_or_path, _PROCESSOR), np.errstate(all="ignore"):
            picture = PIL.Image.new("RGB", (4, 3), "gray")
            made = image_inputs(processor, [picture], architecture)["pixel_values"][0]
        shape = tuple(made.shape)
        if not made.isfinite().all():
            raise NewsMatchError(
                f"The image processor of '{name_or_path}' makes pixels that are no numbers; its image_std is 0."
            )
    if len(shape) == 2:  # patches of a picture of its own aspect ratio
        expected = 3 * vision.patch_size**2
        if shape[-1] != expected:
            raise NewsMatchError(
                f"The image processor of '{name_or_path}' makes patches of {shape[-1]} numbers and its model reads"
                f" {expected}; put the model's own preprocessor_config.json beside its weights."
            )
    elif not sound or (size is not None and shape != (3, size, size)):
        raise NewsMatchError(
            f"The image processor of '{name_or_path}' makes pictures of {shape[-2]} x {shape[-1]} pixels and its model"
            f" reads {size} x {size}; put the model's own preprocessor_config.json beside its weights."
        )


def _image_size(vision: "PreTrainedConfig") -> int | None:
    """The side of the pictures that a vision tower reads; `None` for one that reads any, such as convolutions."""
    size = getattr(vision, "image_size", None)
    return size if isinstance(size, int) and getattr(vision, "patch_size", None) is not None else None


def _sides(size: Any) -> Iterator[float]:
    """The lengths in pixels that a processor's setting names."""
    # it is a mapping of transformers' own, which is no dict
    values = dict(size).values() if size is not None else ()
    return (value for value in values if isinstance(value, int | float) and value == value)  # no NaN


def _explained(name_or_path: str | Path, files: str | None = None) -> AbstractContextManager[None]:
    """A context that turns whatever transformers trips over in foreign files, named `files`, into one sentence."""
    return explain(Exception, sentence=lambda error: _explanation(name_or_path, files, error))


def _explanation(name_or_path: str | Path, files: str | None, error: Exception) -> str | None:
    name = shortened(str(name_or_path))
    if isinstance(error, ImportError):  # a package is missing, the checkpoint may be sound
        return f"'{name}' cannot be loaded: {first_sentence(error)}; install what is missing."
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return f"The checkpoint '{name}' needs more memory than there is; its config.json may not be its own."
    if isinstance(error, pickle.UnpicklingError):
        return (
            f"The weights of '{name}' are a pickle (pytorch_model.bin) of more than tensors, which could run foreign"
            " code and is not opened; save them as safetensors."
        )
    if "ignore_mismatched_sizes" in str(error):
        return (
            f"The weights of '{name}' are of other sizes than its config.json says; put the config.json of these"
            " weights beside them."
        )
    if files and is_local(name_or_path):
        return f"The {files} of '{name}' cannot be read ({_said(error)}); put the model's own beside its weights."
    return no_checkpoint(name_or_path, error)


def _said(error: Exception) -> str:
    """What an error says, with its kind where it is a key alone."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    said = first_sentence(error)
    return f"{type(error).__name__} {said}" if isinstance(error, KeyError) else said


def no_checkpoint(name_or_path: str | Path, error: Exception) -> str:
    """The sentence for a checkpoint that cannot be read; a name that is no folder may have been meant for either."""
    name, said = shortened(str(name_or_path)), _said(error)
    if Path(named_checkpoint(name_or_path)).exists():
        return f"No checkpoint of a dual encoder in '{name}': {said}."
    return f"There is neither a folder '{name}' nor a checkpoint of that name on the Hub that can be read ({said})."
