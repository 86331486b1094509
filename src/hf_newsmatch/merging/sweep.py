"""Sweeps: the scores of many alphas on linked data, of both towers together or of each tower."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import PreTrainedModel, ProcessorMixin

from ..data.images import undecoded
from ..data.text import DEFAULT_TEXT_FIELDS, article_texts
from ..errors import NewsMatchError
from ..metrics.scoring import article_scores, gold_ranks
from ..models.architectures import TOWERS, architecture_of
from ..models.loading import best_device, build_model, load_config, load_model
from ..models.weights import Weights, open_weights
from ..retrieval.embeddings import image_batches, text_batches, unit_length
from ..retrieval.ranking import rank
from .curve import Alpha, AlphaSweep
from .interpolation import check_alpha, check_finite, check_trained, interpolate_tensor, matching_names
from .selection import best, check_metric

# the alphas that the paper searches
DEFAULT_ALPHAS = tuple(step / 10 for step in range(11))

# the first, coarse grid of `sweep_towers`, and its finest step
_COARSE = tuple(step / 5 for step in range(6))
_FINEST = 0.01
LEAST_EVALUATIONS = 2 * len(_COARSE)
# enough for steps of 0.2, then 0.1, then 0.05
DEFAULT_EVALUATIONS = LEAST_EVALUATIONS + 8


def sweep_alpha(
    zero_shot: str | Path,
    fine_tuned: str | Path,
    dataset: Dataset,
    alphas: Sequence[Alpha] = DEFAULT_ALPHAS,
    text_fields: Sequence[str] = DEFAULT_TEXT_FIELDS,
    batch_size: int = 256,
    progress: bool = True,
    device: torch.device | None = None,
    zero_shot_revision: str | None = None,
    candidates: Dataset | None = None,
    gold: Mapping[str, str] | None = None,
) -> AlphaSweep:
    """Score every alpha on linked data, usually the validation split.

    The data is read once: a batch is decoded and prepared, then embedded with the weights of each alpha in turn, so
    that neither all pictures nor one model for each alpha have to be held in memory.

    Args:
        zero_shot, fine_tuned (`str` or `Path`):
            Hub ids or folders, as for [`interpolate`].
        dataset (`datasets.Dataset`):
            Pairs, each with a picture; with `candidates` and `gold`, articles.
        alphas (`Sequence`, *optional*, defaults to 0, 0.1 … 1):
            The alphas to try: numbers, or pairs of an alpha for the vision and one for the text tower.
        text_fields (`Sequence[str]`, *optional*):
            The columns that make up the text that the model reads.
        batch_size (`int`, *optional*, defaults to 256):
            Texts or pictures in a batch.
        progress (`bool`, *optional*, defaults to `True`):
            Show a progress bar.
        device (`torch.device`, *optional*):
            The device to work on; the accelerator by default, when there is one.
        zero_shot_revision (`str`, *optional*):
            Branch, tag or commit of a zero-shot model on the Hub.
        candidates (`datasets.Dataset`, *optional*):
            The pictures to rank; by default the distinct ones of the pairs.
        gold (`Mapping[str, str]`, *optional*):
            Article id to true picture id; by default that of the pairs.

    Returns:
        [`AlphaSweep`]: for each alpha, in order, `"alpha"`, `"mrr@100"` and `"recall@k"` among the candidates, and
        the contributions of each article.

    Raises:
        [`NewsMatchError`]: as [`interpolate`], or when there is no alpha.
    """
    pairs = [_pair(alpha) for alpha in alphas]
    if not pairs:
        raise NewsMatchError("There is no alpha to sweep; name at least one.")
    for alpha in {alpha for pair in pairs for alpha in pair}:
        check_alpha(alpha)
    data = _Data.of(dataset, text_fields, candidates, gold)
    with _between(zero_shot, fine_tuned, zero_shot_revision, device) as models:
        embeddings = _Embeddings(models, data, batch_size, progress)
        embeddings.add(*zip(*pairs))
    return embeddings.sweep(alphas)


def sweep_towers(
    zero_shot: str | Path,
    fine_tuned: str | Path,
    dataset: Dataset,
    max_evaluations: int = DEFAULT_EVALUATIONS,
    metric: str = "recall@1",
    text_fields: Sequence[str] = DEFAULT_TEXT_FIELDS,
    batch_size: int = 256,
    progress: bool = True,
    device: torch.device | None = None,
    zero_shot_revision: str | None = None,
) -> AlphaSweep:
    """Search an alpha for each tower, coarse to fine.

    A picture's embedding depends on the vision tower's alpha alone and a text's on the text tower's (the temperature
    changes no ranking): k alphas each make k x k models for the price of k. The grid begins with steps of 0.2; then,
    with half the step each time, the neighbours of the best pair are added to it, until `max_evaluations` are spent or
    the step is below 0.01. Pictures are decoded once for each of these rounds.

    The many pairs fit the data more closely than one line of alphas does, its noise included.

    Args:
        zero_shot, fine_tuned, dataset, text_fields, batch_size, progress, device, zero_shot_revision:
            As for [`sweep_alpha`].
        max_evaluations (`int`, *optional*, defaults to 20):
            The number of times that a tower may embed its side of the data, at least 12 for the coarse grid. Eleven
            alphas of [`sweep_alpha`] take 22.
        metric (`str`, *optional*, defaults to `"recall@1"`):
            The metric that makes a pair the best, ties broken as by [`best`].

    Returns:
        [`AlphaSweep`] over all pairs of the grid, `(alpha_vision, alpha_text)`.

    Raises:
        [`NewsMatchError`]: as [`sweep_alpha`], on an unknown metric, or too few evaluations for the coarse grid.
    """
    check_metric(metric)
    check_evaluations(max_evaluations)
    data = _Data.of(dataset, text_fields)
    with _between(zero_shot, fine_tuned, zero_shot_revision, device) as models:
        embeddings = _Embeddings(models, data, batch_size, progress)
        embeddings.add(_COARSE, _COARSE)
        step = _COARSE[1] / 2
        while step >= _FINEST:
            sweep = embeddings.sweep(embeddings.grid())
            vision, text = (_neighbours(alpha, step) for alpha in _pair(best(sweep, metric)))
            if embeddings.evaluations + embeddings.missing(vision, text) > max_evaluations:
                break
            embeddings.add(vision, text)
            step /= 2
    return embeddings.sweep(embeddings.grid())


def check_evaluations(count: int) -> None:
    """Raise a [`NewsMatchError`] for fewer evaluations than the coarse grid of [`sweep_towers`] takes."""
    if count < LEAST_EVALUATIONS:
        raise NewsMatchError(
            f"A search over both towers begins with {LEAST_EVALUATIONS} evaluations; {count} are too few."
        )


def _neighbours(alpha: float, step: float) -> list[float]:
    return [round(value, 6) for value in (alpha - step, alpha + step) if -1e-9 < value < 1 + 1e-9]


def _pair(alpha: Alpha) -> tuple[float, float]:
    """The alphas of the vision and the text tower."""
    vision, text = alpha if isinstance(alpha, tuple | list) else (alpha, alpha)
    return float(vision), float(text)


@dataclass
class _Data:
    """The texts and pictures to embed, and the gold to score them by."""

    article_ids: list[str]
    texts: list[str]
    image_ids: list[str]
    pictures: list[Any]
    gold: Mapping[str, str]

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        text_fields: Sequence[str],
        candidates: Dataset | None = None,
        gold: Mapping[str, str] | None = None,
    ) -> "_Data":
        if candidates is None:
            image_ids = dataset["image_id"][:]
            first = dict(zip(reversed(image_ids), reversed(range(len(image_ids)))))
            candidates = dataset.select(sorted(first.values()))
        article_ids = dataset["article_id"][:]
        return cls(
            article_ids,
            article_texts(dataset, text_fields),
            candidates["image_id"][:],
            undecoded(candidates)["image"],
            dict(zip(article_ids, dataset["image_id"])) if gold is None else gold,
        )


class _Models:
    """One model that takes the weights of any alpha, tower by tower."""

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        theta_0: Weights | Mapping[str, torch.Tensor],
        theta_1: Weights | Mapping[str, torch.Tensor],
    ):
        self.model, self.processor = model, processor
        self.architecture = architecture_of(model.config)
        self.features = {"vision": model.get_image_features, "text": model.get_text_features}
        tensors = {
            name: (target, theta_0[name].to(model.device), theta_1[name].to(model.device))
            for name, target in model.state_dict().items()
        }
        # one tower works at a time, and only its weights need to change
        self.tensors = {
            tower: [tensors[name] for name in tensors if self.architecture.tower(name) == tower] for tower in TOWERS
        }

    @torch.no_grad()
    def embed(self, tower: str, alphas: Iterable[float], inputs: Mapping[str, torch.Tensor]) -> Iterator[torch.Tensor]:
        """The embeddings of a batch with each alpha."""
        inputs = {name: value.to(self.model.device) for name, value in inputs.items()}
        for alpha in alphas:
            for target, zero_shot, fine_tuned in self.tensors[tower]:
                target.copy_(interpolate_tensor(zero_shot, fine_tuned, alpha))
            yield unit_length(self.features[tower](**inputs).pooler_output).cpu()


@contextmanager
def _between(
    zero_shot: str | Path, fine_tuned: str | Path, zero_shot_revision: str | None, device: torch.device | None
) -> Iterator[_Models]:
    model, processor = load_model(fine_tuned)
    model.to(device or best_device())
    with open_weights(zero_shot, zero_shot_revision) as theta_0, open_weights(fine_tuned) as theta_1:
        # loading has looked at the other end
        check_trained(theta_0)
        for name in matching_names(theta_0, theta_1):
            check_finite(name, theta_0.arrays[name], theta_0.source)
        names = set(model.state_dict())
        if names <= set(theta_1.names):
            yield _Models(model, processor, theta_0, theta_1)
            return
    # transformers gives the weights of some architectures other names than their files
    configs = load_config(zero_shot, zero_shot_revision), load_config(fine_tuned)
    first = build_model(zero_shot, zero_shot_revision, "auto", configs[0])
    second = build_model(fine_tuned, None, "auto", configs[1])
    yield _Models(model, processor, first.state_dict(), second.state_dict())


class _Embeddings:
    """The embeddings of the data by each tower with each alpha so far."""

    def __init__(self, models: _Models, data: _Data, batch_size: int, progress: bool):
        self.models, self.data, self.batch_size, self.progress = models, data, batch_size, progress
        self.vision: dict[float, torch.Tensor] = {}
        self.text: dict[float, torch.Tensor] = {}

    @property
    def evaluations(self) -> int:
        """The number of times that a tower has embedded its side of the data."""
        return len(self.vision) + len(self.text)

    def missing(self, vision: Iterable[float], text: Iterable[float]) -> int:
        """The number of evaluations that [`add`] would take."""
        return len(set(vision) - self.vision.keys()) + len(set(text) - self.text.keys())

    def add(self, vision: Iterable[float], text: Iterable[float]) -> None:
        """Embed the data with the alphas that are not there yet."""
        vision = sorted(set(vision) - self.vision.keys())
        text = sorted(set(text) - self.text.keys())
        distinct = len(set(self.data.texts))
        steps = len(text) * -(-distinct // self.batch_size)
        steps += len(vision) * -(-len(self.data.pictures) // self.batch_size)
        with tqdm(total=steps, desc="Sweeping alpha", disable=not self.progress) as bar:
            rows: list[dict[str, torch.Tensor]] = [{} for _ in text]
            texts = self.data.texts if text else []
            for batch in text_batches(self.models.processor, texts, self.batch_size, self.models.architecture):
                for row, embeds in zip(rows, self.models.embed("text", text, batch["inputs"])):
                    row.update(zip(batch["texts"], embeds))
                    bar.update()
            self.text |= {
                alpha: torch.stack([row[name] for name in self.data.texts]) for alpha, row in zip(text, rows)
            }
            batches: list[list[torch.Tensor]] = [[] for _ in vision]
            pictures = self.data.pictures if vision else []
            for batch in image_batches(
                self.models.processor, pictures, self.batch_size, architecture=self.models.architecture
            ):
                for embedded, embeds in zip(batches, self.models.embed("vision", vision, batch)):
                    embedded.append(embeds)
                    bar.update()
            self.vision |= {alpha: torch.cat(embedded) for alpha, embedded in zip(vision, batches)}

    def grid(self) -> list[tuple[float, float]]:
        """All pairs of a vision and a text alpha whose embeddings are there."""
        return [(vision, text) for vision in sorted(self.vision) for text in sorted(self.text)]

    def sweep(self, alphas: Iterable[Alpha]) -> AlphaSweep:
        """Score alphas whose embeddings are there."""
        data, by_alpha = self.data, []
        alphas = [_pair(alpha) if isinstance(alpha, tuple | list) else float(alpha) for alpha in alphas]
        for alpha in alphas:
            vision, text = _pair(alpha)
            ranking = rank(self.text[text], self.vision[vision], data.article_ids, data.image_ids)
            by_alpha.append(article_scores(gold_ranks(ranking, data.gold, data.image_ids)))
        scores = {metric: np.stack([arrays[metric] for arrays in by_alpha]) for metric in by_alpha[0]}
        return AlphaSweep(alphas, scores, list(data.gold.values()))
