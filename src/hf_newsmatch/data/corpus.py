"""The corpus of a run: the pairs to train on, and the splits to rank."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..configs import DataArguments
from ..errors import NewsMatchError
from ..utils.files import atomic_path

# The readers are imported where they are needed: that takes seconds, and a step that only wants the models needs none.
if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from .fingerprints import Fingerprints

logger = logging.getLogger(__name__)

TEST_ARGUMENTS = ("test_articles_file", "test_images", "test_image_dir", "gold_file")
# Epochs and alphas that are chosen on fewer pictures are mostly chosen by chance.
_FEW_IMAGES = 10
# So many unusable pictures are named in a warning; more of them go into a file.
_SHOWN = 5


@dataclass
class Split:
    """Articles and candidate pictures that are ranked and scored together.

    Args:
        articles (`datasets.Dataset`):
            The articles.
        images (`datasets.Dataset`):
            The distinct candidate pictures, each usable.
        gold (`dict[str, str]`, *optional*):
            The id of the true picture of each article id, when that is known.
    """

    articles: "Dataset"
    images: "Dataset"
    gold: dict[str, str] | None

    @property
    def known_gold(self) -> dict[str, str]:
        """The gold.

        Raises:
            [`NewsMatchError`]: when it is not known.
        """
        if self.gold is None:
            raise NewsMatchError("The true pictures of these articles are not known; name them with --gold_file.")
        return self.gold


@dataclass
class Corpus:
    """The data of a run.

    Args:
        train (`datasets.Dataset`):
            The pairs to train on; none where a test list alone is named.
        validation (`datasets.Dataset`):
            The pairs to validate on; none where a test list alone is named.
        splits (`dict[str, Split]`):
            The splits to rank, `"validation"` where there are pairs, `"test"` where there is one.
        report (`dict`):
            The counts for the record of the run: the split, the translation, the unusable pictures, the test list.
    """

    train: "Dataset"
    validation: "Dataset"
    splits: dict[str, Split]
    report: dict[str, Any]


@dataclass(frozen=True)
class NewsList:
    """A list of news as the readers give it.

    Args:
        source (`str`):
            The file that names the pictures, for messages.
        image_flag (`str`):
            The flag that names the folder of the pictures, for messages.
        articles (`datasets.Dataset`):
            The articles; pairs when the list links them to pictures.
        images (`datasets.Dataset`, *optional*):
            The candidate pictures. Without them the articles are pairs, and each needs a usable picture of its own.
        gold (`dict[str, str]`, *optional*):
            The id of the true picture of each article id, when that is known.
    """

    source: str
    image_flag: str
    articles: "Dataset"
    images: "Dataset | None" = None
    gold: dict[str, str] | None = None


def load_corpus(
    data_args: DataArguments,
    unusable: list[dict[str, str]] | None = None,
    unusable_test: list[dict[str, str]] | None = None,
    known: "Mapping[str, Fingerprints] | None" = None,
) -> Corpus:
    """Read, check, translate and split the data that the arguments name.

    Args:
        data_args ([`DataArguments`]):
            The arguments.
        unusable (`list[dict]`, *optional*):
            The unusable pictures of the pairs when [`check_pictures`] has listed them before; by default every picture
            is decoded.
        unusable_test (`list[dict]`, *optional*):
            The same for the candidates of the test list.
        known (`Mapping[str, Fingerprints]`, *optional*):
            The pictures that were used before, of the list of pairs (`"linked"`) and of the test list (`"test"`).
            They must be what they were, and no others are used.

    Returns:
        [`Corpus`]

    Raises:
        [`NewsMatchError`]: on files that cannot be used.
    """
    from .english import EnglishTranslation
    from .splits import split_report

    _check_arguments(data_args)
    # Both lists are read, in seconds, before pictures are decoded and texts translated, in minutes and hours.
    linked, test_list = _read_linked_list(data_args), _read_test_list(data_args)
    translate = EnglishTranslation(data_args, *(news.articles for news in (linked, test_list) if news is not None))
    known = known or {}
    pairs, unusable = _prepare(linked, translate, unusable, known.get("linked"))
    test, unusable_test = _prepare(test_list, translate, unusable_test, known.get("test"))

    holdout = data_args.holdout_test if data_args.holdout_test is not None else test is None
    rows = _split_by_time(pairs.articles, data_args, holdout) if pairs else _no_rows()
    if test is not None:
        rows.pop("test", None)  # what --holdout_test keeps from the training gives way to a test list
    splits = {name: linked_split(rows[name]) for name in rows if name != "train" and pairs}
    if test is not None:
        splits["test"] = test
    report = {
        "holdout_test": holdout,
        "split": split_report(rows if pairs else {}),
        "translation": translate.report(),
        "pairs_without_usable_picture": len(linked.articles) - len(pairs.articles) if linked and pairs else 0,
        "unusable_pictures": _count_unusable(unusable),
        "test_list": None,
    }
    if test is not None:
        report["test_list"] = {**_overlap(test, rows), "unusable_pictures": _count_unusable(unusable_test)}
    if pairs:
        _check_size(splits["validation"])
    return Corpus(rows["train"], rows["validation"], splits, report)


def load_test_split(
    data_args: DataArguments, unusable: list[dict[str, str]] | None = None
) -> tuple[Split | None, list[dict[str, str]]]:
    """The split that the test arguments name, if they name one, without translation; and its unusable pictures.

    Args:
        data_args ([`DataArguments`]):
            The arguments.
        unusable (`list[dict]`, *optional*):
            As for [`load_corpus`].

    Raises:
        [`NewsMatchError`]: on files that cannot be used, and when none of the pictures can.
    """
    return _prepare(_read_test_list(data_args), unusable=unusable)


def test_images(data_args: DataArguments) -> "Dataset":
    """The candidates that the test arguments name, before any is decoded.

    Raises:
        [`NewsMatchError`]: on files that cannot be used, and when there is no test list.
    """
    test_list = _read_test_list(data_args)
    if test_list is None or test_list.images is None:
        raise NewsMatchError("There is no test list; name one with --test_articles_file.")
    return test_list.images


def linked_split(pairs: "Dataset") -> Split:
    """The split of linked articles: their own pictures are its candidates."""
    from .images import distinct_images

    return Split(pairs, distinct_images(pairs), dict(zip(pairs["article_id"][:], pairs["image_id"][:])))


def prepare(
    news: NewsList,
    translate: "Callable[[Dataset], Dataset] | None" = None,
    unusable: list[dict[str, str]] | None = None,
    known: "Fingerprints | None" = None,
) -> tuple[Split, list[dict[str, str]]]:
    """Make a split of a list: leave out what has no usable picture, and translate its articles.

    Args:
        news ([`NewsList`]):
            The list.
        translate (`Callable`, *optional*):
            Gives articles in English; without it they stay as they are.
        unusable (`list[dict]`, *optional*):
            The unusable pictures when they are known; by default every picture is decoded.
        known (`Fingerprints`, *optional*):
            The pictures that were used before, as for [`load_corpus`].

    Returns:
        The [`Split`] and its unusable pictures.

    Raises:
        [`NewsMatchError`]: when no picture is usable, or one has gone since it was found usable.
    """
    linked = news.images is None
    rows = news.articles if news.images is None else news.images
    if known:
        rows = _as_known(rows, known, news.source)
    usable, unusable = _usable(rows, unusable)
    if not len(usable):
        raise NewsMatchError(
            f"None of the {len(rows)} {'articles' if linked else 'candidates'} of {news.source} has a usable picture;"
            f" --{news.image_flag} names the folder that holds them."
        )
    articles = usable if linked else news.articles
    articles = articles if translate is None else translate(articles)
    return linked_split(articles) if linked else Split(articles, usable, news.gold), unusable


def _prepare(news: NewsList | None, *args: Any, **kwargs: Any) -> tuple[Split | None, list[dict[str, str]]]:
    """As [`prepare`], of a list that may not be named."""
    return (None, []) if news is None else prepare(news, *args, **kwargs)


def linked_list(data_args: DataArguments) -> str:
    """The list of linked articles that the arguments name, a file or a Hub id.

    Raises:
        [`NewsMatchError`]: when they name none.
    """
    if not data_args.articles_file:
        raise NewsMatchError("No data is named: give --articles_file (and --image_dir), --demo feed, or a --config.")
    return data_args.articles_file


def _check_arguments(data_args: DataArguments) -> None:
    if not data_args.test_articles_file:
        for name in TEST_ARGUMENTS[1:]:
            if getattr(data_args, name):
                raise NewsMatchError(f"--{name} belongs to a test list; name that with --test_articles_file.")
        linked_list(data_args)


def _read_linked_list(data_args: DataArguments) -> NewsList | None:
    from .newsimages import load_pairs

    file = data_args.articles_file
    if not file:
        return None
    pairs = load_pairs(file, data_args.image_dir, **_reading(data_args))
    _check_fields(pairs, file, data_args)
    return NewsList(file, "image_dir", pairs)


def _read_test_list(data_args: DataArguments) -> NewsList | None:
    from .newsimages import load_articles, load_gold, load_images

    file = data_args.test_articles_file
    if not file:
        return None
    articles = load_articles(file, **_reading(data_args))
    if not data_args.articles_file:
        _check_fields(articles, file, data_args)
    source = data_args.test_images or file
    skip = data_args.skip_bad_rows
    images = load_images(source, data_args.test_image_dir or data_args.image_dir, skip_bad_rows=skip)
    # a list that links its own pictures is its own gold
    gold_file = data_args.gold_file or (None if data_args.test_images else file)
    several = data_args.several_pictures
    gold = load_gold(gold_file, articles, skip_bad_rows=skip, several_pictures=several) if gold_file else None
    return NewsList(source, "test_image_dir", articles, images, gold)


def _reading(data_args: DataArguments) -> dict[str, Any]:
    """The readers' options for lists of articles."""
    return {
        "skip_bad_rows": data_args.skip_bad_rows,
        "translated": data_args.use_english_columns,
        "several_pictures": data_args.several_pictures,
    }


