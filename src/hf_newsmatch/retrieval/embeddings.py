"""Unit-length embeddings of texts and pictures."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm
from transformers import PreTrainedModel, ProcessorMixin

from ..configs import LONG_TEXT
from ..data.images import open_picture
from ..errors import NewsMatchError
from ..models.architectures import CLIP, Architecture, architecture_of
from ..models.inputs import cased, image_inputs, text_inputs
from ..models.precision import explained_compilation
from .long_texts import Piece, long_pieces


@torch.no_grad()
def embed_texts(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    texts: Sequence[str],
    batch_size: int = 256,
    progress: bool = True,
    long_text: str = "truncate",
) -> torch.Tensor:
    """Embed texts, each distinct text once, in batches of similar length that are padded as the model needs it.

    Args:
        model (`PreTrainedModel`):
            The model; the work is done on its device and in its dtype.
        processor (`ProcessorMixin`):
            Of the same checkpoint.
        texts (`Sequence[str]`):
            The texts to embed; the context is the tokenizer's `model_max_length`.
        batch_size (`int`, *optional*, defaults to 256):
            Texts in a forward pass.
        progress (`bool`, *optional*, defaults to `True`):
            Show a progress bar.
        long_text (`str`, *optional*, defaults to `"truncate"`):
            What becomes of a text that is longer than the context. `"truncate"` reads its beginning. `"pool"` cuts it
            at the ends of sentences into pieces that fit (see [`pieces_within`]) and takes the mean of their
            unit-length embeddings, weighted by their tokens and scaled to length 1 again.

    Returns:
        `torch.Tensor` of shape `(len(texts), d)`, float32 on the CPU, each row of length 1.
    """
    if long_text not in LONG_TEXT:
        raise NewsMatchError(f"long_text is one of {', '.join(LONG_TEXT)}, not '{long_text}'.")
    model.eval()
    architecture = architecture_of(model.config)
    pieces = long_pieces(processor, texts, architecture) if long_text == "pool" else {}
    parts = [part.text for text in texts for part in pieces.get(text, (Piece(text, 1),))]
    rows: dict[str, torch.Tensor] = {}
    with tqdm(total=len(set(parts)), desc="Embedding texts", unit="text", disable=not progress) as bar:
        for batch in text_batches(processor, parts, batch_size, architecture):
            with explained_compilation():
                embeds = model.get_text_features(**_to(model, batch["inputs"])).pooler_output
            rows.update(zip(batch["texts"], unit_length(embeds)))
            bar.update(len(batch["texts"]))
    whole = {text: _pooled(rows, found) for text, found in pieces.items()}
    return _stack(model, [whole[text] if text in whole else rows[text] for text in texts])


def _pooled(rows: Mapping[str, torch.Tensor], pieces: Sequence[Piece]) -> torch.Tensor:
    """The embedding of a text by those of its pieces."""
    return unit_length(sum(piece.tokens * rows[piece.text] for piece in pieces))


@torch.no_grad()
def embed_images(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    images: Sequence[Any],
    batch_size: int = 64,
    num_workers: int = 0,
    progress: bool = True,
) -> torch.Tensor:
    """Embed pictures.

    Args:
        model (`PreTrainedModel`):
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
        for batch in image_batches(processor, images, batch_size, num_workers, architecture_of(model.config)):
            with explained_compilation():
                embeds = model.get_image_features(**_to(model, batch)).pooler_output
            rows += unit_length(embeds)
            bar.update(len(embeds))
    return _stack(model, rows)


def text_batches(
    processor: ProcessorMixin, texts: Iterable[str], batch_size: int, architecture: Architecture = CLIP
) -> Iterator[dict[str, Any]]:
    """Batches of the distinct texts, shortest first: `{"texts": list[str], "inputs": tokens}`."""
    distinct = list(dict.fromkeys(texts))
    if not distinct:
        return
    lengths = [len(ids) for ids in processor.tokenizer(cased(distinct, architecture), truncation=True)["input_ids"]]
    order = sorted(range(len(distinct)), key=lengths.__getitem__)
    for start in range(0, len(order), batch_size):
        batch = [distinct[index] for index in order[start : start + batch_size]]
        yield {"texts": batch, "inputs": text_inputs(processor, batch, architecture)}


def image_batches(
    processor: ProcessorMixin,
    images: Sequence[Any],
    batch_size: int,
    num_workers: int = 0,
    architecture: Architecture = CLIP,
) -> Iterable[dict[str, torch.Tensor]]:
    """Batches of the pictures in order, decoded and prepared, as [`image_inputs`] gives them."""
    return DataLoader(
        _Pictures(processor, images, architecture),
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=_concatenated,
    )


def _concatenated(rows: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


class _Pictures(Dataset):
    def __init__(self, processor: ProcessorMixin, images: Sequence[Any], architecture: Architecture):
        self.processor, self.images, self.architecture = processor, images, architecture

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return image_inputs(self.processor, [open_picture(self.images[index])], self.architecture)


def unit_length(embeds: torch.Tensor) -> torch.Tensor:
    """The rows scaled to length 1, in float32 whatever their dtype was."""
    return torch.nn.functional.normalize(embeds.float(), dim=-1)


def _to(model: PreTrainedModel, inputs: Any) -> dict[str, torch.Tensor]:
    return {
        name: value.to(model.device, model.dtype if value.is_floating_point() else value.dtype)
        for name, value in inputs.items()
    }


def _stack(model: PreTrainedModel, rows: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(rows).cpu() if rows else torch.empty(0, embedding_size(model))


def embedding_size(model: PreTrainedModel) -> int:
    """The number of dimensions of a model's embeddings."""
    config = model.config
    sizes = ((config, "projection_dim"), (config.text_config, "projection_size"), (config.text_config, "hidden_size"))
    return next(getattr(section, name) for section, name in sizes if hasattr(section, name))
