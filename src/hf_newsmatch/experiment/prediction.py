"""The predict step: the runs of an experiment, embedded once and ranked by any method."""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ..configs import DataArguments, ModelArguments, PredictArguments
from ..data.corpus import TEST_ARGUMENTS, Corpus, Split, linked_split
from ..data.images import undecoded
from ..data.text import article_texts
from ..errors import NewsMatchError
from ..models.loading import best_device, load_model
from ..models.precision import compile_towers, embedding_dtype, prepare_model
from ..retrieval.embeddings import embed_images, embed_texts
from ..retrieval.fusion import ensemble
from ..retrieval.predictions import write_predictions
from ..retrieval.ranking import MAX_RANK, Ranking
from ..retrieval.rerank.methods import METHODS, rerank
from ..retrieval.rerank.neighbours import Bank
from ..utils.files import atomic_path
from .folder import RUNS, Experiment, plain, reranked
from .layout import Layout
from .model_store import ENSEMBLE
from .rerank_search import choose_settings, describe, warn_of_few

logger = logging.getLogger(__name__)

# the splits that were published before another
_BEFORE = {"validation": ("train",), "test": ("train", "validation")}


class EmbeddedRuns:
    """Texts and pictures as each run's model sees them, embedded when they are first needed and kept.

    Args:
        experiment ([`Experiment`]):
            Whose runs.
        data ([`Corpus`]):
            Its data: the splits to rank, and the pairs to train on, which some methods know.
        ensemble_weight (`float`, *optional*, defaults to 0.5):
            The fine-tuned model's share in the run `ensemble`.
        folder (`str` or `Path`, *optional*):
            Where embeddings are kept, too, as safetensors; only in memory by default.
        dtype (`str`, *optional*, defaults to `"float32"`):
            The precision to embed in, one of `DTYPES`; see [`embedding_dtype`].
        torch_compile (`bool`, *optional*, defaults to `False`):
            Whether to compile the towers; see [`compile_towers`].
        long_text (`str`, *optional*, defaults to `"truncate"`):
            What becomes of texts beyond the context, one of `LONG_TEXT`; see [`embed_texts`].
        sizes (`int`):
            `batch_size` and `num_workers` of [`embed_images`].

    Attributes:
        settings (`dict[str, Any]`):
            Those of `dtype`, `torch_compile` and `long_text` that are not the default, as the record has them.
    """

    def __init__(
        self,
        experiment: Experiment,
        data: Corpus,
        ensemble_weight: float = 0.5,
        folder: str | Path | None = None,
        *,
        dtype: str = "float32",
        torch_compile: bool = False,
        long_text: str = "truncate",
        **sizes: int,
    ):
        self.settings: dict[str, Any] = {}
        if (found := embedding_dtype(dtype, best_device())) != "float32":
            self.settings["dtype"] = found
        if torch_compile:
            self.settings["torch_compile"] = True
        if long_text != "truncate":
            self.settings["long_text"] = long_text
        self.experiment, self.ensemble_weight, self.sizes = experiment, ensemble_weight, sizes
        self.splits: dict[str, Split] = {"train": linked_split(data.train), **data.splits}
        self.folder = None if folder is None else Path(folder)
        self._kept: dict[tuple[str, str, str], torch.Tensor] = {}
        self._loaded: tuple[str | None, Any] = (None, None)
        self.hashes: dict[str, str | None] = {}

    def rank(self, run: str, split: str, method: str = "none", k: int = MAX_RANK, **settings: Any) -> Ranking:
        """Rank a split with a run's model.

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
        return rerank(*self._inputs(run, split), method, k, **settings | self._known(run, split, method))

    def choose_settings(self, run: str, method: str) -> dict[str, Any]:
        """Search a method's settings for a run on the validation split; see [`choose_settings`]."""
        known = self._known(run, "validation", method)
        return choose_settings(method, *self._inputs(run, "validation"), self.splits["validation"].known_gold, **known)

    def model_sha256(self, run: str) -> str | None:
        """The weights that embedded a run's texts and pictures; of an ensemble, as [`Experiment.model_sha256`]."""
        if run == "ensemble":
            return " ".join(self.model_sha256(name) or "none" for name in ENSEMBLE)
        return self.hashes.get(run)

    def _inputs(self, run: str, split: str) -> tuple[torch.Tensor, torch.Tensor, list[str], list[str]]:
        """The embeddings and ids that a ranking takes: texts, images, article ids, image ids."""
        found = self.splits[split]
        embeds = self._embeds(run, split, "texts"), self._embeds(run, split, "images")
        return *embeds, found.articles["article_id"][:], found.images["image_id"][:]

    def _known(self, run: str, split: str, method: str) -> dict[str, Any]:
        """The data that a method needs beside its settings: the texts of a split, or news published before it.

        For the test split, these include the validation split: the newest news are the most similar.
        """
        before = _BEFORE[split]

        def earlier_texts() -> torch.Tensor:
            return torch.cat([self._embeds(run, name, "texts") for name in before])

        def earlier_pairs() -> Bank:
            texts = [text for name in before for text in self._read(name)]
            return Bank(texts, earlier_texts(), torch.cat([self._pictures(run, name) for name in before]))

        kinds = {
            "texts": lambda: self._read(split),
            "earlier_texts": earlier_texts,
            "earlier_pairs": earlier_pairs,
        }
        return {name: kinds[kind]() for name, kind in METHODS[method].needs.items()}

    def _read(self, split: str) -> list[str]:
        """The text of each article as the text tower reads it."""
        return article_texts(self.splits[split].articles, self.experiment.text_fields)

    def _pictures(self, run: str, split: str) -> torch.Tensor:
        """The embedding of each article's true picture."""
        rows = {name: row for row, name in enumerate(self.splits[split].images["image_id"])}
        return self._embeds(run, split, "images")[[rows[name] for name in self.splits[split].known_gold.values()]]

    def _embeds(self, run: str, split: str, kind: str) -> torch.Tensor:
        """The `"texts"` of the articles, or the candidate `"images"`, of a split."""
        key = run, split, kind
        if key not in self._kept:
            if run == "ensemble":
                first, second = (self._embeds(name, split, kind) for name in ENSEMBLE)
                embeds = ensemble(first, second, self.ensemble_weight)
            else:
                embeds = self._on_disk(key, lambda: self._embed(run, split, kind))
            self._kept[key] = embeds
        return self._kept[key]

    def _embed(self, run: str, split: str, kind: str) -> torch.Tensor:
        if self._loaded[0] != run:  # one model at a time
            before = self.experiment.model_sha256(run)
            model, processor = load_model(self.experiment.checkpoint(run), self.experiment.revision(run))
            if self.experiment.model_sha256(run) != self.hashes.setdefault(run, before):
                raise NewsMatchError(
                    f"The model of {run} was replaced while it was read; run `hf-newsmatch predict` again."
                )
            model = prepare_model(model, self.settings.get("dtype", "float32"), best_device())
            if self.settings.get("torch_compile"):
                compile_towers(model)
            self._loaded = run, (model, processor)
        if kind == "texts":
            long_text = self.settings.get("long_text", "truncate")
            return embed_texts(*self._loaded[1], self._read(split), long_text=long_text)
        images = undecoded(self.splits[split].images)["image"]
        return embed_images(*self._loaded[1], images, **self.sizes)

    def _on_disk(self, key: tuple[str, str, str], make: Callable[[], torch.Tensor]) -> torch.Tensor:
        if self.folder is None:
            return make()
        run, split, kind = key
        found, data = self.splits[split], self.experiment.record.data
        ids = (found.articles["article_id"] if kind == "texts" else found.images["image_id"])[:]
        made_of = [self.experiment.model_sha256(run), dataclasses.asdict(data), ids]
        if self.settings:
            made_of.append(self.settings)
        name = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]
        file = self.folder / f"{run}-{split}-{kind}-{name}.safetensors"
        if not file.is_file():
            with atomic_path(file) as temporary:
                save_file({"embeds": make()}, temporary)
        return load_file(file)["embeds"]


