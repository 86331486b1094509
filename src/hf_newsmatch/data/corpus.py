"""The data of a run: the pairs to train on, and the parts to rank."""

import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..configs import DataArguments
from ..errors import NewsMatchError

# what reads data is imported where it is needed: that takes seconds, and a step that only wants the models needs none
if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

TEST_ARGUMENTS = ("test_articles_file", "test_images", "test_image_dir", "gold_file")


@dataclass
class Split:
    """What is ranked and scored together.

    Args:
        articles (`datasets.Dataset`):
            The texts.
        images (`datasets.Dataset`):
            The distinct candidate pictures, each usable.
        gold (`dict[str, str]`, *optional*):
            Article id to the id of its true picture, when that is known.
    """

    articles: "Dataset"
    images: "Dataset"
    gold: dict[str, str] | None


@dataclass
class Corpus:
    """Everything the files of a run hold: the pairs to train on, and the parts to rank."""

    train: "Dataset"
    validation: "Dataset"
    splits: dict[str, Split]
    report: dict[str, Any]


def load_corpus(
    data_args: DataArguments,
    unusable: list[dict[str, str]] | None = None,
    unusable_test: list[dict[str, str]] | None = None,
) -> Corpus:
    """Read, check and split the data that the arguments name.

    Args:
        data_args ([`DataArguments`]):
            The arguments.
        unusable (`list[dict]`, *optional*):
            What [`check_pictures`] found before among the pairs; every picture is decoded when it is not given.
        unusable_test (`list[dict]`, *optional*):
            The same for the candidates of a test list.

    Returns:
        [`Corpus`]

    Raises:
        [`NewsMatchError`]: on files that cannot be used.
    """
    from .english import NewsTranslation
    from .newsimages import load_pairs
    from .splits import chronological_split, split_report

    if not data_args.articles_file:
        raise NewsMatchError("No data is named: give --articles_file (and --image_dir), --demo feed, or a --config.")
    if not data_args.test_articles_file:
        for name in TEST_ARGUMENTS[1:]:
            if getattr(data_args, name):
                raise NewsMatchError(f"--{name} belongs to a test list; name that with --test_articles_file.")
    pairs = load_pairs(data_args.articles_file, data_args.image_dir, **_reading(data_args))
    _check_fields(pairs, data_args)
    translation = NewsTranslation(data_args, pairs)
    usable, unusable = _usable(pairs, unusable)
    if not len(usable):
        raise NewsMatchError(
            f"None of the {len(pairs)} articles of {data_args.articles_file} has a usable picture; --image_dir"
            " names the folder that holds them."
        )
    test, unusable_test = load_test_split(data_args, unusable_test)

    usable = translation(usable)
    if test is not None:
        test.articles = translation(test.articles)

    holdout = data_args.holdout_test if data_args.holdout_test is not None else test is None
    oldest, held_out = usable, None
    if holdout:
        halves = chronological_split(usable, sort_by=data_args.sort_by)
        oldest, held_out = halves["train"], halves["validation"]
    splits = chronological_split(oldest, data_args.train_fraction, sort_by=data_args.sort_by)
    parts = {"validation": linked_split(splits["validation"])}
    if held_out is not None and test is None:
        splits["test"] = held_out
    report = {
        "holdout_test": holdout,
        "split": split_report(splits),
        "translation": translation.report(),
        "pairs_without_usable_picture": len(pairs) - len(usable),
        "unusable_pictures": _count(unusable),
        "test_list": None,
    }
    if test is not None:
        parts["test"] = test
        report["test_list"] = {**_overlap(test, oldest), "unusable_pictures": _count(unusable_test)}
    elif held_out is not None:
        parts["test"] = linked_split(held_out)
    _check_size(parts["validation"])
    return Corpus(splits["train"], splits["validation"], parts, report)