def _check_fields(articles: "Dataset", file: str, data_args: DataArguments) -> None:
    texts = [name for name in ("title", "text", "url") if name in articles.column_names]
    for name in data_args.text_fields:
        if name not in texts:
            raise NewsMatchError(f"--text_fields names '{name}'; the texts of an article are {', '.join(texts)}.")
    empty = sum(not any(row.values()) for row in articles.select_columns(list(data_args.text_fields)))
    if empty == len(articles):
        raise NewsMatchError(f"No article of {file} has a {' or '.join(data_args.text_fields)}.")
    if empty:
        fields = " and ".join(data_args.text_fields)
        logger.warning("%d of %d articles have no text in %s.", empty, len(articles), fields)


def _usable(rows: "Dataset", unusable: list[dict[str, str]] | None) -> "tuple[Dataset, list[dict[str, str]]]":
    """The rows with a usable picture, and the unusable pictures: those known before, or found now and logged."""
    from .images import check_pictures, drop_unusable, undecoded

    if unusable is None:
        found = check_pictures(rows)
        _warn_of_unusable(found)
        return drop_unusable(rows, found), found
    usable = drop_unusable(rows, unusable)
    columns = undecoded(usable).select_columns(["image", "image_file", "image_id"])[:]
    for image, file, image_id in zip(columns["image"], columns["image_file"], columns["image_id"]):
        if image is None:
            raise NewsMatchError(f"The picture {file or image_id} is gone since the run began; restore it.")
    return usable, unusable


