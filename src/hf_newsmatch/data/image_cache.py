"""Pictures decoded, resized and cropped once for all epochs, kept as bytes in a memory-mapped file."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import PIL.Image
import torch
from datasets import Dataset, Features, List, Value
from transformers import BaseImageProcessor, ProcessorMixin

from ..models.architectures import CLIP, Architecture
from ..models.inputs import image_inputs
from ..utils.machine import usable_cores
from .images import open_picture, undecoded
from .list_cache import note_hash, remove_damaged

# The column that takes the place of `image`.
PIXELS = "pixels"
_FEATURE = {"bytes": Value("binary"), "shape": List(Value("int32"))}
# The column in its place where the processor's steps cannot be parted: all that the model takes, as it takes it.
PREPARED = "prepared"
_PREPARED_FEATURE = {**_FEATURE, "dtype": Value("string")}
# Rescaling and normalising come after cropping and turn each byte into a float of four: they wait for the batch.
_UNTIL_CROPPING = {"do_rescale": False, "do_normalize": False}
_AFTER_CROPPING = {
    "do_resize": False,
    "do_center_crop": False,
    "do_convert_rgb": False,
    "input_data_format": "channels_first",
}


def cache_pictures(
    dataset: Dataset, image_processor: BaseImageProcessor, inputs: Sequence[str] = ("pixel_values",)
) -> Dataset:
    """Replace the column `image` by `pixels`: each picture after the processor's resizing and cropping, uint8.

    A picture of 224 x 224 takes 150 KB. The file lies in the cache of `datasets` and is made again when a picture, the
    processor's settings or the version of Pillow change. A processor whose later steps cannot be taken alone, or that
    gives more than pixels, has all of its output kept, as `prepared`: four times as much.

    Args:
        dataset (`datasets.Dataset`):
            Rows with an `image` each.
        image_processor (`BaseImageProcessor`):
            The checkpoint's image processor.
        inputs (`Sequence[str]`, *optional*, defaults to `("pixel_values",)`):
            What the model takes of its output.

    Returns:
        `datasets.Dataset`: The same rows. [`cached_inputs`] of them equal the processor's output on the pictures, bit
        for bit.

    Raises:
        [`PictureError`]: when a picture cannot be opened.
    """
    dataset = undecoded(dataset)
    in_parts = list(inputs) == ["pixel_values"] and _works_in_parts(image_processor)
    key = _cache_key(dataset["image"][:], image_processor, [] if in_parts else inputs)
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "newsmatch" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{key}.arrow"
    if file.exists():
        remove_damaged([file])

    def prepare(image: Any) -> dict[str, Any]:
        pixels = image_processor(open_picture(image), return_tensors="np", **_UNTIL_CROPPING)["pixel_values"][0]
        return {"bytes": pixels.astype(np.uint8, casting="safe").tobytes(), "shape": pixels.shape}

    def prepare_all(image: Any) -> dict[str, Any]:
        made = image_processor(open_picture(image), return_tensors="np")
        arrays = {name: np.asarray(made[name][0]) for name in inputs}
        return {
            name: {"bytes": array.tobytes(), "shape": array.shape, "dtype": array.dtype.str}
            for name, array in arrays.items()
        }

    column, make, feature = PIXELS, prepare, _FEATURE
    if not in_parts:
        column, make, feature = PREPARED, prepare_all, dict.fromkeys(inputs, _PREPARED_FEATURE)
    with ThreadPoolExecutor(usable_cores()) as pool:
        pixels = dataset.select_columns("image").map(
            lambda batch: {column: list(pool.map(make, batch["image"]))},
            batched=True,
            batch_size=256,
            remove_columns="image",
            features=Features({column: feature}),
            cache_file_name=str(file),
            new_fingerprint=key,
            desc="Caching pictures",
        )
    note_hash(file)
    return datasets.concatenate_datasets([dataset.remove_columns("image"), pixels], axis=1)


def cached_inputs(
    rows: Sequence[Mapping[str, Any]], processor: ProcessorMixin, architecture: Architecture = CLIP
) -> dict[str, torch.Tensor]:
    """The pictures of rows as the model takes them, from what [`cache_pictures`] keeps or else decoded from `image`.

    Args:
        rows (`Sequence[Mapping]`):
            Rows with `pixels` or `prepared`, or with an undecoded `image`.
        processor (`ProcessorMixin`):
            The checkpoint's processor.
        architecture ([`Architecture`], *optional*):
            That of the model; CLIP's by default.

    Returns:
        `dict[str, torch.Tensor]`: as [`image_inputs`].
    """
    if PIXELS in rows[0]:
        return {"pixel_values": pixel_values(rows, processor.image_processor)}
    if PREPARED in rows[0]:
        return {
            name: torch.from_numpy(np.stack([_array(row[PREPARED][name]) for row in rows]))
            for name in architecture.image_inputs
        }
    return image_inputs(processor, [open_picture(row["image"]) for row in rows], architecture)


def pixel_values(rows: Sequence[Mapping[str, Any]], image_processor: BaseImageProcessor) -> torch.Tensor:
    """The pictures of rows as the model reads them, from their cached `pixels` or else decoded from `image`.

    Args:
        rows (`Sequence[Mapping]`):
            Rows with `pixels`, as [`cache_pictures`] makes them, or with an undecoded `image`.
        image_processor (`BaseImageProcessor`):
            The checkpoint's image processor.

    Returns:
        `torch.Tensor` of shape `(len(rows), 3, h, w)`, float32.
    """
    if PIXELS not in rows[0]:
        pictures = [open_picture(row["image"]) for row in rows]
        return image_processor(pictures, return_tensors="pt")["pixel_values"]
    pixels = [np.frombuffer(row[PIXELS]["bytes"], np.uint8).reshape(row[PIXELS]["shape"]) for row in rows]
    return image_processor(pixels, return_tensors="pt", **_AFTER_CROPPING)["pixel_values"]


def _array(kept: Mapping[str, Any]) -> np.ndarray:
    return np.frombuffer(kept["bytes"], np.dtype(kept["dtype"])).reshape(kept["shape"])


def _works_in_parts(image_processor: BaseImageProcessor) -> bool:
    """Whether cropping first, and rescaling and normalising its bytes later, gives what the processor gives."""
    picture = PIL.Image.fromarray(np.arange(3 * 37 * 23, dtype=np.uint8).reshape(37, 23, 3))
    try:
        whole = image_processor(picture, return_tensors="np")["pixel_values"]
        cropped = image_processor(picture, return_tensors="np", **_UNTIL_CROPPING)["pixel_values"]
        pixels = [np.asarray(cropped[0]).astype(np.uint8, casting="safe")]
        later = image_processor(pixels, return_tensors="np", **_AFTER_CROPPING)["pixel_values"]
    except (TypeError, ValueError, KeyError):
        return False
    return np.array_equal(np.asarray(whole), np.asarray(later))


def _cache_key(images: Sequence[Mapping[str, Any]], image_processor: BaseImageProcessor, inputs: Sequence[str]) -> str:
    """A hash of the pictures (their bytes, or the path, size and time of their files) and of the processing."""
    settings = {**image_processor.to_dict(), "pillow": PIL.__version__, "class": type(image_processor).__name__}
    if inputs:
        settings["inputs"] = list(inputs)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for image in images:
        if image["bytes"] is not None:
            digest.update(image["bytes"])
        else:
            status = os.stat(image["path"])
            digest.update(f"{os.path.abspath(image['path'])} {status.st_size} {status.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:32]
