"""Reading and writing the weights of a checkpoint tensor by tensor, without building the model."""

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from huggingface_hub import metadata_load, split_state_dict_into_shards_factory
from safetensors import SafetensorError, safe_open
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file
from yaml import YAMLError

from .errors import NewsMatchError, first_sentence
from .files import sha256
from .modeling import load_clip, resolve_checkpoint

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPProcessor

# Buffers that older versions of transformers saved among the weights: 0, 1, 2 … and no parameters.
_LEGACY_BUFFER = "position_ids"
_SIZE = re.compile(r"\d+(\.\d+)?\s*[KMGT]B", re.IGNORECASE)
# What the safetensors format calls the types of weights and buffers. Its library writes them in this order, wide ones
# first, so that every tensor is aligned.
_DTYPES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_IMAGE_FILES = ("processor_config.json", "preprocessor_config.json")
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt")
# What `CLIPProcessor.from_pretrained` reads beside these, as far as it is there.
_OTHER_FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja")


class Weights:
    """The named tensors of one checkpoint, each read when asked for.

    Args:
        source (`str`):
            Hub id or folder, for messages and for the settings beside the weights.
        readers (`Mapping[str, ...]`):
            Tensor name to what holds it: an open safetensors file or a plain dictionary.
        revision (`str`, *optional*):
            Branch, tag or commit of a Hub id.
    """

    def __init__(
        self,
        source: str,
        readers: Mapping[str, "safe_open | Mapping[str, torch.Tensor]"],
        revision: str | None = None,
    ):
        self.source = source
        self.revision = revision
        self._readers = {name: reader for name, reader in readers.items() if not name.endswith(_LEGACY_BUFFER)}
        self.names = list(self._readers)

    def __getitem__(self, name: str) -> torch.Tensor:
        """The tensor. Of a safetensors file it is a view into the mapped file, read when its values are used."""
        reader = self._readers[name]
        return reader[name] if isinstance(reader, Mapping) else reader.get_tensor(name)


@contextmanager
def open_weights(name_or_path: str | Path, revision: str | None = None) -> Iterator[Weights]:
    """Open a CLIP checkpoint's safetensors file or shards; through transformers when it has only a `.bin`.

    Args:
        name_or_path (`str` or `Path`):
            A folder, a Hub id, or `"demo"`.
        revision (`str`, *optional*):
            Branch, tag or commit of a Hub id.

    Raises:
        [`NewsMatchError`]: when there is no such checkpoint, it is no CLIP, or its file is damaged.
    """
    checkpoint = resolve_checkpoint(name_or_path)
    files = weight_files(name_or_path, revision)
    if not files:
        model, _ = load_clip(checkpoint, revision, dtype="auto")
        state_dict = model.state_dict()
        yield Weights(str(name_or_path), dict.fromkeys(state_dict, state_dict), revision)
        return
    with ExitStack() as stack:
        readers = {}
        for file in files:
            try:
                reader = stack.enter_context(safe_open(file, framework="pt"))
            except SafetensorError as error:
                raise NewsMatchError(f"{file} is damaged ({error}); download or save it again.") from error
            readers.update(dict.fromkeys(reader.keys(), reader))
        if "logit_scale" not in readers:
            raise NewsMatchError(f"{name_or_path} is no CLIP checkpoint: it has no weight named 'logit_scale'.")
        yield Weights(str(name_or_path), readers, revision)


def weight_files(name_or_path: str | Path, revision: str | None = None) -> list[Path]:
    """The safetensors file or shards of a checkpoint, downloaded when it is a Hub id; empty when it has none."""
    checkpoint = resolve_checkpoint(name_or_path)
    single = _find(checkpoint, SAFE_WEIGHTS_NAME, revision)
    if single:
        return [single]
    index = _find(checkpoint, SAFE_WEIGHTS_INDEX_NAME, revision)
    if not index:
        return []
    try:
        shards = dict.fromkeys(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NewsMatchError(f"{index} is damaged ({error!r}); download or save it again.") from error
    paths = {name: _find(checkpoint, name, revision) for name in shards}
    for name, path in paths.items():
        if path is None:
            raise NewsMatchError(f"The index of {name_or_path} names the shard {name}, which is not there.")
    return list(paths.values())


def holds_weights(folder: str | Path) -> bool:
    """Whether a folder has safetensors weights, one file or shards."""
    return any((Path(folder) / name).is_file() for name in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME))


def weights_sha256(name_or_path: str | Path, revision: str | None = None) -> str | None:
    """What identifies the weights: the SHA-256 of the safetensors file or, of several, of theirs joined.

    `None` for a checkpoint without safetensors files.
    """
    import hashlib

    digests = [sha256(file) for file in weight_files(name_or_path, revision)]
    if len(digests) > 1:
        return hashlib.sha256("".join(digests).encode()).hexdigest()
    return digests[0] if digests else None