def _warn_of_unusable(unusable: list[dict[str, str]]) -> None:
    """Say in one warning how many pictures are left out and why, the first of them, and where all are listed."""
    if not unusable:
        return
    reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(item["reason"] for item in unusable).items())
    shown = "; ".join(f"{item['image_id']} ({item['image_file']}, {item['reason']})" for item in unusable[:_SHOWN])
    more = ""
    if len(unusable) > _SHOWN:
        more = f"; … all are in {_write_unusable(unusable)}"
    logger.warning("%d pictures are left out (%s): %s%s.", len(unusable), reasons, shown, more)


def _write_unusable(unusable: list[dict[str, str]]) -> Path:
    import datasets

    lines = ["\t".join(("image_id", "image_file", "reason"))]
    lines += ["\t".join(str(item[name] or "") for name in ("image_id", "image_file", "reason")) for item in unusable]
    text = "\n".join(lines) + "\n"
    name = f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.tsv"
    file = Path(datasets.config.HF_DATASETS_CACHE) / "newsmatch" / "unusable_pictures" / name
    with atomic_path(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return file


def _as_known(rows: "Dataset", known: "Fingerprints", source: str) -> "Dataset":
    """The rows of the pictures that were used before, after a check that these are what they were."""
    from .fingerprints import differences, shown

    if found := differences(rows, known):
        raise NewsMatchError(
            f"Of the pictures of {source}, {' and '.join(found)} since the experiment began; restore what was there,"
            " or start over (--overwrite, or --test_articles_file once more for a test list)."
        )
    names = rows.select_columns(["image_id", "image_file"])[:]
    kept = [row for row, image_id in enumerate(names["image_id"]) if image_id in known]
    if os.path.isdir(source) and len(kept) < len(rows):
        new = [file for image_id, file in zip(names["image_id"], names["image_file"]) if image_id not in known]
        logger.warning(
            "%d pictures of %s were not among the candidates when the test list was read, and are left out: %s.",
            len(new),
            source,
            shown(new),
        )
    return rows if len(kept) == len(rows) else rows.select(kept)


def _no_rows() -> "DatasetDict":
    """Splits of pairs without any pair."""
    from datasets import Dataset, DatasetDict, Features, Image

    from .schema import PAIR_COLUMNS, RECORD_FEATURES

    features = Features({name: Image() if name == "image" else RECORD_FEATURES[name] for name in PAIR_COLUMNS})
    none = Dataset.from_dict({name: [] for name in features}, features=features)
    return DatasetDict(train=none, validation=none)


def _split_by_time(pairs: "Dataset", data_args: DataArguments, holdout: bool) -> "DatasetDict":
    """The pairs as `train` and `validation`, and with `holdout` the newest fifth, cut off before, as `test`."""
    from .splits import chronological_split

    older, newest = pairs, None
    if holdout:
        halves = chronological_split(pairs, sort_by=data_args.sort_by)
        older, newest = halves["train"], halves["validation"]
    rows = chronological_split(older, data_args.train_fraction, sort_by=data_args.sort_by)
    if newest is not None:
        rows["test"] = newest
    return rows


def _count_unusable(unusable: list[dict[str, str]]) -> dict[str, Any]:
    """The unusable pictures, and how many there are for each reason."""
    return {"counts": dict(Counter(item["reason"] for item in unusable)), "pictures": unusable}


def _overlap(test: Split, rows: "DatasetDict") -> dict[str, int]:
    """The size of the test list and how much of it is trained or validated on, which is warned of."""
    shared = {
        name: len(set(column[:]) & {value for split in rows.values() for value in split[name][:]} - {None})
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
            "The validation split has one picture only, which every model ranks first; lower --train_fraction."
        )
    if len(validation.images) < _FEW_IMAGES:
        logger.warning(
            "The validation split has only %d pictures: epochs and alphas chosen on it are mostly chosen by chance.",
            len(validation.images),
        )
