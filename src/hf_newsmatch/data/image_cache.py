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
import PIL
import torch
from datasets import Dataset, Features, List, Value
from transformers import BaseImageProcessor

from ..utils.machine import usable_cores
from .images import open_picture, undecoded

# The column that takes the place of `image`.
PIXELS = "pixels"
_FEATURE = {"bytes": Value("binary"), "shape": List(Value("int32"))}
# Rescaling and normalising come after cropping and turn each byte into a float of four: they wait for the batch.
_UNTIL_CROPPING = {"do_rescale": False, "do_normalize": False}
_AFTER_CROPPING = {
    "do_resize": False,
    "do_center_crop": False,
    "do_convert_rgb": False,
    "input_data_format": "channels_first",
}


def cache_pictures(dataset: Dataset, image_processor: BaseImageProcessor) -> Dataset:
    """Replace the column `image` by `pixels`: each picture after the processor's resizing and cropping, uint8.

    A picture of 224 x 224 takes 150 KB. The file lies in the cache of `datasets` and is made again when a picture, the
    processor's settings or the version of Pillow change.

    Args:
        dataset (`datasets.Dataset`):
            Rows with an `image` each.
        image_processor (`BaseImageProcessor`):
            The checkpoint's image processor.

    Returns:
        `datasets.Dataset`: The same rows. [`pixel_values`] of them equal the processor's output on the pictures, bit
        for bit.

    Raises:
        [`PictureError`]: when a picture cannot be opened.
    """
    dataset = undecoded(dataset)
    key = _cache_key(dataset["image"][:], image_processor)
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "newsmatch" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)

    def prepare(image: Any) -> dict[str, Any]:
        pixels = image_processor(open_picture(image), return_tensors="np", **_UNTIL_CROPPING)["pixel_values"][0]
        return {"bytes": pixels.astype(np.uint8, casting="safe").tobytes(), "shape": pixels.shape}

    with ThreadPoolExecutor(usable_cores()) as pool:
        pixels = dataset.select_columns("image").map(
            lambda batch: {PIXELS: list(pool.map(prepare, batch["image"]))},
            batched=True,
            batch_size=256,
            remove_columns="image",
            features=Features({PIXELS: _FEATURE}),
            cache_file_name=str(folder / f"{key}.arrow"),
            new_fingerprint=key,
            desc="Caching pictures",
        )
    return datasets.concatenate_datasets([dataset.remove_columns("image"), pixels], axis=1)


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


def _cache_key(images: Sequence[Mapping[str, Any]], image_processor: BaseImageProcessor) -> str:
    """A hash of the pictures (their bytes, or the path, size and time of their files) and of the processing."""
    settings = {**image_processor.to_dict(), "pillow": PIL.__version__, "class": type(image_processor).__name__}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for image in images:
        if image["bytes"] is not None:
            digest.update(image["bytes"])
        else:
            status = os.stat(image["path"])
            digest.update(f"{os.path.abspath(image['path'])} {status.st_size} {status.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:32]
