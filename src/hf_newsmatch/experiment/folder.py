"""The folder of a run: its record `newsmatch.json`, and the data and models that the record names."""

import csv
import dataclasses
import json
import platform
import shutil
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..configs import DataArguments, ModelArguments
from ..data.corpus import TEST_ARGUMENTS, NewsData, Part, load_news_data
from ..errors import NewsMatchError
from ..models.loading import DEMO_MODEL, is_local, load_config
from ..models.weights import holds_weights, save_checkpoint, weights_sha256
from ..utils.files import atomic_path, sha256, write_json

# what reads data is imported where it is needed: that takes seconds, and a step that only wants the models needs none
if TYPE_CHECKING:
    from transformers.trainer_utils import TrainOutput

    from ..retrieval.ranking import Ranking
    from ..training.trainer import ContrastiveTrainer

RECORD = "newsmatch.json"
RUNS = ("zero_shot", "fine_tuned", "wise_ft", "ensemble")
# Where the models of several alphas go, before the number.
ALPHA_FOLDER = "wise_ft_alpha_"
# the runs that an ensemble joins; it has no checkpoint of its own
ENSEMBLE = ("zero_shot", "fine_tuned")
_RERANKED = "+"  # between a run and the method that ranked it again, in the names of both
_FILE_ARGUMENTS = ("articles_file", "test_articles_file", "test_images", "gold_file")
_NEEDED = (("base_model", "id"), ("base_model", "sha256"), ("data", "files"), ("data", "test_list"))
_VERSIONS = ("accelerate", "datasets", "numpy", "pillow", "safetensors", "tokenizers", "torch", "transformers")


