"""The runs of an experiment, embedded once and ranked by any method."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ..data.corpus import Corpus, Split, linked_split
from ..data.images import undecoded
from ..data.text import article_texts
from ..models.loading import best_device, load_clip
from ..retrieval.embeddings import embed_images, embed_texts
from ..retrieval.fusion import ensemble
from ..retrieval.ranking import MAX_RANK, Ranking
from ..retrieval.rerank.methods import rerank
from ..retrieval.rerank.neighbours import Bank
from ..utils.files import atomic_path
from .folder import ENSEMBLE, Experiment
from .rerank_search import choose_settings

# what was published before a part
_BEFORE = {"validation": ("train",), "test": ("train", "validation")}


class EmbeddedRuns:
    """Texts and pictures as each run's model sees them, embedded when they are first needed and kept.

    Args:
        experiment ([`Experiment`]):
            Whose runs.
        data ([`Corpus`]):
            Its data: the parts to rank, and the pairs to train on, which some methods know.
        ensemble_weight (`float`, *optional*, defaults to 0.5):
            The fine-tuned model's share in the run `ensemble`.
        folder (`str` or `Path`, *optional*):
            Where embeddings are kept, too, as safetensors; only in memory by default.
        sizes (`int`):
            `batch_size` and `num_workers` of [`embed_images`].
    """

    def __init__(
        self,
        experiment: Experiment,
        data: Corpus,
        ensemble_weight: float = 0.5,
        folder: str | Path | None = None,
        **sizes: int,
    ):
        self.experiment, self.ensemble_weight, self.sizes = experiment, ensemble_weight, sizes
        self.splits: dict[str, Split] = {"train": linked_split(data.train), **data.splits}
        self.folder = None if folder is None else Path(folder)
        self._kept: dict[tuple[str, str, str], torch.Tensor] = {}
        self._loaded: tuple[str | None, Any] = (None, None)

    def rank(self, run: str, split: str, method: str = "none", k: int = MAX_RANK, **settings: Any) -> Ranking:
        """Rank a part with a run's model.

        Args:
            run (`str`):
                One of `RUNS`, whose model is there.
            split (`str`):
                `"validation"` or `"test"`.
            method (`str`, *optional*, defaults to `"none"`):
                One of `METHODS`.
            k (`int`, *optional*, defaults to 100):
                How many pictures an article.
            settings:
                The method's, as [`choose_settings`] finds them.

        Returns:
            [`Ranking`] with scores.
        """
        return rerank(*self._inputs(run, split), method, k, **settings, **self._known(run, split, method))

    def choose_settings(self, run: str, method: str) -> dict[str, Any]:
        """Search a method's settings for a run on the validation part; see [`choose_settings`]."""
        known = self._known(run, "validation", method)
        return choose_settings(method, *self._inputs(run, "validation"), self.splits["validation"].gold, **known)

    def _inputs(self, run: str, split: str) -> tuple[torch.Tensor, torch.Tensor, list[str], list[str]]:
        """What [`rank`] takes."""
        part = self.splits[split]
        embeds = self._embeds(run, split, "texts"), self._embeds(run, split, "images")
        return *embeds, part.articles["article_id"][:], part.images["image_id"][:]

    def _known(self, run: str, split: str, method: str) -> dict[str, Any]:
        """What a method takes beside a part: what was published before it.

        For the test part that is also the validation part: the newest news are the most like it.
        """
        if method not in ("querybank", "neighbours"):
            return {}
        before = _BEFORE[split]
        text_embeds = torch.cat([self._embeds(run, name, "texts") for name in before])
        if method == "querybank":
            return {"bank": text_embeds}
        texts = [text for name in before for text in self._read(name)]
        pictures = torch.cat([self._pictures(run, name) for name in before])
        return {"texts": self._read(split), "bank": Bank(texts, text_embeds, pictures)}

    def _read(self, split: str) -> list[str]:
        """What CLIP reads of each article."""
        fields = self.experiment.text_fields
        return article_texts(self.splits[split].articles, fields)

    def _pictures(self, run: str, split: str) -> torch.Tensor:
        """The picture of each article."""
        rows = {name: row for row, name in enumerate(self.splits[split].images["image_id"])}
        return self._embeds(run, split, "images")[[rows[name] for name in self.splits[split].gold.values()]]

    def _embeds(self, run: str, split: str, kind: str) -> torch.Tensor:
        """The `"texts"` of the articles, or the candidate `"images"`, of a part."""
        key = run, split, kind
        if key not in self._kept:
            if run == "ensemble":
                embeds = ensemble(*(self._embeds(name, split, kind) for name in ENSEMBLE), self.ensemble_weight)
            else:
                embeds = self._on_disk(key, lambda: self._embed(run, split, kind))
            self._kept[key] = embeds
        return self._kept[key]

    def _embed(self, run: str, split: str, kind: str) -> torch.Tensor:
        if self._loaded[0] != run:  # one model at a time
            model, processor = load_clip(self.experiment.checkpoint(run), self.experiment.revision(run))
            self._loaded = run, (model.to(best_device()), processor)
        if kind == "texts":
            return embed_texts(*self._loaded[1], self._read(split))
        images = undecoded(self.splits[split].images)["image"]
        return embed_images(*self._loaded[1], images, **self.sizes)

    def _on_disk(self, key: tuple[str, str, str], make: Callable[[], torch.Tensor]) -> torch.Tensor:
        if self.folder is None:
            return make()
        run, split, kind = key
        part, data = self.splits[split], self.experiment.record["data"]
        ids = (part.articles["article_id"] if kind == "texts" else part.images["image_id"])[:]
        made_of = [self.experiment.model_sha256(run), data["arguments"], data["files"], ids]
        name = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]
        file = self.folder / f"{run}-{split}-{kind}-{name}.safetensors"
        if not file.is_file():
            with atomic_path(file) as temporary:
                save_file({"embeds": make()}, temporary)
        return load_file(file)["embeds"]
