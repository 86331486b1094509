"""What each alpha is worth on linked data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, Image
from tqdm.auto import tqdm
from transformers import CLIPModel

from ..checkpoints import Weights, open_weights
from ..data.collator import DEFAULT_TEXT_FIELDS, join_text
from ..embeddings import image_batches, text_batches, unit_length
from ..metrics import score
from ..modeling import best_device, load_clip
from ..retrieval import rank
from .interpolation import check_alpha, interpolate_tensor, matching_names

# Equation 1's alpha as the paper searches it
DEFAULT_ALPHAS = tuple(step / 10 for step in range(11))


def sweep_alpha(
    zero_shot: str | Path,
    fine_tuned: str | Path,
    dataset: Dataset,
    alphas: Sequence[float] = DEFAULT_ALPHAS,
    text_fields: Sequence[str] = DEFAULT_TEXT_FIELDS,
    batch_size: int = 256,
    progress: bool = True,
    device: torch.device | None = None,
    zero_shot_revision: str | None = None,
) -> list[dict[str, float]]:
    """Score every alpha on linked data, usually the validation part.

    The data is walked once: a batch is decoded and prepared, then embedded with the weights of each alpha in turn, so
    neither the pictures nor a model an alpha have to be held.

    Args:
        zero_shot, fine_tuned (`str` or `Path`):
            Hub ids or folders, as for [`interpolate`].
        dataset (`datasets.Dataset`):
            Pairs, each with a picture.
        alphas (`Sequence[float]`, *optional*, defaults to 0, 0.1 … 1):
            What to try.
        text_fields (`Sequence[str]`, *optional*):
            The columns that make up what CLIP reads.
        batch_size (`int`, *optional*, defaults to 256):
            Texts or pictures a batch.
        progress (`bool`, *optional*, defaults to `True`):
            Show a progress bar.
        device (`torch.device`, *optional*):
            Where to work; the accelerator by default, when there is one.
        zero_shot_revision (`str`, *optional*):
            Branch, tag or commit of a zero-shot model on the Hub.

    Returns:
        `list[dict[str, float]]`: for each alpha, in order, `"alpha"`, `"mrr@100"` and `"recall@k"` among the distinct
        pictures of the data.

    Raises:
        [`NewsMatchError`]: as [`interpolate`].
    """
    for alpha in alphas:
        check_alpha(alpha)
    article_ids, image_ids = list(dataset["article_id"]), list(dataset["image_id"])
    texts = [join_text(row, text_fields) for row in dataset.select_columns(list(text_fields))]
    first = dict(zip(reversed(image_ids), reversed(range(len(image_ids)))))
    model, processor = load_clip(fine_tuned)
    model.to(device or best_device())
    pictures = dataset.cast_column("image", Image(decode=False)).select(sorted(first.values()))
    with open_weights(zero_shot, zero_shot_revision) as theta_0, open_weights(fine_tuned) as theta_1:
        matching_names(theta_0, theta_1)
        swap = _Swap(model, theta_0, theta_1)
        steps = -(-len(set(texts)) // batch_size) + -(-len(pictures) // batch_size)
        with tqdm(total=steps * len(alphas), desc="Sweeping alpha", disable=not progress) as bar:
            text_rows = [{} for _ in alphas]
            for batch in text_batches(processor, texts, batch_size):
                for row, embeds in zip(text_rows, swap.embed(alphas, model.get_text_features, batch["inputs"], bar)):
                    row.update(zip(batch["texts"], embeds))
            image_rows = [[] for _ in alphas]
            for batch in image_batches(processor, pictures["image"], batch_size):
                for row, embeds in zip(image_rows, swap.embed(alphas, model.get_image_features, batch, bar)):
                    row.append(embeds)
    candidates, curve = pictures["image_id"][:], []
    for alpha, text_row, image_row in zip(alphas, text_rows, image_rows):
        text_embeds = torch.stack([text_row[text] for text in texts])
        ranking = rank(text_embeds, torch.cat(image_row), article_ids, candidates)
        scores = score(ranking, dict(zip(article_ids, image_ids)), candidates=candidates)
        curve.append({"alpha": float(alpha), **{name: value for name, value in scores.items() if "@" in name}})
    return curve


class _Swap:
    """Puts the weights of one alpha after another into a model and embeds a batch with each."""

    def __init__(self, model: CLIPModel, theta_0: Weights, theta_1: Weights):
        self.model = model
        self.tensors = {
            name: (target, theta_0[name].to(model.device), theta_1[name].to(model.device))
            for name, target in model.state_dict().items()
        }

    @torch.no_grad()
    def embed(self, alphas: Sequence[float], features: Any, batch: Any, bar: tqdm) -> list[torch.Tensor]:
        # one tower is at work, and only its weights need to be changed
        tower = ("text_", "vision_", "visual_")
        tower = tower[:1] if features == self.model.get_text_features else tower[1:]
        inputs = {name: value.to(self.model.device) for name, value in batch.items()}
        embeds = []
        for alpha in alphas:
            for name, (target, zero_shot, fine_tuned) in self.tensors.items():
                if name.startswith(tower):
                    target.copy_(interpolate_tensor(zero_shot, fine_tuned, alpha))
            embeds.append(unit_length(features(**inputs).pooler_output).cpu())
            bar.update()
        return embeds