def _usable(images: "Dataset", unusable: list[dict[str, str]] | None) -> "tuple[Dataset, list[dict[str, str]]]":
    """The rows with a usable picture, and the unusable pictures: those known before, or found now and listed."""
    from datasets import Image

    from .images import check_pictures, drop_unusable

    known = unusable is not None
    if not known:
        unusable = check_pictures(images)
        for item in unusable:
            logger.warning("Picture %s is left out: %s (%s).", item["image_id"], item["reason"], item["image_file"])
    usable = drop_unusable(images, unusable)
    if known:
        rows = usable.cast_column("image", Image(decode=False)).select_columns(["image", "image_file", "image_id"])[:]
        for image, file, image_id in zip(rows["image"], rows["image_file"], rows["image_id"]):
            if image is None:
                raise NewsMatchError(f"The picture {file or image_id} is gone since the run began; restore it.")
    return usable, unusable


def _count(unusable: list[dict[str, str]]) -> dict[str, Any]:
    return {"counts": dict(Counter(item["reason"] for item in unusable)), "pictures": unusable}


def _overlap(test: Split, pairs: "Dataset") -> dict[str, int]:
    """How large a test list is and what of it was trained or validated on, which is warned of."""
    shared = {
        name: len(set(column[:]) & set(pairs[name][:]) - {None})
        for name, column in (
            ("article_id", test.articles["article_id"]),
            ("url", test.articles["url"]),
            ("image_id", test.images["image_id"]),
        )
    }
    articles = max(shared["article_id"], shared["url"])
    if articles:
        logger.warning(
            "%d of the %d test articles are among those to train and validate on: their scores are not those of unseen"
            " news.",
            articles,
            len(test.articles),
        )
    return {
        "articles": len(test.articles),
        "pictures": len(test.images),
        "shared_articles": articles,
        "shared_pictures": shared["image_id"],
    }


def _check_size(validation: Split) -> None:
    if len(validation.images) < 2:
        raise NewsMatchError(
            "The validation part has one picture only, which every model ranks first; lower --train_fraction."
        )
    if len(validation.images) < 10:
        logger.warning(
            "The validation part has only %d pictures: what it says of epochs and alphas is mostly chance.",
            len(validation.images),
        )


def linked_split(pairs: "Dataset") -> Split:
    """Linked articles and their own pictures."""
    from .images import distinct_images

    return Split(pairs, distinct_images(pairs), dict(zip(pairs["article_id"][:], pairs["image_id"][:])))


def load_test_split(
    data_args: DataArguments, unusable: list[dict[str, str]] | None = None
) -> tuple[Split | None, list[dict[str, str]]]:
    """The part that the test arguments name, if they name one, and its unusable pictures.

    `unusable` is what [`check_pictures`] found before; every picture is decoded when it is not given.

    Raises:
        [`NewsMatchError`]: on files that cannot be used, and when no picture can.
    """
    from .newsimages import load_articles, load_gold, load_images

    file = data_args.test_articles_file
    if not file:
        return None, []
    articles = load_articles(file, **_reading(data_args))
    images = load_images(data_args.test_images or file, data_args.test_image_dir or data_args.image_dir)
    images, unusable = _usable(images, unusable)
    if not len(images):
        raise NewsMatchError(
            f"None of the candidate pictures of {data_args.test_images or file} is usable; --test_image_dir names the"
            " folder that holds them."
        )
    # a list that links its own pictures is its own gold
    gold_file = data_args.gold_file or (None if data_args.test_images else file)
    return Split(articles, images, load_gold(gold_file, articles) if gold_file else None), unusable


def _reading(data_args: DataArguments) -> dict[str, bool]:
    """How lists of articles are read."""
    return {"skip_bad_rows": data_args.skip_bad_rows, "translated": data_args.use_english_columns}


def _check_fields(pairs: "Dataset", data_args: DataArguments) -> None:
    texts = [name for name in ("title", "text", "url") if name in pairs.column_names]
    for name in data_args.text_fields:
        if name not in texts:
            raise NewsMatchError(f"--text_fields names '{name}'; the texts of an article are {', '.join(texts)}.")
    empty = sum(not any(row.values()) for row in pairs.select_columns(list(data_args.text_fields)))
    if empty == len(pairs):
        raise NewsMatchError(f"No article of {data_args.articles_file} has a {' or '.join(data_args.text_fields)}.")
    if empty:
        logger.warning("%d of %d articles have no text in %s.", empty, len(pairs), " and ".join(data_args.text_fields))
