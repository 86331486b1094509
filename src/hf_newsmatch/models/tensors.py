"""Tensors in safetensors files, mapped into memory and written piece by piece."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from huggingface_hub import split_state_dict_into_shards_factory
from safetensors import SafetensorError, safe_open
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME

from ..errors import NewsMatchError

# PyTorch takes a second to import and is only needed where a model is
if TYPE_CHECKING:
    import torch

_SIZE = re.compile(r"\d+(\.\d+)?\s*[KMGT]B", re.IGNORECASE)
# What the safetensors format calls the types of weights and buffers. Its library writes them in this order, wide ones
# first, so that every tensor is aligned.
_DTYPES = {
    "I64": np.dtype(np.int64),
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "I32": np.dtype(np.int32),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F16": np.dtype(np.float16),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}


def mapped(file: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file as views into it; what is written into them stays in memory."""
    try:
        with safe_open(file, framework="np"):
            pass  # the library knows best what a sound file is
    except SafetensorError as error:
        raise NewsMatchError(f"{file} is damaged ({error}); download or save it again.") from error
    content = np.memmap(file, mode="c")
    begin = 8 + int.from_bytes(content[:8].tobytes(), "little")
    header = json.loads(content[8:begin].tobytes())
    header.pop("__metadata__", None)
    arrays = {}
    for name, tensor in header.items():
        if tensor["dtype"] not in _DTYPES:
            raise NewsMatchError(f"'{name}' in {file} is of type {tensor['dtype']}, which no checkpoint here has.")
        first, last = (begin + offset for offset in tensor["data_offsets"])
        values = np.frombuffer(content[first:last], dtype=_DTYPES[tensor["dtype"]])
        arrays[name] = values.reshape(tensor["shape"])
    return arrays


def as_array(tensor: "torch.Tensor") -> np.ndarray:
    """A tensor as an array that shares its memory."""
    import torch

    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
    return tensor.contiguous().numpy()


def write_weights(
    folder: Path,
    layout: Mapping[str, np.ndarray],
    pieces: Callable[[str], Iterable[np.ndarray]],
    max_shard_size: int | str | None = None,
) -> None:
    """Stream weights into safetensors: first the header, then tensor after tensor, as they are made.

    The file is the one that `safetensors.torch.save_file` would write, byte for byte, but no more than a piece of a
    tensor has to be held.

    Args:
        folder (`Path`):
            Where `model.safetensors` goes, or the shards and their index.
        layout (`Mapping[str, np.ndarray]`):
            Arrays of the shape and dtype of each tensor; their values do not count.
        pieces (`Callable`):
            Gives, for a name, the values of that tensor in order, as flat arrays of its dtype.
        max_shard_size (`int` or `str`, *optional*):
            Bytes, or a size such as `"2GB"`, above which a new shard begins; by default all is one file.

    Raises:
        [`NewsMatchError`]: on a size or dtype that is unknown, or a file that cannot be written.
    """
    if max_shard_size is None:
        max_shard_size = sum(array.nbytes for array in layout.values())
    elif not (isinstance(max_shard_size, int) or _SIZE.fullmatch(max_shard_size)):
        raise NewsMatchError(f"max_shard_size takes a size such as 500MB or 2GB, not '{max_shard_size}'.")
    split = split_state_dict_into_shards_factory(
        {name: layout[name] for name in sorted(layout)},
        get_storage_size=lambda array: array.nbytes,
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


def _write_file(file: Path, layout: Mapping[str, np.ndarray], pieces: Callable[[str], Iterable[np.ndarray]]) -> None:
    header: dict[str, dict[str, Any]] = {"__metadata__": {"format": "pt"}}
    end = 0
    places = {dtype: (place, code) for place, (code, dtype) in enumerate(_DTYPES.items())}
    for name in sorted(layout, key=lambda name: (places[layout[name].dtype][0], name)):
        array, begin = layout[name], end
        end += array.nbytes
        code = places[array.dtype][1]
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [begin, end]}
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    encoded += b" " * (-len(encoded) % 8)
    with open(file, "wb") as stream:
        stream.write(len(encoded).to_bytes(8, "little") + encoded)
        for name in list(header)[1:]:
            for piece in pieces(name):
                # as bytes, because Python knows no bfloat16
                stream.write(np.ascontiguousarray(piece).view(np.uint8).data)
