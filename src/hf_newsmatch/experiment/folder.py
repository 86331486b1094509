"""The folder of an experiment: its record, and the data, models and runs that the record names."""

import csv
import dataclasses
import platform
import shutil
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..configs import DataArguments, ModelArguments
from ..data.corpus import TEST_ARGUMENTS, Corpus, Split, load_corpus
from ..errors import NewsMatchError
from ..models.loading import is_local, load_config
from ..models.weights import holds_weights, weights_sha256
from ..utils.files import atomic_path
from .inputs import FILE_ARGUMENTS, base_model_id, given_arguments, hash_files, with_demo_news, with_full_paths
from .layout import Layout
from .record import RERANKED, RUNS, BaseModel, DataRecord, Endpoints, InterpolatedRecord, Record, RunRecord

if TYPE_CHECKING:
    from ..retrieval.ranking import Ranking

# the runs that an ensemble joins; it has no checkpoint of its own
ENSEMBLE = ("zero_shot", "fine_tuned")
_VERSIONS = ("accelerate", "datasets", "numpy", "pillow", "safetensors", "tokenizers", "torch", "transformers")


class Experiment:
    """The folder of an experiment and its record.

    The record says where everything came from, so that later steps need no argument but the folder.

    Args:
        output_dir (`str` or `Path`):
            The folder.
        record ([`Record`]):
            The content of its `newsmatch.json`.

    Attributes:
        layout ([`Layout`]):
            The paths inside the folder.
    """

    def __init__(self, output_dir: str | Path, record: Record):
        self.output_dir = Path(output_dir)
        self.layout = Layout(self.output_dir)
        self.record = record

    @classmethod
    def create(
        cls,
        output_dir: str | Path,
        data_args: DataArguments,
        model_args: ModelArguments,
        recipe: Mapping[str, Any] | None = None,
    ) -> tuple["Experiment", Corpus]:
        """Prepare an experiment: read and check the data and identify the base model.

        Nothing but the demo's news is written yet; [`Experiment.start`] writes the record.

        Args:
            output_dir (`str` or `Path`):
                The folder; made when missing.
            data_args ([`DataArguments`]), model_args ([`ModelArguments`]):
                The data and the base model.
            recipe (`Mapping[str, Any]`, *optional*):
                What else the fine-tuned weights depend on.

        Raises:
            [`NewsMatchError`]: on data or a checkpoint that cannot be used.
        """
        layout = Layout(Path(output_dir))
        layout.root.mkdir(parents=True, exist_ok=True)
        data_args = with_full_paths(with_demo_news(data_args, layout))
        config = load_config(model_args.model_name_or_path, model_args.model_revision)
        data = load_corpus(data_args)
        # what was decided is recorded, so that reading the data again later gives the same splits
        data_args = dataclasses.replace(data_args, holdout_test=data.report.pop("holdout_test"))
        base_model = BaseModel(
            id=base_model_id(model_args),
            revision=getattr(config, "_commit_hash", None) or model_args.model_revision,
            sha256=weights_sha256(model_args.model_name_or_path, model_args.model_revision),
        )
        record = Record(
            base_model=base_model,
            data=DataRecord.of(data_args, hash_files(data_args), data.report),
            hf_newsmatch=version("hf-newsmatch"),
            versions={"python": platform.python_version(), **{name: version(name) for name in _VERSIONS}},
            recipe=dict(recipe or {}),
        )
        return cls(output_dir, record), data

    @classmethod
    def open(cls, output_dir: str | Path) -> "Experiment":
        """Read the record of an experiment.

        Raises:
            [`NewsMatchError`]: when the folder has none, or it is damaged.
        """
        file = Layout(Path(output_dir)).record
        if not file.is_file():
            raise NewsMatchError(
                f"{output_dir} holds no experiment (there is no {file.name} in it); `hf-newsmatch train` starts one,"
                " --output_dir names another."
            )
        return cls(output_dir, Record.load(file))

    def start(self) -> None:
        """Write the record of a new experiment and remove what an earlier one left: it would pass for this one's."""
        for path in list(self.layout.derived()):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=not path.name.startswith("checkpoint-"))
            else:
                path.unlink(missing_ok=True)
        self.save()

    def save(self) -> None:
        """Write the record, atomically."""
        self.record.save(self.layout.record)

    def check_continues(self, before: "Experiment") -> None:
        """Refuse to go on with a training that began with other data, another base or another recipe.

        Raises:
            [`NewsMatchError`]: naming what differs.
        """
        now, then = self.record, before.record
        for name, same in (
            ("base model", now.base_model == then.base_model),
            ("data", now.data.arguments == then.data.arguments and now.data.files == then.data.files),
        ):
            if not same:
                raise NewsMatchError(
                    f"The training in {self.output_dir} began with another {name} than is named now; start over"
                    " with --overwrite, or name what it began with."
                )
        for name in sorted(now.recipe.keys() | then.recipe.keys()):
            if now.recipe.get(name) != then.recipe.get(name):
                raise NewsMatchError(
                    f"The training in {self.output_dir} began with {name} {then.recipe.get(name)}, not"
                    f" {now.recipe.get(name)}; start over with --overwrite, or give what it began with."
                )

    # ---- Data -------------------------------------------------------------------------------------------------------

    @property
    def text_fields(self) -> list[str]:
        """The columns that make up what the text tower reads, the same in every step."""
        return self.record.data.arguments.text_fields

    def data(self) -> Corpus:
        """Read the data again, as they were when the experiment began.

        Raises:
            [`NewsMatchError`]: when a file has changed or a picture is gone since.
        """
        section = self.record.data
        data_args = section.arguments
        if data_args.demo and not Path(data_args.articles_file).is_file():
            with_demo_news(dataclasses.replace(data_args, articles_file=None), self.layout)
        self._check_files(data_args, FILE_ARGUMENTS)
        return load_corpus(
            data_args,
            section.unusable_pictures.pictures,
            section.test_list and section.test_list.unusable_pictures.pictures,
        )

    def _check_files(self, data_args: DataArguments, names: Iterable[str]) -> None:
        hashes = hash_files(data_args)
        for name in names:
            before = self.record.data.files.get(name)
            if before and hashes.get(name) != before:
                raise NewsMatchError(
                    f"{before.path} has changed since {self.output_dir} was made from it; restore it or train again"
                    " with --overwrite."
                )

    def use_test_files(self, data_args: DataArguments) -> None:
        """Take over test files that were named only now, when the test list came after the training.

        What was trained and validated on stays what it was.

        Raises:
            [`NewsMatchError`]: when other data than the experiment's is named, or the experiment's has changed.
        """
        section = self.record.data
        given = given_arguments(with_full_paths(data_args))
        changed = {name for name, value in given.items() if getattr(section.arguments, name) != value}
        other = sorted(changed - set(TEST_ARGUMENTS))
        if other:
            raise NewsMatchError(
                f"{self.output_dir} was made with --{other[0]} {getattr(section.arguments, other[0])}; name another"
                " --output_dir for other data."
            )
        if changed:
            data_args = dataclasses.replace(section.arguments, **given)
            self._check_files(data_args, set(FILE_ARGUMENTS) - set(TEST_ARGUMENTS))
            data = load_corpus(data_args, section.unusable_pictures.pictures)
            found = DataRecord.of(data_args, hash_files(data_args), data.report)
            section.arguments, section.files, section.test_list = found.arguments, found.files, found.test_list
            self.record.runs.pop("test", None)
            self.save()

    # ---- Models -----------------------------------------------------------------------------------------------------

    def check_base_model(self, model_args: ModelArguments) -> None:
        """Refuse a base model that was named and is another than the experiment's, with a [`NewsMatchError`]."""
        base, named = self.record.base_model.id, base_model_id(model_args)
        if named not in (base, ModelArguments.model_name_or_path):
            raise NewsMatchError(
                f"{self.output_dir} started from {base}, not from {named}; another model needs another --output_dir."
            )

    def checkpoint(self, run: str) -> str:
        """The Hub id or folder of a run's model: `zero_shot`, `fine_tuned` or `wise_ft`.

        Raises:
            [`NewsMatchError`]: when the base model's weights are no longer those that the experiment began with.
        """
        if run != "zero_shot":
            return str(self.layout.model(run))
        base = self.record.base_model
        if self.model_sha256("zero_shot") != base.sha256:
            raise NewsMatchError(
                f"The weights of {base.id} have changed since {self.output_dir} began with them; restore them or"
                " train again with --overwrite."
            )
        return base.id

    def revision(self, run: str) -> str | None:
        """The revision of a run's model, when it comes from the Hub."""
        return self.record.base_model.revision if run == "zero_shot" else None

    def has_model(self, run: str) -> bool:
        """Whether a run's model is there, and for WiSE-FT made from the two that are there now."""
        if run == "zero_shot":
            return True
        if run == "ensemble":
            return all(map(self.has_model, ENSEMBLE))
        made = {"fine_tuned": self.record.train, "wise_ft": self.record.wise_ft}.get(run)
        if made is None or not holds_weights(self.layout.model(run)):
            return False
        return not isinstance(made, InterpolatedRecord) or made.endpoints == self.endpoints()

    def has_alpha(self, name: str) -> bool:
        """Whether a model of several alphas matches its recorded hash and the current endpoints."""
        made, folder = self.record.alphas.get(name), self.layout.model(name)
        return (
            made is not None
            and made.endpoints == self.endpoints()
            and folder.is_dir()
            and made.sha256 == weights_sha256(folder)
        )

    def model_sha256(self, run: str) -> str | None:
        """The hash of the weights of a run's model as they are now; `None` when there is no such model."""
        if run == "zero_shot":
            base = self.record.base_model
            return weights_sha256(base.id) if is_local(base.id) else base.sha256
        if run == "ensemble":
            return " ".join(self.model_sha256(part) or "none" for part in ENSEMBLE)
        folder = self.layout.model(run)
        return weights_sha256(folder) if folder.is_dir() else None

    def endpoints(self) -> Endpoints:
        """The hashes of the two models that WiSE-FT lies between."""
        train = self.record.train
        return Endpoints(self.record.base_model.sha256, train and train.sha256)

    # ---- Runs -------------------------------------------------------------------------------------------------------

    def register_run(
        self,
        split: str,
        run: str,
        part: Split,
        rerank: Mapping[str, Any] | None = None,
        weight: float | None = None,
    ) -> None:
        """Record the weights and settings that a prediction file was made with, and keep what scoring it needs.

        `rerank` says how a run of [`reranked`] was made, `weight` is that of an ensemble. When a plain run comes from
        other weights or settings than before, its re-rankings are removed: they would pass for this one's.
        """
        _write_columns(self.layout.candidates(split), image_id=part.images["image_id"])
        if part.gold is not None:
            _write_columns(self.layout.gold(split), article_id=part.gold.keys(), image_id=part.gold.values())
        else:
            self.layout.gold(split).unlink(missing_ok=True)
        made = self.record.runs.setdefault(split, {})
        entry = RunRecord(self.model_sha256(plain(run)), weight)
        if rerank is None:
            for name in [name for name in made if name != run and plain(name) == run]:
                if made[name].plain != entry:
                    del made[name]
                    for file in (self.layout.run(split, name), self.layout.run_scores(split, name)):
                        file.unlink(missing_ok=True)
        made[run] = dataclasses.replace(entry, rerank=None if rerank is None else dict(rerank))
        self.save()

    def predicted_splits(self) -> list[str]:
        """The splits that have predictions, in the order they were made."""
        return list(self.record.runs)

    def rankings(self, split: str) -> "dict[str, Ranking]":
        """The rankings of a split by run, in the order of `RUNS`, each with its re-rankings, as far as they were made.

        Raises:
            [`NewsMatchError`]: when a model has changed since its run was made.
        """
        from ..retrieval.predictions import read_predictions

        made = self.record.runs[split]
        for run in made:
            if made[run].model_sha256 != self.model_sha256(plain(run)):
                raise NewsMatchError(
                    f"{self.layout.run(split, run)} is stale, its model has changed or gone since; run"
                    " `hf-newsmatch predict` again."
                )
        order = sorted(made, key=lambda run: (RUNS.index(plain(run)), run != plain(run)))
        return {run: read_predictions(self.layout.run(split, run)) for run in order}

    def gold(self, split: str) -> dict[str, str] | None:
        """The true pictures of a predicted split, when they are known."""
        from ..data.newsimages import load_gold

        file = self.layout.gold(split)
        return load_gold(file) if file.is_file() else None

    def candidates(self, split: str) -> list[str]:
        """The candidate pictures of a predicted split."""
        with open(self.layout.candidates(split), encoding="utf-8", newline="") as stream:
            return [row["image_id"] for row in csv.DictReader(stream, delimiter="\t")]


def reranked(run: str, method: str) -> str:
    """The name of a run that was ranked again."""
    return f"{run}{RERANKED}{method}"


def plain(run: str) -> str:
    """The run whose model a run has: itself, or the one that it ranks again."""
    return run.partition(RERANKED)[0]


def _write_columns(file: Path, **columns: Iterable[str]) -> None:
    with atomic_path(file) as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values()))