def write_weights(
    folder: Path,
    layout: Mapping[str, torch.Tensor],
    pieces: Callable[[str], Iterable[torch.Tensor]],
    max_shard_size: int | str | None = None,
) -> None:
    """Stream weights into safetensors: first the header, then tensor after tensor, as they are made.

    The file is the one that `safetensors.torch.save_file` would write, byte for byte, but no more than a piece of a
    tensor has to be held.

    Args:
        folder (`Path`):
            Where `model.safetensors` goes, or the shards and their index.
        layout (`Mapping[str, torch.Tensor]`):
            Shape and dtype of each tensor; those on the `meta` device take no memory.
        pieces (`Callable`):
            Gives, for a name, the values of that tensor in order, as flat tensors of its dtype.
        max_shard_size (`int` or `str`, *optional*):
            Bytes, or a size such as `"2GB"`, above which a new shard begins; by default all is one file.

    Raises:
        [`NewsMatchError`]: on a size or dtype that is unknown, or a file that cannot be written.
    """
    for name, tensor in layout.items():
        if tensor.dtype not in _DTYPES:
            raise NewsMatchError(f"'{name}' is of {tensor.dtype}, which no CLIP checkpoint has.")
    if max_shard_size is None:
        max_shard_size = sum(tensor.nbytes for tensor in layout.values())
    elif not (isinstance(max_shard_size, int) or _SIZE.fullmatch(max_shard_size)):
        raise NewsMatchError(f"max_shard_size takes a size such as 500MB or 2GB, not '{max_shard_size}'.")
    split = split_state_dict_into_shards_factory(
        {name: layout[name] for name in sorted(layout)},
        get_storage_size=lambda tensor: tensor.nbytes,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=max_shard_size,
    )
    for file, names in split.filename_to_tensors.items():
        try:
            _write_file(folder / file, {name: layout[name] for name in names}, pieces)
        except OSError as error:
            raise NewsMatchError(f"{folder / file} cannot be written: {error.strerror}.") from error
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        (folder / SAFE_WEIGHTS_INDEX_NAME).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _write_file(
    file: Path, layout: Mapping[str, torch.Tensor], pieces: Callable[[str], Iterable[torch.Tensor]]
) -> None:
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(layout, key=lambda name: (list(_DTYPES).index(layout[name].dtype), name)):
        tensor, begin = layout[name], end
        end += tensor.nbytes
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    encoded += b" " * (-len(encoded) % 8)
    with open(file, "wb") as stream:
        stream.write(len(encoded).to_bytes(8, "little") + encoded)
        for name in list(header)[1:]:
            for piece in pieces(name):
                # as bytes, because numpy has no bfloat16
                stream.write(piece.contiguous().view(torch.uint8).numpy())


def copy_settings(weights: Weights, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Copy the configuration, tokenizer and processor that belong to `weights` into `folder`, as they are.

    Args:
        weights ([`Weights`]):
            The open checkpoint.
        folder (`Path`):
            Where to.
        dtype (`torch.dtype`, *optional*):
            What the weights in `folder` are of, when that is another than theirs: `from_pretrained` goes by it.

    Raises:
        [`NewsMatchError`]: when a file is missing without which the result would not load.
    """
    checkpoint = resolve_checkpoint(weights.source)
    names = ("config.json", *_IMAGE_FILES, *_TOKENIZER_FILES, *_OTHER_FILES)
    files = {name: file for name in names if (file := _find(checkpoint, name, weights.revision))}
    if not any(name in files for name in _IMAGE_FILES):
        raise NewsMatchError(
            f"'{weights.source}' has no {' or '.join(_IMAGE_FILES)}; put the model's own beside its weights."
        )
    tokenizer, *parts = _TOKENIZER_FILES
    if tokenizer not in files and not all(name in files for name in parts):
        raise NewsMatchError(
            f"'{weights.source}' has no tokenizer; put the model's own tokenizer.json, or vocab.json and merges.txt,"
            " beside its weights."
        )
    for name, file in files.items():
        shutil.copyfile(file, folder / name)
    if dtype is not None:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        for section in (config, *(config.get(tower) for tower in ("text_config", "vision_config"))):
            if section is not None:
                section.pop("torch_dtype", None)  # what older versions of transformers call it
                section.pop("dtype", None)
        config["dtype"] = str(dtype).removeprefix("torch.")
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def base_of(weights: Weights) -> str | None:
    """What a fine-tuned model came from, as far as that is recorded: in the run, its card or its configuration."""
    checkpoint = Path(resolve_checkpoint(weights.source))
    for file in (checkpoint / "newsmatch.json", checkpoint.parent / "newsmatch.json"):
        try:
            return json.loads(file.read_text(encoding="utf-8"))["base_model"]["id"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
    card, config = (_find(str(checkpoint), name, weights.revision) for name in ("README.md", "config.json"))
    try:
        base = (metadata_load(card) or {}).get("base_model") if card else None
    except (ValueError, YAMLError):
        base = None
    if isinstance(base, list):
        base = base[0] if base else None
    if not base and config:
        # transformers wrote it there until version 5
        base = json.loads(config.read_text(encoding="utf-8")).get("_name_or_path")
    return base or None


def save_checkpoint(model: "CLIPModel", processor: "CLIPProcessor", folder: Path) -> None:
    """Save an ordinary CLIP checkpoint that `from_pretrained` loads, in safetensors alone."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _find(checkpoint: str, name: str, revision: str | None) -> Path | None:
    """A file of a checkpoint, downloaded when that is a Hub id; `None` when it has no such file."""
    try:
        file = cached_file(
            checkpoint,
            name,
            revision=revision,
            _raise_exceptions_for_gated_repo=True,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except (OSError, ValueError) as error:
        raise NewsMatchError(f"No checkpoint in '{checkpoint}': {first_sentence(error)}.") from error
    return Path(file) if file else None
