"""Reading and writing the weights of a checkpoint tensor by tensor, without building the model."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from huggingface_hub import metadata_load
from transformers.utils import (
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
    cached_file,
)
from yaml import YAMLError

from ..errors import NewsMatchError, first_sentence
from ..utils.files import is_file_name, sha256
from .architectures import architecture_of
from .checks import PREFIX, refuse_adapter
from .inputs import save_processor
from .loading import build_model, load_config, no_checkpoint, resolve_checkpoint
from .tensors import as_array, mapped

# PyTorch takes a second to import and is only needed where a model is
if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, ProcessorMixin

# Buffers that older versions of transformers saved among the weights: 0, 1, 2 … and no parameters.
_LEGACY_BUFFER = "position_ids"
_IMAGE_FILES = ("processor_config.json", "preprocessor_config.json")
# The vocabulary of a tokenizer: one of these, or both of the last.
_WHOLE_TOKENIZERS = ("tokenizer.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
_TOKENIZER_FILES = (*_WHOLE_TOKENIZERS, "vocab.json", "merges.txt")
# What `CLIPProcessor.from_pretrained` reads beside these, as far as it is there.
_TEXT_FILES = (
    *_TOKENIZER_FILES,
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
)

# What `from_pretrained` applies to the weights where the first of these lies beside them.
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")


class Weights:
    """The named tensors of one checkpoint, each read when asked for.

    Args:
        source (`str`):
            Hub id or folder, for messages and for the settings beside the weights.
        arrays (`Mapping[str, np.ndarray]`):
            The tensors by name, views into mapped files where possible.
        revision (`str`, *optional*):
            Branch, tag or commit of a Hub id.
    """

    def __init__(self, source: str, arrays: Mapping[str, np.ndarray], revision: str | None = None):
        self.source = source
        self.revision = revision
        self.arrays = {name: array for name, array in arrays.items() if not name.endswith(_LEGACY_BUFFER)}
        self.names = list(self.arrays)

    def __getitem__(self, name: str) -> "torch.Tensor":
        """A tensor that shares the memory of the array: of a safetensors file, it is read when it is used."""
        import torch

        array = self.arrays[name]
        if array.dtype == ml_dtypes.bfloat16:
            return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
        return torch.from_numpy(array)


@contextmanager
def open_weights(name_or_path: str | Path, revision: str | None = None) -> Iterator[Weights]:
    """Open a checkpoint's safetensors file or shards; through transformers when it has only a `.bin`.

    Args:
        name_or_path (`str` or `Path`):
            A folder, a Hub id, or `"demo"`.
        revision (`str`, *optional*):
            Branch, tag or commit of a Hub id.

    Raises:
        [`NewsMatchError`]: when there is no such checkpoint, it is no dual encoder's, or its file is damaged.
    """
    checkpoint = resolve_checkpoint(name_or_path, revision)
    refuse_adapter(name_or_path, checkpoint, revision)
    files = weight_files(name_or_path, revision)
    if not files:
        model = build_model(name_or_path, revision, "auto", load_config(name_or_path, revision))
        yield Weights(str(name_or_path), {name: as_array(t) for name, t in model.state_dict().items()}, revision)
        return
    arrays = {PREFIX.sub("", name): array for file in files for name, array in mapped(file).items()}
    weights = Weights(str(name_or_path), arrays, revision)
    architecture = architecture_of(raw_config(weights), name_or_path)
    temperature = architecture.temperature.name
    if temperature not in arrays:
        initial = raw_config(weights).get(f"{temperature}_init_value")
        if architecture.temperature.is_logarithm or not isinstance(initial, float):
            raise NewsMatchError(
                f"{name_or_path} is no checkpoint of a dual encoder: it has no weight named '{temperature}'."
            )
        # published without it, and then it is the configuration's
        weights = Weights(str(name_or_path), {**arrays, temperature: np.array(initial, np.float32)}, revision)
    elif architecture.bias is None and arrays[temperature].shape == (1,):
        weights.arrays[temperature] = arrays[temperature].reshape(())  # as some libraries save it
    yield weights


def weight_files(name_or_path: str | Path, revision: str | None = None) -> list[Path]:
    """The safetensors file or shards of a checkpoint, downloaded when it is a Hub id; empty when it has none."""
    return _files_of(name_or_path, revision, SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME)


def _files_of(
    name_or_path: str | Path, revision: str | None, whole: str, index_name: str, offline: bool = False
) -> list[Path]:
    """The file named `whole` of a checkpoint, or the shards that the file `index_name` names; empty without both."""
    checkpoint = resolve_checkpoint(name_or_path, revision, offline)
    single = _find(checkpoint, whole, revision, offline)
    if single:
        return [single]
    index = _find(checkpoint, index_name, revision, offline)
    if not index:
        return []
    try:
        shards = dict.fromkeys(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        if not all(isinstance(name, str) and is_file_name(name) for name in shards):
            # a name is another's data: it must not lead out of the checkpoint
            raise ValueError("a shard is no file beside it")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NewsMatchError(f"{index} is damaged ({_reason(error)}); download or save it again.") from error
    paths = []
    for name in shards:
        path = _find(checkpoint, name, revision, offline)
        if path is None:
            if offline:  # a Hub checkpoint that was downloaded in part
                return []
            raise NewsMatchError(f"The index of {name_or_path} names the shard {name}, which is not there.")
        paths.append(path)
    return paths


def holds_weights(folder: str | Path) -> bool:
    """Whether a folder has safetensors weights, one file or shards."""
    return any((Path(folder) / name).is_file() for name in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME))


def weights_sha256(name_or_path: str | Path, revision: str | None = None, offline: bool = False) -> str | None:
    """What identifies the weights: the SHA-256 of the safetensors file or, of several, of theirs joined.

    Those of an adapter that transformers would apply count among them, and pickled weights where there are no others.

    Args:
        name_or_path, revision:
            As for [`open_weights`].
        offline (`bool`, *optional*, defaults to `False`):
            Whether to look at nothing but this machine for a Hub id.

    Returns:
        `str`, or `None` for a checkpoint without weights.
    """
    files = _files_of(name_or_path, revision, SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, offline)
    files = files or _files_of(name_or_path, revision, WEIGHTS_NAME, WEIGHTS_INDEX_NAME, offline)
    checkpoint = resolve_checkpoint(name_or_path, revision, offline)
    if files and _find(checkpoint, _ADAPTER_FILES[0], revision, offline):
        adapter = (_find(checkpoint, name, revision, offline) for name in _ADAPTER_FILES)
        files += [file for file in adapter if file is not None]
    digests = [sha256(file) for file in files]
    if len(digests) > 1:
        return hashlib.sha256("".join(digests).encode()).hexdigest()
    return digests[0] if digests else None


def copy_settings(weights: Weights, folder: Path, dtype: str | None = None, other: Weights | None = None) -> None:
    """Copy the configuration, tokenizer and processor that belong to `weights` into `folder`, as they are.

    Args:
        weights ([`Weights`]):
            The open checkpoint.
        folder (`Path`):
            Where to.
        dtype (`str`, *optional*):
            What the weights in `folder` are of, when that is another than theirs: `from_pretrained` goes by it.
        other ([`Weights`], *optional*):
            A checkpoint of the same model, whose processor or tokenizer is taken when `weights` has none.

    Raises:
        [`NewsMatchError`]: when a file is missing without which the result would not load.
    """
    sources = [weights] if other is None else [weights, other]
    settings = _settings(weights, ("config.json",))
    images = next((found for source in sources if (found := _settings(source, _IMAGE_FILES))), {})
    tokenizer = next((found for source in sources if _is_tokenizer(found := _settings(source, _TEXT_FILES))), {})
    who = f"'{weights.source}' has no" if other is None else f"Neither '{weights.source}' nor '{other.source}' has a"
    if not images:
        raise NewsMatchError(f"{who} {' or '.join(_IMAGE_FILES)}; put the model's own beside its weights.")
    if not tokenizer:
        raise NewsMatchError(
            f"{who} tokenizer; put the model's own tokenizer.json, or vocab.json and merges.txt, beside its weights."
        )
    for name, file in {**settings, **images, **tokenizer}.items():
        shutil.copyfile(file, folder / name)
    if dtype is not None:
        config = raw_config(weights)
        for section in (config, *(config.get(tower) for tower in ("text_config", "vision_config"))):
            if section is not None:
                section.pop("torch_dtype", None)  # what older versions of transformers call it
                section.pop("dtype", None)
        config["dtype"] = dtype
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _settings(weights: Weights, names: Iterable[str]) -> dict[str, Path]:
    """Those of some files that a checkpoint has, by name."""
    checkpoint = resolve_checkpoint(weights.source, weights.revision)
    return {name: file for name in names if (file := _find(checkpoint, name, weights.revision))}


def _is_tokenizer(files: Mapping[str, Path]) -> bool:
    return any(name in files for name in _WHOLE_TOKENIZERS) or {"vocab.json", "merges.txt"} <= files.keys()


def raw_config(weights: Weights) -> dict[str, Any]:
    """The configuration of a checkpoint as its file has it, without the defaults that it leaves out.

    Raises:
        [`NewsMatchError`]: when there is none, or it is no JSON.
    """
    file = _find(resolve_checkpoint(weights.source, weights.revision), "config.json", weights.revision)
    if file is None:
        raise NewsMatchError(f"No checkpoint of a dual encoder in '{weights.source}': it has no config.json.")
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        raise NewsMatchError(f"{file} is no configuration: {_reason(error)}.") from error


def base_of(weights: Weights) -> str | None:
    """What a fine-tuned model came from, as far as that is recorded: in the run, its card or its configuration."""
    checkpoint = Path(resolve_checkpoint(weights.source, weights.revision))
    for file in (checkpoint / "newsmatch.json", checkpoint.parent / "newsmatch.json"):
        try:
            base = json.loads(file.read_text(encoding="utf-8"))["base_model"]["id"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if base is None or isinstance(base, str):
            return base
    card = _find(str(checkpoint), "README.md", weights.revision)
    try:
        base = (metadata_load(card) or {}).get("base_model") if card else None
    except (OSError, ValueError, YAMLError, RecursionError):
        base = None
    if isinstance(base, list):
        base = base[0] if base else None
    # where transformers wrote it until version 5
    base = base or raw_config(weights).get("_name_or_path") or None
    return base if isinstance(base, str) else None


def check_replaceable(folder: str | Path) -> None:
    """Refuse to replace anything but an empty folder or a checkpoint by a checkpoint.

    Raises:
        [`NewsMatchError`]: naming what is in the way.
    """
    folder = Path(folder)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not ((folder / "config.json").is_file() and holds_weights(folder)):
        raise NewsMatchError(f"{folder} is no checkpoint and is not replaced by one; name another folder.")


def save_checkpoint(model: "PreTrainedModel", processor: "ProcessorMixin", folder: Path) -> None:
    """Save an ordinary checkpoint that `from_pretrained` loads, in safetensors alone."""
    model.save_pretrained(folder)
    save_processor(processor, folder)


def _find(checkpoint: str, name: str, revision: str | None, offline: bool = False) -> Path | None:
    """A file of a checkpoint, downloaded when that is a Hub id; `None` when it has no such file."""
    try:
        file = cached_file(
            checkpoint,
            name,
            revision=revision,
            local_files_only=offline,
            _raise_exceptions_for_gated_repo=True,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except (OSError, ValueError) as error:
        raise NewsMatchError(no_checkpoint(checkpoint, error)) from error
    return Path(file) if file else None


def _reason(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else first_sentence(error)
