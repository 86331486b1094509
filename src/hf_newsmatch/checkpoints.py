"""Reading the weights of a checkpoint tensor by tensor, without building the model."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers import CLIPModel, CLIPProcessor
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file

from .errors import NewsMatchError, first_sentence
from .files import sha256
from .modeling import load_clip, load_config, load_processor, resolve_checkpoint

# Buffers that older versions of transformers saved among the weights: 0, 1, 2 … and no parameters.
_LEGACY_BUFFER = "position_ids"


class Weights:
    """The named tensors of one checkpoint, each read when asked for.

    Args:
        source (`str`):
            Hub id or folder, for messages and for copying the settings.
        readers (`Mapping[str, ...]`):
            Tensor name to what holds it: an open safetensors file or a plain dictionary.
    """

    def __init__(self, source: str, readers: Mapping[str, "safe_open | Mapping[str, torch.Tensor]"]):
        self.source = source
        self._readers = {name: reader for name, reader in readers.items() if not name.endswith(_LEGACY_BUFFER)}
        self.names = list(self._readers)

    def __getitem__(self, name: str) -> torch.Tensor:
        reader = self._readers[name]
        return reader[name] if isinstance(reader, Mapping) else reader.get_tensor(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        reader = self._readers[name]
        return tuple(reader[name].shape if isinstance(reader, Mapping) else reader.get_slice(name).get_shape())


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
        yield Weights(str(name_or_path), dict.fromkeys(state_dict, state_dict))
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
        yield Weights(str(name_or_path), readers)


def weight_files(name_or_path: str | Path, revision: str | None = None) -> list[Path]:
    """The safetensors file or shards of a checkpoint, downloaded when it is a Hub id; empty when it has none."""
    checkpoint = resolve_checkpoint(name_or_path)
    single = _find(checkpoint, SAFE_WEIGHTS_NAME, revision)
    if single:
        return [Path(single)]
    index = _find(checkpoint, SAFE_WEIGHTS_INDEX_NAME, revision)
    if not index:
        return []
    shards = dict.fromkeys(json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"].values())
    paths = {name: _find(checkpoint, name, revision) for name in shards}
    for name, path in paths.items():
        if path is None:
            raise NewsMatchError(f"The index of {name_or_path} names the shard {name}, which is not there.")
    return [Path(path) for path in paths.values()]


def weights_sha256(name_or_path: str | Path, revision: str | None = None) -> str | None:
    """What identifies the weights: the SHA-256 of the safetensors file or, of several, of theirs joined.

    `None` for a checkpoint without safetensors files.
    """
    import hashlib

    digests = [sha256(file) for file in weight_files(name_or_path, revision)]
    if len(digests) > 1:
        return hashlib.sha256("".join(digests).encode()).hexdigest()
    return digests[0] if digests else None


def copy_settings(weights: Weights, folder: Path) -> None:
    """Save the configuration, tokenizer and processor that belong to `weights` into `folder`."""
    config = load_config(weights.source)
    config.save_pretrained(folder)
    load_processor(weights.source, None, config).save_pretrained(folder)


def save_checkpoint(model: CLIPModel, processor: CLIPProcessor, folder: Path) -> None:
    """Save an ordinary CLIP checkpoint that `from_pretrained` loads, in safetensors alone."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _find(checkpoint: str, name: str, revision: str | None) -> str | None:
    try:
        return cached_file(
            checkpoint,
            name,
            revision=revision,
            _raise_exceptions_for_gated_repo=True,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except (OSError, ValueError) as error:
        raise NewsMatchError(f"No checkpoint in '{checkpoint}': {first_sentence(error)}.") from error
