"""The record of an experiment, `newsmatch.json`, as dataclasses: where data, models and runs come from."""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dacite

from ..configs import DataArguments
from ..errors import NewsMatchError
from ..utils.files import write_json

RECORD = "newsmatch.json"
# Raised when keys change their names; `_upgraded` reads every older format.
FORMAT = 2

SPLITS = ("train", "validation", "test")
RUNS = ("zero_shot", "fine_tuned", "wise_ft", "ensemble")
RERANKED = "+"  # between a run and the method that ranked it again, in the names of both
ALPHA_FOLDER = "wise_ft_alpha_"  # where the models of several alphas go, before the number
_ALPHA_NAME = re.compile(rf"{ALPHA_FOLDER}-?\d+(\.\d+)?(e[-+]?\d+)?")
_METHOD = re.compile(r"[a-z0-9_]+")
_DEEPEST = 32

# A field that files of the first format and experiments that have not come so far lack: left out while it is empty.
_LATER = {"later": True}


@dataclass
class BaseModel:
    """The model that a training begins with: its folder or Hub id, its commit, and the SHA-256 of its weights."""

    id: str
    revision: str | None
    sha256: str | None


@dataclass
class SourceFile:
    """A list that data were read from. A published record has its name in place of the path."""

    sha256: str
    path: str | None = field(default=None, metadata=_LATER)
    name: str | None = field(default=None, metadata=_LATER)

    @property
    def source(self) -> str:
        """The path, or the name where the record was published."""
        return self.path or self.name or ""


@dataclass
class SplitFacts:
    """The size and the time of one split, and how much of it an earlier split has, too."""

    rows: int
    pictures: int
    first_date: str | None = None
    last_date: str | None = None
    shared_pictures: int | None = field(default=None, metadata=_LATER)
    shared_rows: int | None = field(default=None, metadata=_LATER)


@dataclass
class SplitReport:
    """The order in time by which the linked list was split, and the splits, oldest first."""

    order: str
    splits: dict[str, SplitFacts]


@dataclass
class UnusablePictures:
    """The pictures that were left out: their number by reason, and each with its id, file and reason."""

    counts: dict[str, int] = field(default_factory=dict)
    pictures: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class TestList:
    """The size of a test list, and how much of it was trained or validated on."""

    __test__ = False  # no class of tests

    articles: int
    pictures: int
    shared_articles: int = 0
    shared_pictures: int = 0
    unusable_pictures: UnusablePictures = field(default_factory=UnusablePictures)


@dataclass
class PictureFacts:
    """The number of the pictures of a list that are used, and the SHA-256 over their contents."""

    pictures: int
    sha256: str


@dataclass
class TranslationFacts:
    """The translation of the articles: the model, the numbers of sentences, and those that kept their source text."""

    model: str = ""
    model_identity: str = ""
    sentences: int = 0
    distinct: int = 0
    in_parts: int = 0
    kept: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class DataRecord:
    """The data of an experiment: how they were named, the lists' hashes, and what reading them found."""

    arguments: DataArguments
    files: dict[str, SourceFile]
    test_list: TestList | None
    split: SplitReport = field(default_factory=lambda: SplitReport("file", {}))
    translation: TranslationFacts | None = None
    pairs_without_usable_picture: int = 0
    unusable_pictures: UnusablePictures = field(default_factory=UnusablePictures)
    # by list, "linked" or "test"; a list that holds its pictures itself has none
    pictures: dict[str, PictureFacts] = field(default_factory=dict, metadata=_LATER)

    @classmethod
    def of(
        cls,
        arguments: DataArguments,
        files: dict[str, SourceFile],
        report: Mapping[str, Any],
        pictures: dict[str, PictureFacts] | None = None,
    ) -> "DataRecord":
        """The section of data that were just read, with the report of reading them."""
        # what reading decided belongs to the arguments
        report = {name: value for name, value in report.items() if name != "holdout_test"}
        return dacite.from_dict(
            cls, _upgraded_data({"arguments": arguments, "files": files, "pictures": pictures or {}, **report})
        )


@dataclass
class TrainRecord:
    """The training of the fine-tuned model whose weights have the hash `sha256`."""

    sha256: str | None
    arguments: dict[str, Any] = field(default_factory=dict)
    processes: int = 1
    metrics: dict[str, Any] = field(default_factory=dict)
    best_metric: dict[str, float | None] = field(default_factory=dict)
    best_step: int | None = None
    log_history: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Endpoints:
    """The SHA-256 of the two models that an interpolated one lies between."""

    zero_shot: str | None
    fine_tuned: str | None


