"""The folder of an experiment: its record, and the data, models and runs that the record names."""

import csv
import dataclasses
import logging
import platform
import shutil
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..configs import DataArguments, ModelArguments
from ..data.corpus import TEST_ARGUMENTS, Corpus, Split, linked_list, load_corpus, test_images
from ..data.fingerprints import difference_of, differences
from ..errors import NewsMatchError
from ..models.architectures import architecture_of
from ..models.loading import load_config
from ..models.weights import weights_sha256
from ..utils.files import atomic_path, sha256
from .inputs import (
    FILE_ARGUMENTS,
    base_model_id,
    fingerprint_corpus,
    given_arguments,
    hash_files,
    picture_facts,
    with_demo_news,
    with_full_paths,
)
from .layout import Layout
from .model_store import ModelStore
from .record import (
    RERANKED,
    RUNS,
    BaseModel,
    DataRecord,
    Record,
    RunRecord,
    SplitFiles,
)
from .store import trained_on

if TYPE_CHECKING:
    from ..retrieval.ranking import Ranking

logger = logging.getLogger(__name__)

_VERSIONS = ("accelerate", "datasets", "numpy", "pillow", "safetensors", "tokenizers", "torch", "transformers")


class Experiment(ModelStore):
    """The folder of an experiment and its record.

    The record says where everything came from, so that later steps need no argument but the folder. Steps change it
    with [`RecordStore.update`] alone: other processes may do so at the same time.

    Args:
        output_dir (`str` or `Path`):
            The folder.
        record ([`Record`]):
            The content of its `newsmatch.json`.

    Attributes:
        layout ([`Layout`]):
            The paths inside the folder.
    """

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
        from ..data.english import decide_translation  # a step that only wants the models needs none of it

        architecture = architecture_of(config, model_args.model_name_or_path)
        data_args = decide_translation(data_args, architecture, model_args.model_languages)
        data = load_corpus(data_args)
        # what was decided is recorded, so that reading the data again later gives the same splits
        data_args = dataclasses.replace(data_args, holdout_test=data.report.pop("holdout_test"))
        base_model = BaseModel(
            id=base_model_id(model_args),
            revision=getattr(config, "_commit_hash", None) or model_args.model_revision,
            sha256=weights_sha256(model_args.model_name_or_path, model_args.model_revision),
        )
        pictures = fingerprint_corpus(data)
        record = Record(
            base_model=base_model,
            data=DataRecord.of(data_args, hash_files(data_args), data.report, picture_facts(pictures)),
            hf_newsmatch=version("hf-newsmatch"),
            versions={"python": platform.python_version(), **{name: version(name) for name in _VERSIONS}},
            recipe=dict(recipe or {}),
        )
        experiment = cls(output_dir, record)
        experiment._new_pictures = pictures
        return experiment, data

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
        return cls(output_dir, cls.read(output_dir))

    def start(self) -> None:
        """Write the record of a new experiment and remove what an earlier one left: it would pass for this one's."""
        with self.locked():
            for path in list(self.layout.derived()):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=not path.name.startswith("checkpoint-"))
                else:
                    path.unlink(missing_ok=True)
            self.save()

    def check_continues(self, before: "Experiment") -> None:
        """Refuse to go on with a training that began with other data, another base or another recipe.

        Raises:
            [`NewsMatchError`]: naming what differs.
        """
        now, then = self.record, before.record
        for name, same in (
            ("base model", now.base_model == then.base_model),
            ("data", trained_on(now.data) == trained_on(then.data)),
        ):
            if not same:
                raise NewsMatchError(
                    f"The training in {before.output_dir} began with another {name} than is named now; start over"
                    " with --overwrite, or name what it began with."
                )
        pictures = then.data.pictures.get("linked")
        if pictures is not None and now.data.pictures.get("linked") != pictures:
            found = difference_of(*(each.known_pictures().get("linked", {}) for each in (self, before)))
            raise NewsMatchError(
                f"The training in {before.output_dir} began with other pictures ({found or 'of another content'});"
                " restore them, or start over with --overwrite."
            )
        for name in sorted(now.recipe.keys() | then.recipe.keys()):
            if now.recipe.get(name) != then.recipe.get(name):
                raise NewsMatchError(
                    f"The training in {before.output_dir} began with {name} {then.recipe.get(name)}, not"
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
        if data_args.demo and not Path(linked_list(data_args)).is_file():
            with_demo_news(dataclasses.replace(data_args, articles_file=None), self.layout)
        self._check_files(data_args, FILE_ARGUMENTS)
        known = self.known_pictures()
        data = load_corpus(
            data_args,
            section.unusable_pictures.pictures,
            None if section.test_list is None else section.test_list.unusable_pictures.pictures,
            known,
        )
        if section.pictures.keys() - known.keys():  # the file of the fingerprints is gone or damaged
            found = picture_facts(fingerprint_corpus(data))
            if any(found.get(name) != facts for name, facts in section.pictures.items()):
                raise NewsMatchError(
                    f"The pictures of {data_args.articles_file} or of its test list are not those that"
                    f" {self.output_dir} was made from; restore them, or start over with --overwrite."
                )
        return data

    def _check_files(self, data_args: DataArguments, names: Iterable[str]) -> None:
        hashes = hash_files(data_args)
        for name in names:
            before = self.record.data.files.get(name)
            if before and hashes.get(name) != before:
                remedy = "train again with --overwrite"
                if name in TEST_ARGUMENTS:
                    remedy = "name the test list once more with --test_articles_file to take the new one"
                raise NewsMatchError(
                    f"{before.source} has changed since {self.output_dir} was made from it; restore it or {remedy}."
                )

    def use_test_files(self, data_args: DataArguments) -> None:
        """Take over test files that were named only now, when the test list came after the training.

        A new test list replaces the old one wholly: its pictures, its gold, and the runs that rank it. What was
        trained and validated on stays what it was.

        Raises:
            [`NewsMatchError`]: when other data than the experiment's is named, or the experiment's has changed.
        """
        section = self.record.data
        given = given_arguments(with_full_paths(data_args))
        if given.get("translate") == "auto":
            del given["translate"]  # it was decided when the experiment began
        changed = {name for name, value in given.items() if getattr(section.arguments, name) != value}
        other = sorted(changed - set(TEST_ARGUMENTS))
        if other:
            raise NewsMatchError(
                f"{self.output_dir} was made with --{other[0]} {getattr(section.arguments, other[0])}; name another"
                " --output_dir for other data."
            )
        named = given.get("test_articles_file")
        if not changed and not (named and self._test_list_changed()):
            return
        before = section.arguments
        if named and (named != before.test_articles_file or not changed):
            # nothing of the old list may be taken for the new one's
            data_args = dataclasses.replace(before, **{**dict.fromkeys(TEST_ARGUMENTS), **given})
            if before.test_articles_file:
                logger.warning(
                    "The test list %s takes the place of %s: gold, pictures and runs of the old one count no more.",
                    named,
                    before.test_articles_file,
                )
        else:
            data_args = dataclasses.replace(before, **given)
        self._check_files(data_args, set(FILE_ARGUMENTS) - set(TEST_ARGUMENTS))
        linked = {name: found for name, found in self.known_pictures().items() if name == "linked"}
        data = load_corpus(data_args, section.unusable_pictures.pictures, None, linked)
        pictures = {**fingerprint_corpus(data), **linked}
        found = DataRecord.of(data_args, hash_files(data_args), data.report, picture_facts(pictures))

        def replace_test_list(record: Record) -> None:
            now = record.data
            now.arguments, now.files, now.test_list = found.arguments, found.files, found.test_list
            now.pictures = {**now.pictures, **found.pictures}
            if "test" not in found.pictures:
                now.pictures.pop("test", None)
            record.runs.pop("test", None)
            record.scored.pop("test", None)
            shutil.rmtree(self.layout.split("test"), ignore_errors=True)
            self._new_pictures = pictures

        self.update(replace_test_list)

    def _test_list_changed(self) -> bool:
        """Whether the files or pictures of the recorded test list are others than when it was read."""
        section = self.record.data
        hashes = hash_files(section.arguments)
        if any(section.files.get(name) != hashes.get(name) for name in TEST_ARGUMENTS):
            return True
        known = self.known_pictures().get("test")
        if section.test_list is None or known is None:
            return False
        images = test_images(section.arguments)
        unusable = {item["image_id"] for item in section.test_list.unusable_pictures.pictures}
        return bool(differences(images, known) or set(images["image_id"][:]) - known.keys() - unusable)

    # ---- Runs -------------------------------------------------------------------------------------------------------

    def register_run(
        self,
        split: str,
        run: str,
        part: Split,
        rerank: Mapping[str, Any] | None = None,
        weight: float | None = None,
        model_sha256: str | None = None,
        embedding: Mapping[str, Any] | None = None,
    ) -> None:
        """Record the weights and settings that a prediction file was made with, and keep what scoring it needs.

        `rerank` says how a run of [`reranked`] was made, `weight` is that of an ensemble, `model_sha256` the weights
        that ranked, by default those that are there, `embedding` the settings of [`EmbeddedRuns`] that are not the
        defaults. When a plain run comes from other weights or settings than
        before, its re-rankings are removed: they would pass for this one's.

        Raises:
            [`NewsMatchError`]: when the model was replaced while it ranked.
        """
        found = self.model_sha256(plain(run))
        if model_sha256 not in (None, found):
            raise NewsMatchError(f"The model of {run} was replaced while it ranked; run `hf-newsmatch predict` again.")
        file = self.layout.run(split, run)
        hashed = sha256(file) if file.is_file() else None
        entry = RunRecord(found, weight, None if rerank is None else dict(rerank), hashed, **(embedding or {}))

        def register(record: Record) -> None:
            _write_columns(self.layout.candidates(split), image_id=part.images["image_id"])
            if part.gold is not None:
                _write_columns(self.layout.gold(split), article_id=part.gold.keys(), image_id=part.gold.values())
            else:
                self.layout.gold(split).unlink(missing_ok=True)
            gold = None if part.gold is None else sha256(self.layout.gold(split))
            record.scored[split] = SplitFiles(sha256(self.layout.candidates(split)), gold)
            made = record.runs.setdefault(split, {})
            if rerank is None:
                for name in [name for name in made if name != run and plain(name) == run]:
                    if made[name].plain != entry.plain:
                        del made[name]
                        for stale in (self.layout.run(split, name), self.layout.run_scores(split, name)):
                            stale.unlink(missing_ok=True)
            made[run] = entry

        self.update(register, split)

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
            _check_written(self.layout.run(split, run), made[run].file_sha256)
        if note := _embedded_otherwise(split, made):
            logger.warning(note)
        order = sorted(made, key=lambda run: (RUNS.index(plain(run)), run != plain(run)))
        return {run: read_predictions(self.layout.run(split, run)) for run in order}

    def rerank_of(self, split: str, run: str) -> dict[str, Any]:
        """The method and the settings that a run was ranked again with.

        Raises:
            [`NewsMatchError`]: when the record does not say them.
        """
        made = self.record.runs[split][run].rerank
        if made is None:
            raise NewsMatchError(
                f"{self.layout.record} does not say how {run} was made; run `hf-newsmatch predict --rerank` again."
            )
        return made

    def gold(self, split: str) -> dict[str, str] | None:
        """The true pictures of a predicted split, when they are known."""
        from ..data.newsimages import load_gold

        file, written = self.layout.gold(split), self.record.scored.get(split)
        if written is not None:
            _check_written(file, written.gold)
        return load_gold(file) if file.is_file() else None

    def known_gold(self, split: str) -> dict[str, str]:
        """The true pictures of a predicted split.

        Raises:
            [`NewsMatchError`]: when they are not known.
        """
        gold = self.gold(split)
        if gold is None:
            raise NewsMatchError(
                f"The true pictures of the {split} split of {self.output_dir} are not known; run"
                " `hf-newsmatch predict` with --gold_file."
            )
        return gold

    def candidates(self, split: str) -> list[str]:
        """The candidate pictures of a predicted split."""
        written = self.record.scored.get(split)
        if written is not None:
            _check_written(self.layout.candidates(split), written.candidates)
        with open(self.layout.candidates(split), encoding="utf-8", newline="") as stream:
            return [row["image_id"] for row in csv.DictReader(stream, delimiter="\t")]


def reranked(run: str, method: str) -> str:
    """The name of a run that was ranked again."""
    return f"{run}{RERANKED}{method}"


def plain(run: str) -> str:
    """The run whose model a run has: itself, or the one that it ranks again."""
    return run.partition(RERANKED)[0]


def _embedded_otherwise(split: str, made: Mapping[str, RunRecord]) -> str | None:
    """A warning where the runs of a split were embedded by different settings; `None` where they were not."""
    by_setting: dict[str, list[str]] = {}
    for run in made:
        given = (f"{name} {value}" for name, value in made[run].embedding.items() if value is not None)
        by_setting.setdefault(", ".join(given) or "the defaults", []).append(run)
    if len(by_setting) < 2:
        return None
    said = "; ".join(f"{', '.join(runs)} with {setting}" for setting, runs in by_setting.items())
    return (
        f"The runs of the {split} split were embedded in different ways, which may be part of their differences"
        f" ({said}); run `hf-newsmatch predict` again for all of them."
    )


def _check_written(file: Path, recorded: str | None) -> None:
    """Refuse a file of a split that is not the one that is recorded."""
    if recorded is not None and (not file.is_file() or sha256(file) != recorded):
        raise NewsMatchError(
            f"{file} is not the file that `hf-newsmatch predict` wrote, it has changed or gone since; run that again."
        )


def _write_columns(file: Path, **columns: Iterable[str]) -> None:
    with atomic_path(file) as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values()))
