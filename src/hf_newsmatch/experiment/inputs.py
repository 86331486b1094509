"""The inputs of an experiment as it records them: full paths, drawn demo news, and hashes of the lists."""

import dataclasses
from pathlib import Path
from typing import Any

from ..configs import DataArguments, ModelArguments
from ..errors import NewsMatchError
from ..models.loading import DEMO_MODEL
from ..utils.files import sha256
from .layout import Layout
from .record import SourceFile

FILE_ARGUMENTS = ("articles_file", "test_articles_file", "test_images", "gold_file")


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

    def full(value: str | None) -> str | None:
        return None if value is None else full_path(value)

    return dataclasses.replace(
        data_args,
        articles_file=full(data_args.articles_file),
        image_dir=full(data_args.image_dir),
        test_articles_file=full(data_args.test_articles_file),
        test_images=full(data_args.test_images),
        test_image_dir=full(data_args.test_image_dir),
        gold_file=full(data_args.gold_file),
    )


def full_path(value: str) -> str:
    """The full path of what is on this machine; anything else stays as it is."""
    return str(Path(value).absolute()) if value and Path(value).exists() else value


def base_model_id(model_args: ModelArguments) -> str:
    """The base model as an experiment records it: a full path, a Hub id or `"demo"`."""
    name = model_args.model_name_or_path
    return name if name == DEMO_MODEL else full_path(name)


def hash_files(data_args: DataArguments) -> dict[str, SourceFile]:
    """The path and SHA-256 of each list, by the name of its argument."""
    files = {name: getattr(data_args, name) for name in FILE_ARGUMENTS}
    return {
        name: SourceFile(path=file, sha256=sha256(file))
        for name, file in files.items()
        if file and Path(file).is_file()
    }


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