class Experiment:
    """The folder of a run and its record.

    The record says where everything came from, so that later steps need no argument but the folder.

    Args:
        output_dir (`str` or `Path`):
            The folder.
        record (`dict`):
            The content of its `newsmatch.json`.
    """

    def __init__(self, output_dir: str | Path, record: dict[str, Any]):
        self.output_dir = Path(output_dir)
        self.record = record

    @classmethod
    def create(
        cls,
        output_dir: str | Path,
        data_args: DataArguments,
        model_args: ModelArguments,
        recipe: Mapping[str, Any] | None = None,
    ) -> tuple["Experiment", NewsData]:
        """Prepare a run: read and check the data and identify the base model. [`Experiment.start`] writes the record.

        `recipe` is what else the fine-tuned weights depend on.

        Raises:
            [`NewsMatchError`]: on data or a checkpoint that cannot be used.
        """
        output_dir = Path(output_dir)
        output_dir.mkdir(parents=True, exist_ok=True)
        data_args = _absolute(_drawn(data_args, output_dir))
        config = load_config(model_args.model_name_or_path, model_args.model_revision)
        data = load_news_data(data_args)
        # what was decided is recorded, so that reading the data again later gives the same parts
        data_args = dataclasses.replace(data_args, holdout_test=data.report.pop("holdout_test"))
        record = {
            "hf_newsmatch": version("hf-newsmatch"),
            "versions": {"python": platform.python_version(), **{name: version(name) for name in _VERSIONS}},
            "base_model": {
                "id": _base_id(model_args),
                "revision": getattr(config, "_commit_hash", None) or model_args.model_revision,
                "sha256": weights_sha256(model_args.model_name_or_path, model_args.model_revision),
            },
            "data": {"arguments": dataclasses.asdict(data_args), "files": _hashes(data_args), **data.report},
            "recipe": dict(recipe or {}),
        }
        return cls(output_dir, record), data

    def start(self) -> None:
        """Write the record of a new run and remove what an earlier one left: it would pass for this one's."""
        for name in ("fine_tuned", "wise_ft", f"{ALPHA_FOLDER}*", "runs", "report"):
            for folder in self.output_dir.glob(name):
                shutil.rmtree(folder, ignore_errors=True)
        for checkpoint in self.output_dir.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
        for name in ("scores.json", "scores.md", *(f"alpha_curve.{ending}" for ending in ("csv", "png", "pdf"))):
            (self.output_dir / name).unlink(missing_ok=True)
        self.save()

    def keep_fine_tuned(self, trainer: "ContrastiveTrainer", result: "TrainOutput", **arguments: Any) -> Path:
        """Save what a training made as the run's fine-tuned model, and record how it was made.

        `arguments` are recorded beside the trainer's own.

        Returns:
            `Path`: the folder of the checkpoint.
        """
        folder, args, state = self.output_dir / "fine_tuned", trainer.args, trainer.state
        with atomic_path(folder) as temporary:
            save_checkpoint(trainer.finished_model(), trainer.processor, temporary)
        self.record["train"] = {
            "sha256": weights_sha256(folder),
            "arguments": {**arguments, **args.to_dict()},
            "processes": args.world_size,
            "metrics": result.metrics,
            "best_metric": {args.metric_for_best_model: state.best_metric},
            "best_step": state.best_global_step,
            "log_history": state.log_history,
        }
        self.save()
        return folder

    def check_continues(self, before: "Experiment") -> None:
        """Refuse to go on with a training that began with other data, another base or another recipe.

        Raises:
            [`NewsMatchError`]: naming what differs.
        """
        for name, now, then in (
            ("base model", self.record["base_model"], before.record["base_model"]),
            *(("data", self.record["data"][part], before.record["data"][part]) for part in ("arguments", "files")),
        ):
            if now != then:
                raise NewsMatchError(
                    f"The training in {self.output_dir} began with another {name} than is named now; start over"
                    " with --overwrite, or name what it began with."
                )
        now, then = self.record["recipe"], before.record.get("recipe", {})
        for name in sorted(now.keys() | then.keys()):
            if now.get(name) != then.get(name):
                raise NewsMatchError(
                    f"The training in {self.output_dir} began with {name} {then.get(name)}, not {now.get(name)}; start"
                    " over with --overwrite, or give what it began with."
                )

    @classmethod
    def open(cls, output_dir: str | Path) -> "Experiment":
        """Read the record of a run.

        Raises:
            [`NewsMatchError`]: when the folder has none, or it is damaged.
        """
        file = Path(output_dir) / RECORD
        if not file.is_file():
            raise NewsMatchError(
                f"{output_dir} holds no run (there is no {RECORD} in it); scripts/train.py starts one, --output_dir"
                " names another."
            )
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
            DataArguments(**record["data"]["arguments"])
            for section, name in _NEEDED:
                record[section][name]
        except (ValueError, TypeError, KeyError) as error:
            raise NewsMatchError(f"{file} is damaged ({error!r}); train again with --overwrite.") from error
        return cls(output_dir, record)

    def save(self) -> None:
        """Write the record, atomically."""
        write_json(self.record, self.output_dir / RECORD)

    @property
    def text_fields(self) -> list[str]:
        """The columns that make up what CLIP reads, the same in every step."""
        return self.record["data"]["arguments"]["text_fields"]

    def data(self) -> NewsData:
        """Read the data again, as it was when the run began.

        Raises:
            [`NewsMatchError`]: when a file has changed or a picture is gone since.
        """
        section = self.record["data"]
        data_args = DataArguments(**section["arguments"])
        if data_args.demo and not Path(data_args.articles_file).is_file():
            _drawn(dataclasses.replace(data_args, articles_file=None), self.output_dir)
        self._check_files(data_args, _FILE_ARGUMENTS)
        test_list = section["test_list"]
        return load_news_data(
            data_args,
            section["unusable_pictures"]["pictures"],
            test_list and test_list["unusable_pictures"]["pictures"],
        )

    def _check_files(self, data_args: DataArguments, names: Iterable[str]) -> None:
        hashes = _hashes(data_args)
        for name in names:
            before = self.record["data"]["files"].get(name)
            if before and hashes.get(name) != before:
                raise NewsMatchError(
                    f"{before['path']} has changed since {self.output_dir} was made from it; restore it or train again"
                    " with --overwrite."
                )

    def use_test_files(self, data_args: DataArguments) -> None:
        """Take over test files that were named only now, when the test list came after the training.

        What was trained and validated on stays what it was.

        Raises:
            [`NewsMatchError`]: when other data than the run's is named, or the run's has changed.
        """
        section = self.record["data"]
        given = {
            name: value
            for name, value in dataclasses.asdict(_absolute(data_args)).items()
            if value != _default(DataArguments, name)
        }
        changed = {name for name, value in given.items() if section["arguments"].get(name) != value}
        other = sorted(changed - set(TEST_ARGUMENTS))
        if other:
            raise NewsMatchError(
                f"{self.output_dir} was made with --{other[0]} {section['arguments'].get(other[0])}; name another"
                " --output_dir for other data."
            )
        if changed:
            data_args = DataArguments(**{**section["arguments"], **given})
            self._check_files(data_args, set(_FILE_ARGUMENTS) - set(TEST_ARGUMENTS))
            data = load_news_data(data_args, section["unusable_pictures"]["pictures"])
            section.update(
                arguments=dataclasses.asdict(data_args), files=_hashes(data_args), test_list=data.report["test_list"]
            )
            self.record.get("runs", {}).pop("test", None)
            self.save()

    def check_base_model(self, model_args: ModelArguments) -> None:
        """Refuse a base model that was named and is another than the run's, with a [`NewsMatchError`]."""
        base, named = self.record["base_model"]["id"], _base_id(model_args)
        if named not in (base, _default(ModelArguments, "model_name_or_path")):
            raise NewsMatchError(
                f"{self.output_dir} started from {base}, not from {named}; another model needs another --output_dir."
            )

    def checkpoint(self, run: str) -> str:
        """The Hub id or folder of a run's model: `zero_shot`, `fine_tuned` or `wise_ft`.

        Raises:
            [`NewsMatchError`]: when the base model's weights are no longer those that the run began with.
        """
        if run != "zero_shot":
            return str(self.output_dir / run)
        base = self.record["base_model"]
        if self.model_sha256("zero_shot") != base["sha256"]:
            raise NewsMatchError(
                f"The weights of {base['id']} have changed since {self.output_dir} began with them; restore them or"
                " train again with --overwrite."
            )
        return base["id"]

    def revision(self, run: str) -> str | None:
        """The revision of a run's model, when it comes from the Hub."""
        return self.record["base_model"]["revision"] if run == "zero_shot" else None

    def has_model(self, run: str) -> bool:
        """Whether a run's model is there, and for WiSE-FT made of the two that are there now."""
        if run == "zero_shot":
            return True
        if run == "ensemble":
            return all(map(self.has_model, ENSEMBLE))
        made = self.record.get({"fine_tuned": "train", "wise_ft": "wise_ft"}.get(run), {})
        if "sha256" not in made or not holds_weights(self.output_dir / run):
            return False
        return run == "fine_tuned" or made["endpoints"] == self.endpoints()

    def model_sha256(self, run: str) -> str | None:
        """What identifies the weights of a run's model now; `None` when there is no such model."""
        if run == "zero_shot":
            base = self.record["base_model"]
            return weights_sha256(base["id"]) if is_local(base["id"]) else base["sha256"]
        if run == "ensemble":
            return " ".join(self.model_sha256(part) or "none" for part in ENSEMBLE)
        return weights_sha256(self.output_dir / run) if (self.output_dir / run).is_dir() else None

    def endpoints(self) -> dict[str, str | None]:
        """What identifies the two models that WiSE-FT lies between."""
        return {"zero_shot": self.record["base_model"]["sha256"], "fine_tuned": self.record["train"]["sha256"]}

    def run_file(self, split: str, run: str) -> Path:
        """Where a run's prediction file of a part is."""
        return self.output_dir / "runs" / split / f"{run}.tsv"

    def register_run(
        self, split: str, run: str, part: Part, rerank: Mapping[str, Any] | None = None, **settings: Any
    ) -> None:
        """Record which weights and settings a prediction file was made with, and keep what scoring it needs.

        `rerank` is how a run of [`reranked`] was made. When a plain run comes from other weights or settings than
        before, its re-rankings are removed: they would pass for this one's.
        """
        folder = self.output_dir / "runs" / split
        _write_columns(folder / "candidates.tsv", image_id=part.images["image_id"])
        if part.gold is not None:
            _write_columns(folder / "gold.tsv", article_id=part.gold.keys(), image_id=part.gold.values())
        else:
            (folder / "gold.tsv").unlink(missing_ok=True)
        made = self.record.setdefault("runs", {}).setdefault(split, {})
        entry = {"model_sha256": self.model_sha256(plain(run)), **settings}
        if rerank is None:
            for name in [name for name in made if name != run and plain(name) == run]:
                if {key: value for key, value in made[name].items() if key != "rerank"} != entry:
                    del made[name]
                    for file in (self.run_file(split, name), self.run_file(split, name).with_suffix(".parquet")):
                        file.unlink(missing_ok=True)
        made[run] = entry if rerank is None else {**entry, "rerank": dict(rerank)}
        self.save()

    def predicted_splits(self) -> list[str]:
        """The parts that have predictions, in the order they were made."""
        return list(self.record.get("runs", {}))

    def rankings(self, split: str) -> "dict[str, Ranking]":
        """The rankings of a part by run, in the order of `RUNS`, each with its re-rankings, as far as they were made.

        Raises:
            [`NewsMatchError`]: when a model has changed since its run was made.
        """
        from ..retrieval.predictions import read_predictions

        made = self.record["runs"][split]
        for run in made:
            if made[run]["model_sha256"] != self.model_sha256(plain(run)):
                raise NewsMatchError(
                    f"{self.run_file(split, run)} is stale, its model has changed or gone since; run"
                    " scripts/predict.py again."
                )
        order = sorted(made, key=lambda run: (RUNS.index(plain(run)), run != plain(run)))
        return {run: read_predictions(self.run_file(split, run)) for run in order}

    def gold(self, split: str) -> dict[str, str] | None:
        """The true pictures of a predicted part, when they are known."""
        from ..data.newsimages import load_gold

        file = self.output_dir / "runs" / split / "gold.tsv"
        return load_gold(file) if file.is_file() else None

    def candidates(self, split: str) -> list[str]:
        """The candidate pictures of a predicted part."""
        with open(self.output_dir / "runs" / split / "candidates.tsv", encoding="utf-8", newline="") as stream:
            return [row["image_id"] for row in csv.DictReader(stream, delimiter="\t")]


