"""Unit-length embeddings of texts and pictures."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm
from transformers import CLIPModel, ProcessorMixin

from ..data.images import open_picture


@torch.no_grad()
def embed_texts(
    model: CLIPModel,
    processor: ProcessorMixin,
    texts: Sequence[str],
    batch_size: int = 256,
    progress: bool = True,
) -> torch.Tensor:
    """Embed texts, each distinct text once, in batches of similar length that are padded to their longest.

    Args:
        model (`CLIPModel`):
            The model; the work is done on its device and in its dtype.
        processor (`ProcessorMixin`):
            Of the same checkpoint.
        texts (`Sequence[str]`):
            The texts to embed; cut at the tokenizer's `model_max_length`.
        batch_size (`int`, *optional*, defaults to 256):
            Texts in a forward pass.
        progress (`bool`, *optional*, defaults to `True`):
            Show a progress bar.

    Returns:
        `torch.Tensor` of shape `(len(texts), d)`, float32 on the CPU, each row of length 1.
    """
    model.eval()
    rows: dict[str, torch.Tensor] = {}
    with tqdm(total=len(set(texts)), desc="Embedding texts", unit="text", disable=not progress) as bar:
        for batch in text_batches(processor, texts, batch_size):
            embeds = model.get_text_features(**_to(model, batch["inputs"])).pooler_output
            rows.update(zip(batch["texts"], unit_length(embeds)))
            bar.update(len(batch["texts"]))
    return _stack(model, [rows[text] for text in texts])


@torch.no_grad()
def embed_images(
    model: CLIPModel,
    processor: ProcessorMixin,
    images: Sequence[Any],
    batch_size: int = 64,
    num_workers: int = 0,
    progress: bool = True,
) -> torch.Tensor:
    """Embed pictures.

    Args:
        model (`CLIPModel`):
            The model; the work is done on its device and in its dtype.
        processor (`ProcessorMixin`):
            Of the same checkpoint.
        images (`Sequence`):
            Anything that [`open_picture`] opens: paths, bytes, PIL images, undecoded values of an `Image` column.
        batch_size (`int`, *optional*, defaults to 64):
            Pictures in a forward pass.
        num_workers (`int`, *optional*, defaults to 0):
            Processes that decode; 0 decodes in this one.
        progress (`bool`, *optional*, defaults to `True`):
            Show a progress bar.

    Returns:
        `torch.Tensor` of shape `(len(images), d)`, float32 on the CPU, each row of length 1.

    Raises:
        [`PictureError`]: when a picture cannot be opened; [`check_pictures`] finds such pictures beforehand.
    """
    model.eval()
    rows: list[torch.Tensor] = []
    with tqdm(total=len(images), desc="Embedding pictures", unit="picture", disable=not progress) as bar:
        for batch in image_batches(processor, images, batch_size, num_workers):
            embeds = model.get_image_features(**_to(model, batch)).pooler_output
            rows += unit_length(embeds)
            bar.update(len(embeds))
    return _stack(model, rows)


def text_batches(processor: ProcessorMixin, texts: Iterable[str], batch_size: int) -> Iterator[dict[str, Any]]:
    """Batches of the distinct texts, shortest first: `{"texts": list[str], "inputs": tokens}`."""
    distinct = list(dict.fromkeys(texts))
    if not distinct:
        return
    lengths = [len(ids) for ids in processor.tokenizer(distinct, truncation=True)["input_ids"]]
    order = sorted(range(len(distinct)), key=lengths.__getitem__)
    for start in range(0, len(order), batch_size):
        batch = [distinct[index] for index in order[start : start + batch_size]]
        yield {
            "texts": batch,
            "inputs": processor.tokenizer(batch, padding=True, truncation=True, return_tensors="pt"),
        }


def image_batches(
    processor: ProcessorMixin, images: Sequence[Any], batch_size: int, num_workers: int = 0
) -> Iterable[dict[str, torch.Tensor]]:
    """Batches of the pictures in order, decoded and prepared: `{"pixel_values": float32 (batch, 3, h, w)}`."""
    return DataLoader(
        _Pictures(processor, images),
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=_stack_pixels,
    )


def _stack_pixels(pixels: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.stack(pixels)}


class _Pictures(Dataset):
    def __init__(self, processor: ProcessorMixin, images: Sequence[Any]):
        self.prepare, self.images = processor.image_processor, images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.prepare(open_picture(self.images[index]), return_tensors="pt")["pixel_values"][0]


def unit_length(embeds: torch.Tensor) -> torch.Tensor:
    """The rows scaled to length 1, in float32 whatever their dtype was."""
    return torch.nn.functional.normalize(embeds.float(), dim=-1)


def _to(model: CLIPModel, inputs: Any) -> dict[str, torch.Tensor]:
    return {
        name: value.to(model.device, model.dtype if value.is_floating_point() else value.dtype)
        for name, value in inputs.items()
    }


def _stack(model: CLIPModel, rows: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(rows).cpu() if rows else torch.empty(0, model.config.projection_dim)
