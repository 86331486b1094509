"""The provenance of a published checkpoint: the record of its experiment without paths, accounts and pictures."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ..configs import split_files
from ..experiment.record import InterpolatedRecord, Record, SourceFile

# arguments of the data that say how they were read, not where they are
_READING = (
    *("demo", "corpus_seed", "text_fields", "holdout_test", "train_fraction", "sort_by", "skip_bad_rows"),
    "several_pictures",
    *("use_english_columns", "translate", "translation_model", "translation_revision", "max_sentences"),
)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that can be published.

    Args:
        run (`str`):
            `"fine_tuned"` or `"wise_ft"`.
        folder (`Path`):
            Where it is.
        alpha (`float`, *optional*):
            Of a WiSE-FT model that has one for all weights.
        scored (`bool`, *optional*, defaults to `True`):
            Whether the scores of `run` are this checkpoint's; those of another alpha are not.
        scores (`Mapping[str, Any]`, *optional*):
            The content of the experiment's `scores.json`: split to the comparison of its runs.
        figure (`Path`, *optional*):
            The picture of the curve that chose its alpha.
    """

    run: str
    folder: Path
    alpha: float | None = None
    scored: bool = True
    scores: Mapping[str, Any] = field(default_factory=dict)
    figure: Path | None = None


def provenance(record: Record, checkpoint: Checkpoint) -> dict[str, Any]:
    """The record of a checkpoint as it may be published, ready for JSON; of files, names and SHA-256."""
    section = record.data
    public = dataclasses.replace(
        record,
        base_model=dataclasses.replace(record.base_model, id=file_name(record.base_model.id)),
        data=dataclasses.replace(
            section,
            files={
                name: SourceFile(sha256=file.sha256, name=file_name(file.source))
                for name, file in section.files.items()
            },
        ),
        wise_ft=_published_alpha(record, checkpoint),
        alphas={},
        runs={},
        folder=None,
    ).to_json()
    data = public["data"]
    arguments = {name: data["arguments"][name] for name in _READING}
    data["arguments"] = {**arguments, "translation_model": file_name(arguments["translation_model"])}
    # pictures and texts of others, and arguments of the machine or the account
    for name in ("unusable_pictures", "translation"):
        data.pop(name)
    (data["test_list"] or {}).pop("unusable_pictures", None)
    public["train"].pop("arguments")
    return _without_paths(public)


def _published_alpha(record: Record, checkpoint: Checkpoint) -> InterpolatedRecord | None:
    if checkpoint.run != "wise_ft":
        return None
    if checkpoint.scored:
        return record.wise_ft
    made = record.alphas[checkpoint.folder.name]
    return InterpolatedRecord(made.alpha, made.sha256, made.endpoints)


def is_path(value: str) -> bool:
    """Whether a string is an absolute path, of this or another operating system."""
    return PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()


def file_name(value: str) -> str:
    """The last part of a local path; a Hub id stays whole."""
    files = split_files(value)
    return " + ".join(Path(file).name if is_path(file) or Path(file).exists() else file for file in files)


def local_paths(value: Any) -> set[str]:
    """All absolute paths in JSON data."""
    if isinstance(value, str):
        return {value} if is_path(value) else set()
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*map(local_paths, values))


def _without_paths(value: Any) -> Any:
    """The same without any entry that is an absolute path."""
    if isinstance(value, dict):
        return {k: _without_paths(v) for k, v in value.items() if not (isinstance(v, str) and is_path(v))}
    if isinstance(value, list):
        return [_without_paths(item) for item in value if not (isinstance(item, str) and is_path(item))]
    return value