def reranked(run: str, method: str) -> str:
    """The name of a run that was ranked again."""
    return f"{run}{_RERANKED}{method}"


def plain(run: str) -> str:
    """The run whose model a run has: itself, or what it ranks again."""
    return run.partition(_RERANKED)[0]


def _drawn(data_args: DataArguments, output_dir: Path) -> DataArguments:
    """With `--demo`, draw the corpus into the run's folder and name its files."""
    if not data_args.demo:
        return data_args
    if data_args.articles_file:
        raise NewsMatchError("--demo draws its own data: leave --articles_file out, or --demo.")
    from ..demo.newsroom import write_newsroom

    folder = write_newsroom(output_dir / "newsroom", domain=data_args.demo, seed=data_args.corpus_seed)
    return dataclasses.replace(
        data_args,
        articles_file=str(folder / "articles.tsv"),
        image_dir=str(folder / "images"),
        test_articles_file=str(folder / "test_articles.tsv"),
        test_images=str(folder / "test_images.tsv"),
        gold_file=str(folder / "test_gold.tsv"),
    )


def _absolute(data_args: DataArguments) -> DataArguments:
    """Later steps may run from another folder: paths are recorded in full, Hub ids as they are."""
    names = (*_FILE_ARGUMENTS, "image_dir", "test_image_dir")
    return dataclasses.replace(data_args, **{name: _absolute_path(getattr(data_args, name)) for name in names})


def _absolute_path(value: str | None) -> str | None:
    return str(Path(value).absolute()) if value and Path(value).exists() else value


def _base_id(model_args: ModelArguments) -> str:
    name = model_args.model_name_or_path
    return name if name == DEMO_MODEL else _absolute_path(name)


def _hashes(data_args: DataArguments) -> dict[str, dict[str, str]]:
    files = {name: getattr(data_args, name) for name in _FILE_ARGUMENTS}
    return {
        name: {"path": file, "sha256": sha256(file)} for name, file in files.items() if file and Path(file).is_file()
    }


def _write_columns(file: Path, **columns: Iterable[str]) -> None:
    with atomic_path(file) as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values()))


def _default(dataclass_type: type, name: str) -> Any:
    item = next(item for item in dataclasses.fields(dataclass_type) if item.name == name)
    return item.default if item.default is not dataclasses.MISSING else item.default_factory()
