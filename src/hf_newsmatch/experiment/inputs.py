"""The inputs of an experiment as it records them: full paths, drawn demo news, and hashes of the lists."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..configs import DataArguments, ModelArguments, join_files, split_files
from ..data.corpus import Corpus
from ..data.fingerprints import Fingerprint, Fingerprints, fingerprint_digest, fingerprints
from ..errors import NewsMatchError
from ..models.loading import DEMO_MODEL
from ..utils.files import sha256
from .layout import Layout
from .record import PictureFacts, Record, SourceFile

FILE_ARGUMENTS = ("articles_file", "test_articles_file", "test_images", "gold_file")
_PATH_ARGUMENTS = (*FILE_ARGUMENTS, "image_dir", "test_image_dir")


def with_demo_news(data_args: DataArguments, layout: Layout) -> DataArguments:
    """The arguments; with `--demo`, those of the news drawn into the experiment's folder.

    Raises:
        [`NewsMatchError`]: when `--articles_file` is named as well.
    """
    if not data_args.demo:
        return data_args
    if data_args.articles_file:
        raise NewsMatchError("--demo draws its own data: leave --articles_file out, or --demo.")
    from ..demo.newsroom import write_newsroom

    folder = write_newsroom(layout.newsroom, domain=data_args.demo, seed=data_args.corpus_seed)
    return dataclasses.replace(
        data_args,
        articles_file=str(folder / "articles.tsv"),
        image_dir=str(folder / "images"),
        test_articles_file=str(folder / "test_articles.tsv"),
        test_images=str(folder / "test_images.tsv"),
        gold_file=str(folder / "test_gold.tsv"),
    )


def with_full_paths(data_args: DataArguments) -> DataArguments:
    """The arguments with full paths, because later steps may run in another folder; Hub ids stay as they are."""
    paths: dict[str, Any] = {}
    for name in _PATH_ARGUMENTS:
        value = getattr(data_args, name)
        paths[name] = None if value is None else full_path(value)
    return dataclasses.replace(data_args, **paths)


def full_path(value: str) -> str:
    """The full paths of files or a folder that are on this machine; any other value, such as a Hub id, unchanged."""
    if not value:
        return value
    files = [str(Path(file).absolute()) if Path(file).exists() else file for file in split_files(value)]
    return join_files(files) or value


def base_model_id(model_args: ModelArguments) -> str:
    """The base model as an experiment records it: a full path, a Hub id or `"demo"`."""
    name = model_args.model_name_or_path
    return name if name == DEMO_MODEL else full_path(name)


def hash_files(data_args: DataArguments) -> dict[str, SourceFile]:
    """The path and SHA-256 of each list, by the name of its argument."""
    files = {name: getattr(data_args, name) for name in FILE_ARGUMENTS}
    return {
        name: SourceFile(path=file, sha256=_sha256_of_list(split_files(file)))
        for name, file in files.items()
        if file and all(Path(part).is_file() for part in split_files(file))
    }


def _sha256_of_list(files: list[str]) -> str:
    """The SHA-256 of a list's file, or of the hashes of its files."""
    hashes = list(map(sha256, files))
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def fingerprint_corpus(corpus: Corpus) -> dict[str, dict[str, Fingerprint]]:
    """The fingerprints of the pictures in use by list, `"linked"` and `"test"`."""
    from datasets import concatenate_datasets

    test_list = corpus.report["test_list"] is not None
    linked = [split.images for name, split in corpus.splits.items() if not (test_list and name == "test")]
    columns = ["image_id", "image", "image_file"]
    lists = {"linked": concatenate_datasets([corpus.train.select_columns(columns), *linked])}
    if test_list:
        lists["test"] = corpus.splits["test"].images
    found = {name: fingerprints(rows) for name, rows in lists.items()}
    return {name: pictures for name, pictures in found.items() if pictures}


def picture_facts(lists: Mapping[str, Fingerprints]) -> dict[str, PictureFacts]:
    """The fingerprints of pictures as an experiment records them: one hash a list."""
    return {name: PictureFacts(len(found), fingerprint_digest(found)) for name, found in lists.items()}


def find_moved(record: Record, folder: Path) -> None:
    """Let the paths of a record that lie inside its folder follow when that was moved or copied."""
    if record.folder == str(folder):
        return

    def moved_path(value: str) -> str:
        path = Path(value)
        if not path.is_absolute():
            return value
        if record.folder:
            inside = path.is_relative_to(record.folder)
            return str(folder / path.relative_to(record.folder)) if inside else value
        if path.exists():
            return value
        # older records do not tell where they were: the longest end of the path that is there
        ends = (Path(*path.parts[number:]) for number in range(1, len(path.parts)))
        return next((str(folder / end) for end in ends if (folder / end).exists()), value)

    def moved(value: str | None) -> str | None:
        return value and join_files(list(map(moved_path, split_files(value))))

    arguments = record.data.arguments
    paths: dict[str, Any] = {name: moved(getattr(arguments, name)) for name in _PATH_ARGUMENTS}
    record.data.arguments = dataclasses.replace(arguments, **paths)
    for file in record.data.files.values():
        file.path = moved(file.path)
    record.base_model.id = moved_path(record.base_model.id)
    record.folder = str(folder)


def given_arguments(arguments: Any) -> dict[str, Any]:
    """The fields of a dataclass that have another value than their default."""
    return {
        item.name: getattr(arguments, item.name)
        for item in dataclasses.fields(arguments)
        if getattr(arguments, item.name) != default_of(item)
    }


def default_of(item: dataclasses.Field) -> Any:
    """The default of a dataclass's field."""
    return item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