@dataclass(frozen=True)
class Prediction:
    """A prediction file.

    Args:
        file (`Path`): The file.
        split (`str`): The split that it ranks.
        run (`str`): The name of its run.
        articles (`int`): How many articles it ranks.
        candidates (`int`): Among how many images.
    """

    file: Path
    split: str
    run: str
    articles: int
    candidates: int


def open_experiment(
    output_dir: str | Path, data_args: DataArguments, model_args: ModelArguments
) -> tuple[Experiment, Corpus]:
    """The experiment in a folder with its data, and with test files that came later; a new one, zero-shot only, where
    the folder holds none and data are named.

    Raises:
        [`NewsMatchError`]: on data or a base model that is not the experiment's, or that cannot be used.
    """
    named = any(getattr(data_args, name) for name in ("articles_file", "demo", *TEST_ARGUMENTS))
    if not Layout(Path(output_dir)).record.is_file() and named:
        experiment, data = Experiment.create(output_dir, data_args, model_args)
        experiment.save()
        return experiment, data
    experiment = Experiment.open(output_dir)
    experiment.check_base_model(model_args)
    experiment.use_test_files(data_args)
    return experiment, experiment.data()


def predict(experiment: Experiment, data: Corpus, args: PredictArguments | None = None) -> list[Prediction]:
    """Rank the candidate images of every article and write the prediction files of the runs.

    Args:
        experiment ([`Experiment`]):
            The experiment; zero-shot needs no training.
        data ([`Corpus`]):
            Its data.
        args ([`PredictArguments`], *optional*):
            The runs, splits and re-rankings; by default every run whose model is there.

    Raises:
        [`NewsMatchError`]: on a run without a model, or a split that the data do not have.
    """
    args = args or PredictArguments()
    runs = args.runs or [run for run in RUNS if experiment.has_model(run)]
    for run in runs:
        if run not in RUNS or not experiment.has_model(run):
            raise NewsMatchError(
                f"{experiment.output_dir} has no model for the run '{run}'; the runs are {', '.join(RUNS)}."
            )
    splits = list(data.splits) if args.splits is None else args.splits
    for split in splits:
        if split not in data.splits:
            raise NewsMatchError(f"{experiment.output_dir} has no {split} split, only {', '.join(data.splits)}.")
    for name in [] if args.runs else experiment.unrecorded_models():
        logger.warning(
            "%s is left out: %s does not record it, a process was stopped while it wrote it.",
            experiment.layout.model(name),
            experiment.layout.record.name,
        )
    if note := experiment.same_models(runs):
        logger.warning(note)
    embedded = EmbeddedRuns(
        experiment,
        data,
        args.ensemble_weight,
        dtype=args.dtype,
        torch_compile=args.torch_compile,
        long_text=args.long_text,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
    )
    if args.dtype == "auto":
        logger.info("Texts and pictures are embedded in %s.", embedded.settings.get("dtype", "float32"))
    made = []

    def write(run: str, split: str, ranking: Ranking, rerank: dict[str, Any] | None = None) -> None:
        weight = args.ensemble_weight if plain(run) == "ensemble" else None
        with experiment.locked():  # the file and its entry are one
            file = write_predictions(ranking, experiment.layout.run(split, run))
            weights = embedded.model_sha256(plain(run))
            experiment.register_run(split, run, data.splits[split], rerank, weight, weights, embedded.settings)
        made.append(Prediction(file, split, run, len(ranking), len(data.splits[split].images)))
        logger.info("%s: %d articles, %d candidate pictures.", file, made[-1].articles, made[-1].candidates)

    methods = [method for method in dict.fromkeys(args.rerank) if method != "none"]
    if methods and "validation" not in data.splits:
        raise NewsMatchError(
            f"--rerank chooses its settings on the validation split, and {experiment.output_dir} has none; name linked"
            " articles with --articles_file and another --output_dir, or leave --rerank out."
        )
    if methods:
        warn_of_few(len(data.splits["validation"].articles), "every setting that is chosen")
    for run in runs:
        for split in splits:
            write(run, split, embedded.rank(run, split, k=args.k))
        for method in methods:
            chosen = embedded.choose_settings(run, method)
            logger.info("%s: %s", reranked(run, method), describe(chosen))
            for split in splits:
                write(
                    reranked(run, method),
                    split,
                    embedded.rank(run, split, method, args.k, **chosen["settings"]),
                    chosen,
                )
    return made
