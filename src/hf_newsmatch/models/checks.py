"""What a checkpoint is that looks like a dual encoder's and would compute something else, or not be the same twice."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import NewsMatchError
from .architectures import architecture_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, ProcessorMixin

# What wrappers put before the names of weights: a model with a head, data-parallel training, torch.compile.
PREFIX = re.compile(r"^(?:(?:module|_orig_mod|clip)\.)+")
# Buffers that older versions of transformers saved among the weights.
_BUFFER = "position_ids"
ADAPTER_CONFIG = "adapter_config.json"
# Files that tell the layout of another library, and what to do about it.
_LAYOUTS = {
    "modules.json": "is laid out by sentence-transformers; name the CLIP inside it, such as its folder 0_CLIPModel",
    "open_clip_model.safetensors": "has weights of open_clip without their open_clip_config.json; put it beside them",
}
_OPENAI_EOS = 2  # in the configurations of OpenAI's: the text is read at its highest token


def find_file(checkpoint: str, name: str, revision: str | None = None, offline: bool = False) -> Path | None:
    """A file of a checkpoint, downloaded when that is a Hub id; `None` when it has none of that name."""
    if Path(checkpoint).is_dir():
        file = Path(checkpoint) / name
        return file if file.is_file() else None
    from transformers.utils import cached_file

    try:
        found = cached_file(
            checkpoint,
            name,
            revision=revision,
            local_files_only=offline,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except (OSError, ValueError):
        return None
    return Path(found) if found else None


def refuse_adapter(name_or_path: str | Path, checkpoint: str, revision: str | None = None) -> None:
    """Refuse an adapter, alone or beside weights: `transformers` applies it, and hash and interpolation see none.

    Raises:
        [`NewsMatchError`]: saying how to merge it.
    """
    if find_file(checkpoint, ADAPTER_CONFIG, revision):
        raise NewsMatchError(
            f"'{name_or_path}' holds an adapter ({ADAPTER_CONFIG}), not a whole model; merge it into its base"
            " (peft's merge_and_unload) and save that, or remove the adapter's files."
        )


def other_layout(name_or_path: str | Path, checkpoint: str, revision: str | None = None) -> str | None:
    """The sentence for a checkpoint in another library's layout; `None` for one that is in none."""
    for name, text in _LAYOUTS.items():
        if find_file(checkpoint, name, revision):
            return f"'{name_or_path}' {text}."
    return None


def scale_of_one_value(checkpoint: str, revision: str | None = None) -> "torch.Tensor | None":
    """The `logit_scale` of a checkpoint that has it as a list of one value; `None` where it is a scalar."""
    from safetensors import SafetensorError, safe_open

    file = find_file(checkpoint, "model.safetensors", revision)
    if file is None:
        return None
    try:
        with safe_open(file, framework="pt") as content:
            names = [name for name in content.keys() if PREFIX.sub("", name) == "logit_scale"]  # noqa: SIM118
            if names and content.get_slice(names[0]).get_shape() == [1]:
                return content.get_tensor(names[0])[0]
    except (OSError, SafetensorError):  # loading says what is wrong
        pass
    return None


def check_loaded(
    name_or_path: str | Path, model: "PreTrainedModel", report: dict[str, Any], strict: bool = False
) -> None:
    """Refuse loaded weights that are no numbers, and, with `strict`, weights that the model has no place for.

    Raises:
        [`NewsMatchError`]: naming the first such weight.
    """
    architecture = architecture_of(model.config, name_or_path)
    left = sorted(name for name in report["unexpected_keys"] if not name.endswith(_BUFFER))
    if strict and left:
        raise NewsMatchError(
            f"'{name_or_path}' has {len(left)} weights that {architecture.title} has not, first {left[0]}: a model"
            f" that is fine-tuned from it could not be interpolated with it; load it with"
            f" {architecture.model}.from_pretrained, save it, and name that folder."
        )
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            raise NewsMatchError(
                f"The weight {name} of '{name_or_path}' has values that are no finite numbers; download or save it"
                " again."
            )


def check_end_of_text(name_or_path: str | Path, config: "PreTrainedConfig", processor: "ProcessorMixin") -> None:
    """Refuse a tokenizer whose texts end in another token than the one that the model reads them at.

    A model that finds no such token takes the first one of each text, and all texts get the same embedding.

    Raises:
        [`NewsMatchError`]: naming both tokens.
    """
    tokens, end = processor.tokenizer("a b").input_ids, config.text_config.eos_token_id
    found = tokens.index(max(tokens)) if end == _OPENAI_EOS else tokens.index(end) if end in tokens else 0
    if found == 0:
        raise NewsMatchError(
            f"The model '{name_or_path}' reads a text at its token {end} (eos_token_id of the text_config) and the"
            f" tokenizer ends it with {tokens[-1]}, so that all texts would be the same; put the model's own tokenizer"
            " beside its weights, or correct eos_token_id in config.json."
        )