@dataclass
class InterpolatedRecord:
    """A WiSE-FT model: its alphas, how they were chosen, its hash and those of its endpoints."""

    alpha: float | None
    sha256: str | None
    endpoints: Endpoints
    rule: str | None = field(default=None, metadata=_LATER)
    alpha_vision: float | None = field(default=None, metadata=_LATER)
    alpha_text: float | None = field(default=None, metadata=_LATER)
    logit_scale_with: str | None = field(default=None, metadata=_LATER)
    alphas: dict[str, float] | None = field(default=None, metadata=_LATER)
    alpha_rule: str | None = field(default=None, metadata=_LATER)
    alpha_metric: str | None = field(default=None, metadata=_LATER)
    curve: list[dict[str, float]] | None = field(default=None, metadata=_LATER)
    folds: list[list[dict[str, float]]] | None = field(default=None, metadata=_LATER)

    @property
    def is_chosen(self) -> bool:
        """Whether a rule chose the alpha on the validation split."""
        return self.alpha_rule is not None

    @property
    def one_alpha(self) -> float | None:
        """The alpha of all weights; `None` when they have several."""
        several = (self.alpha_vision, self.alpha_text, self.alphas)
        return self.alpha if all(value is None for value in several) else None


@dataclass
class RunRecord:
    """A prediction file: the weights it was made with, the ensemble's weight, its re-ranking and its own hash.

    How its texts and pictures were embedded is there where that is not the default: in float32, without compilation,
    and with texts cut at the context.
    """

    model_sha256: str | None
    weight: float | None = field(default=None, metadata=_LATER)
    rerank: dict[str, Any] | None = field(default=None, metadata=_LATER)
    file_sha256: str | None = field(default=None, metadata=_LATER)
    dtype: str | None = field(default=None, metadata=_LATER)
    torch_compile: bool | None = field(default=None, metadata=_LATER)
    long_text: str | None = field(default=None, metadata=_LATER)

    @property
    def plain(self) -> "RunRecord":
        """What it was made of, without a re-ranking."""
        return RunRecord(self.model_sha256, self.weight, **self.embedding)

    @property
    def embedding(self) -> dict[str, Any]:
        """The settings by which its texts and pictures were embedded."""
        return {"dtype": self.dtype, "torch_compile": self.torch_compile, "long_text": self.long_text}


@dataclass
class SplitFiles:
    """The SHA-256 of what scoring a split needs beside its runs; without gold where that is not known."""

    candidates: str
    gold: str | None = field(default=None, metadata=_LATER)


