"""Loading CLIP checkpoints, from a folder or the Hub."""

from contextlib import AbstractContextManager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from ..errors import NewsMatchError, explain, first_sentence
from .checks import PREFIX, check_end_of_text, check_loaded, other_layout, refuse_adapter, scale_of_one_value

# PyTorch and transformers' models are imported where they are needed: that takes seconds, and interpolating weights
# needs none
if TYPE_CHECKING:
    import torch
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor

# The name under which the checkpoint inside the package goes, where a Hub id or a folder is expected.
DEMO_MODEL = "demo"


def resolve_checkpoint(name_or_path: str | Path) -> str:
    """The folder or Hub id a user means: `"demo"` is the tiny CLIP inside the package, all else stays as it is."""
    if str(name_or_path) == DEMO_MODEL:
        return str(files("hf_newsmatch") / "demo" / "clip")
    return str(name_or_path)


def best_device() -> "torch.device":
    """The accelerator when there is one, as accelerate finds it, else the CPU."""
    import torch

    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def is_local(name_or_path: str | Path) -> bool:
    """Whether a checkpoint is a folder on this machine (or the one inside the package) rather than a Hub id."""
    return Path(resolve_checkpoint(name_or_path)).is_dir()


def load_config(name_or_path: str | Path, revision: str | None = None) -> "CLIPConfig":
    """Load the configuration of a CLIP checkpoint.

    Raises:
        [`NewsMatchError`]: when there is no such checkpoint, or it is no CLIP.
    """
    from transformers import AutoConfig

    checkpoint = resolve_checkpoint(name_or_path)
    refuse_adapter(name_or_path, checkpoint, revision)
    try:
        with _explained(name_or_path):
            config = AutoConfig.from_pretrained(checkpoint, revision=revision)
    except NewsMatchError as error:
        if layout := other_layout(name_or_path, checkpoint, revision):
            raise NewsMatchError(layout) from error
        raise
    if config.model_type != "clip":
        if layout := other_layout(name_or_path, checkpoint, revision):
            raise NewsMatchError(layout)
        raise NewsMatchError(
            f"'{name_or_path}' is a '{config.model_type}' checkpoint, not CLIP; name one like"
            " openai/clip-vit-base-patch32."
        )
    return config


def load_clip(
    name_or_path: str | Path,
    revision: str | None = None,
    dtype: "torch.dtype | str" = "float32",
    strict: bool = False,
) -> "tuple[CLIPModel, CLIPProcessor]":
    """Load a CLIP checkpoint and its processor.

    Weights come in float32 unless asked otherwise: `transformers` keeps a checkpoint's own dtype, and training in
    half precision loses small updates. Texts are cut at the model's own context (77 tokens for OpenAI's), whatever the
    tokenizer's files say. Pictures are prepared by Pillow: the pixels must not depend on torchvision being there.

    Args:
        name_or_path (`str` or `Path`):
            A folder, a Hub id, or `"demo"`.
        revision (`str`, *optional*):
            Branch, tag or commit of a Hub id.
        dtype (`torch.dtype` or `str`, *optional*, defaults to `"float32"`):
            The dtype of the weights.
        strict (`bool`, *optional*, defaults to `False`):
            Whether to refuse weights that CLIP has not, as a training does.

    Returns:
        `tuple[CLIPModel, CLIPProcessor]`, the model in evaluation mode on the CPU.

    Raises:
        [`NewsMatchError`]: when there is no such checkpoint, or it is no CLIP.
    """
    from transformers import CLIPModel

    config = load_config(name_or_path, revision)
    checkpoint = resolve_checkpoint(name_or_path)
    scale = scale_of_one_value(checkpoint, revision)
    with _explained(name_or_path):
        model, report = CLIPModel.from_pretrained(
            checkpoint,
            config=config,
            revision=revision,
            dtype=dtype,
            output_loading_info=True,
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
    processor = load_processor(name_or_path, revision, config)
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise NewsMatchError(
            f"The checkpoint '{name_or_path}' lacks {len(missing)} weights of its own configuration, first"
            f" {missing[0]}; download or save it again."
        )
    check_loaded(name_or_path, model, report, strict)
    check_end_of_text(name_or_path, config, processor)
    processor.tokenizer.model_max_length = config.text_config.max_position_embeddings
    return model.eval(), processor


def load_processor(name_or_path: str | Path, revision: str | None, config: "CLIPConfig") -> "CLIPProcessor":
    """Load the processor of a CLIP checkpoint whose configuration is known.

    Raises:
        [`NewsMatchError`]: when there is none, or its tokenizer is not the model's: without its files, `transformers`
            makes up one that knows two tokens and takes every word for the end of the text.
    """
    from transformers import CLIPProcessor

    with _explained(name_or_path):
        processor = CLIPProcessor.from_pretrained(resolve_checkpoint(name_or_path), revision=revision, backend="pil")
    # a table of embeddings may be padded beyond the vocabulary, but not to twice its size
    size, rows = len(processor.tokenizer), config.text_config.vocab_size
    if not rows / 2 < size <= rows:
        raise NewsMatchError(
            f"The tokenizer of '{name_or_path}' knows {size} tokens and the model {rows}; put the model's own"
            " tokenizer.json, or vocab.json and merges.txt, beside its weights."
        )
    return processor


def _explained(name_or_path: str | Path) -> AbstractContextManager[None]:
    return explain(
        OSError,
        ValueError,
        SafetensorError,
        sentence=lambda error: f"No CLIP checkpoint in '{name_or_path}': {first_sentence(error)}.",
    )
