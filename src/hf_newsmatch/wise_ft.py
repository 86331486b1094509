"""WiSE-FT (Wortsman et al. 2021): weights between the zero-shot and the fine-tuned model."""

from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, Image
from safetensors.torch import save_file
from tqdm.auto import tqdm
from transformers import CLIPModel
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from .checkpoints import Weights, copy_settings, open_weights
from .data.collator import DEFAULT_TEXT_FIELDS, join_text
from .embeddings import image_batches, text_batches, unit_length
from .errors import NewsMatchError
from .files import atomic_path
from .metrics import score
from .modeling import best_device, load_clip
from .retrieval import rank

# Equation 1's alpha as the paper searches it
DEFAULT_ALPHAS = tuple(step / 10 for step in range(11))


def interpolate_tensor(zero_shot: torch.Tensor, fine_tuned: torch.Tensor, alpha: float) -> torch.Tensor:
    """Equation 1 of the paper for one tensor: `(1 - alpha) * zero_shot + alpha * fine_tuned`.

    Computed in float32 and given in the fine-tuned one's dtype. At alpha 0 and 1 the input itself is copied, so that
    the endpoints are their inputs bit for bit.
    """
    if alpha == 0:
        return zero_shot.to(fine_tuned.dtype)
    if alpha == 1:
        return fine_tuned
    return ((1 - alpha) * zero_shot.float() + alpha * fine_tuned.float()).to(fine_tuned.dtype)


def interpolate(
    zero_shot: str | Path,
    fine_tuned: str | Path,
    alpha: float,
    output_dir: str | Path,
    zero_shot_revision: str | None = None,
) -> Path:
    """Write the WiSE-FT model of Equation 1 as an ordinary CLIP checkpoint in safetensors.

    Args:
        zero_shot (`str` or `Path`):
            Hub id or folder of the model before fine-tuning.
        fine_tuned (`str` or `Path`):
            Hub id or folder of the model after it; its configuration, tokenizer and processor go along.
        alpha (`float`):
            From 0 (zero-shot) to 1 (fine-tuned).
        output_dir (`str` or `Path`):
            The folder to write; it appears whole or not at all. An empty folder or another checkpoint is replaced.
        zero_shot_revision (`str`, *optional*):
            Branch, tag or commit of a zero-shot model on the Hub.

    Returns:
        `Path`: the folder, which `CLIPModel.from_pretrained` and `CLIPProcessor.from_pretrained` load.

    Raises:
        [`NewsMatchError`]: on an alpha outside [0, 1], a checkpoint that is none, two that do not fit, or an
            `output_dir` that holds something else.
    """
    check_alpha(alpha)
    _check_replaceable(Path(output_dir))
    with open_weights(zero_shot, zero_shot_revision) as theta_0, open_weights(fine_tuned) as theta_1:
        names = matching_names(theta_0, theta_1)
        with atomic_path(output_dir) as temporary:
            temporary.mkdir()
            copy_settings(theta_1, temporary)
            tensors = {name: interpolate_tensor(theta_0[name], theta_1[name], alpha).contiguous() for name in names}
            save_file(tensors, temporary / "model.safetensors", metadata={"format": "pt"})
    return Path(output_dir)


def check_alpha(alpha: float) -> None:
    """Refuse an alpha outside [0, 1], NaN, or what is no number, with a [`NewsMatchError`]."""
    if not (isinstance(alpha, Real) and 0 <= alpha <= 1):
        raise NewsMatchError(f"alpha must be a number between 0 (zero-shot) and 1 (fine-tuned), not {alpha!r}.")


def _check_replaceable(folder: Path) -> None:
    """Refuse to replace anything but an empty folder or a checkpoint, with a [`NewsMatchError`]."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    weights = (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME)
    if not ((folder / "config.json").is_file() and any((folder / name).is_file() for name in weights)):
        raise NewsMatchError(f"{folder} is no checkpoint and is not replaced by one; name another output_dir.")


def matching_names(theta_0: Weights, theta_1: Weights) -> list[str]:
    """The names of the weights that both checkpoints hold, in order, checked to agree.

    Raises:
        [`NewsMatchError`]: on a name that only one of them has, or a shape that differs.
    """
    names_0, names_1 = set(theta_0.names), set(theta_1.names)
    if names_0 != names_1:
        name = min(names_0 ^ names_1)
        has, lacks = (theta_0, theta_1) if name in names_0 else (theta_1, theta_0)
        raise NewsMatchError(
            f"{theta_0.source} and {theta_1.source} are not the same architecture: {len(names_0 ^ names_1)} weights"
            f" are in one only, first '{name}', which {has.source} has and {lacks.source} lacks."
        )
    for name in theta_1.names:
        if theta_0.shape(name) != theta_1.shape(name):
            raise NewsMatchError(
                f"{theta_0.source} and {theta_1.source} do not fit: '{name}' has shape {theta_0.shape(name)} in the"
                f" first and {theta_1.shape(name)} in the second."
            )
    return theta_1.names


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


def choose_alpha(curve: Sequence[dict[str, float]]) -> float:
    """The paper's rule (section 3.3): the alpha with the highest validation Recall@1.

    Ties go to the higher MRR@100, then to the smaller alpha, which stays closer to the zero-shot model.

    Raises:
        [`NewsMatchError`]: when there is no alpha to choose from.
    """
    if not curve:
        raise NewsMatchError("There is no alpha to choose from; sweep at least one.")
    best = max(curve, key=lambda point: (point["recall@1"], point["mrr@100"], -point["alpha"]))
    return best["alpha"]