@dataclass
class Record:
    """All that an experiment says of itself.

    Args:
        base_model ([`BaseModel`]): The model before fine-tuning.
        data ([`DataRecord`]): The data.
        hf_newsmatch (`str`, *optional*): The version of this package that began the experiment.
        versions (`dict[str, str]`): Those of the libraries that the numbers depend on.
        recipe (`dict[str, Any]`): The arguments that the fine-tuned weights depend on.
        train ([`TrainRecord`], *optional*): The training, once it is done.
        wise_ft ([`InterpolatedRecord`], *optional*): The WiSE-FT model of the experiment.
        alphas (`dict[str, InterpolatedRecord]`): Further WiSE-FT models by the name of their folder.
        runs (`dict[str, dict[str, RunRecord]]`): Split to run to its prediction file.
        scored (`dict[str, SplitFiles]`): The candidates and the gold beside the runs, by split.
        folder (`str`, *optional*): Where the record was written: paths inside are found again after a move.
    """

    base_model: BaseModel
    data: DataRecord
    hf_newsmatch: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    train: TrainRecord | None = field(default=None, metadata=_LATER)
    wise_ft: InterpolatedRecord | None = field(default=None, metadata=_LATER)
    alphas: dict[str, InterpolatedRecord] = field(default_factory=dict, metadata=_LATER)
    runs: dict[str, dict[str, RunRecord]] = field(default_factory=dict, metadata=_LATER)
    scored: dict[str, SplitFiles] = field(default_factory=dict, metadata=_LATER)
    folder: str | None = field(default=None, metadata=_LATER)

    @property
    def training(self) -> TrainRecord:
        """The training of the fine-tuned model.

        Raises:
            [`NewsMatchError`]: when nothing was fine-tuned yet.
        """
        if self.train is None:
            raise NewsMatchError(f"The {RECORD} records no training yet; run `hf-newsmatch train` first.")
        return self.train

    @property
    def interpolated(self) -> InterpolatedRecord:
        """The WiSE-FT model of the experiment.

        Raises:
            [`NewsMatchError`]: when none was made yet.
        """
        if self.wise_ft is None:
            raise NewsMatchError(f"The {RECORD} records no WiSE-FT model yet; run `hf-newsmatch interpolate` first.")
        return self.wise_ft

    def to_json(self) -> dict[str, Any]:
        """The record as JSON has it, in the current format."""
        return {"format": FORMAT, **_to_json(self)}

    @classmethod
    def from_json(cls, data: Any, source: str | Path = RECORD) -> "Record":
        """Read a record of any format.

        Args:
            data (`Any`):
                The content of a `newsmatch.json`.
            source (`str` or `Path`, *optional*):
                The file, for messages.

        Raises:
            [`NewsMatchError`]: when something is missing or of another type.
        """
        try:
            _check_foreign(data)
            record = dacite.from_dict(cls, _upgraded(data), dacite.Config(cast=[float], strict=True))
            _check_names(record)
            return record
        except (
            dacite.DaciteError,
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            OverflowError,
            RecursionError,
        ) as error:
            raise NewsMatchError(
                f"{source} is damaged ({_shortened(error)}); train again with --overwrite."
            ) from error

    @classmethod
    def load(cls, file: str | Path) -> "Record":
        """Read the record of a file; see [`Record.from_json`]."""
        try:
            data = json.loads(Path(file).read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise NewsMatchError(f"{file} is damaged ({_shortened(error)}); train again with --overwrite.") from error
        return cls.from_json(data, file)

    def save(self, file: str | Path) -> None:
        """Write the record, atomically."""
        write_json(self.to_json(), file)


def _to_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        items = ((item, getattr(value, item.name)) for item in dataclasses.fields(value))
        # 0 is a value, an empty dict of what may still come is none
        return {
            item.name: _to_json(found)
            for item, found in items
            if not (item.metadata.get("later") and (found is None or found == {}))
        }
    if isinstance(value, dict):
        return {name: _to_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    return value


def _check_foreign(data: Any) -> None:
    """Raise a `ValueError` for what JSON can hold and no record does: deep nesting, and text that no file can hold."""
    level = [data]
    for _ in range(_DEEPEST):
        level = [
            item
            for value in level
            if isinstance(value, dict | list)
            for item in (value.values() if isinstance(value, dict) else value)
        ]
    if level:
        raise ValueError("it is nested too deeply")
    json.dumps(data, ensure_ascii=False).encode()


def _upgraded(data: dict[str, Any]) -> dict[str, Any]:
    """A record of the first format in the names of the second."""
    if data.get("format", 1) > FORMAT:
        raise ValueError(f"it is of format {data['format']}, which a later hf-newsmatch wrote")
    section = {name: value for name, value in data.items() if name != "format"}
    if data.get("format", 1) < FORMAT:
        section["data"] = _upgraded_data(section["data"])
        if "wise_ft_family" in section:
            section["alphas"] = section.pop("wise_ft_family")
    return section


def _upgraded_data(section: dict[str, Any]) -> dict[str, Any]:
    split = dict(section.get("split") or {})
    if "parts" not in split:
        return section
    split["splits"] = split.pop("parts")
    return {**section, "split": split}


def is_run(name: str) -> bool:
    """Whether a name is that of a run, plain or ranked again."""
    run, plus, method = name.partition(RERANKED)
    return run in RUNS and bool(_METHOD.fullmatch(method) if plus else not method)


def is_model(name: str) -> bool:
    """Whether a name is that of the folder of a model."""
    return name in ("fine_tuned", "wise_ft") or bool(_ALPHA_NAME.fullmatch(name))


def _check_names(record: Record) -> None:
    """Refuse names that no step writes: they become paths, and a record may come from anywhere."""
    for name in record.alphas:
        if not is_model(name):
            raise ValueError(f"'{name}' is no folder of an alpha")
    for split, runs in record.runs.items():
        if split not in SPLITS:
            raise ValueError(f"'{split}' is no split")
        for name in runs:
            if not is_run(name):
                raise ValueError(f"'{name}' is no run")


def _shortened(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"
