"""Loaders of the lists of any NewsImages edition, and of plain lists with our own columns, in one schema.

A list is found ([`sources`]), parsed ([`parsing`], by the table of [`layouts`]) and brought into the schema
([`schema`]); its texts are cleaned ([`cleaning`]) in a cached map, and its pictures looked up ([`image_folder`]).
"""

import logging
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Image, Value, concatenate_datasets

from ..configs import split_files
from ..errors import NewsMatchError
from ..utils.machine import usable_cores
from .cleaning import clean_batch
from .image_folder import LINK_OUT, NOT_REGULAR, ImageFolder
from .list_cache import note_hash
from .names import canonical
from .schema import ARTICLE_COLUMNS, IMAGE_COLUMNS, PAIR_COLUMNS
from .sources import load_records

logger = logging.getLogger(__name__)

# Below this many rows starting processes takes longer than they save.
ROWS_WORTH_A_PROCESS = 5_000


def load_pairs(
    articles_file: str | os.PathLike,
    image_dir: str | os.PathLike | None = None,
    *,
    clean: bool = True,
    translated: bool = True,
    skip_bad_rows: bool = False,
    several_pictures: str = "refuse",
    find_pictures: bool = True,
    num_proc: int | None = None,
) -> Dataset:
    """Load articles together with the pictures that were published with them.

    Args:
        articles_file (`str` or `os.PathLike`):
            A list of any NewsImages edition (the names of several files joined by `" + "` are one list), a CSV, TSV,
            JSON lines or Parquet file with our own column names, or the id of a data set on the Hub with these.
        image_dir (`str` or `os.PathLike`, *optional*):
            The folder of the pictures, searched with its sub-folders. By default the folder `images` beside the file;
            without one every `image` is null, and a warning says so.
        clean (`bool`, *optional*, defaults to `True`):
            Whether to remove HTML, mojibake and surplus white space from titles and texts. `False` gives the same
            rows with the strings of the file.
        translated (`bool`, *optional*, defaults to `True`):
            Whether to take the English columns of a list that has its own. `False` gives the originals.
        skip_bad_rows (`bool`, *optional*, defaults to `False`):
            Whether to leave out rows that cannot be read, with a warning that counts them, rather than stop.
        several_pictures (`str`, *optional*, defaults to `"refuse"`):
            What becomes of an article that stands in several rows with different pictures: with `"refuse"` the further
            rows are bad, with `"first"` they are left out with a warning that counts them, and with `"all"` each is a
            pair of its own, under the article's id with `#2`, `#3` and so on.
        find_pictures (`bool`, *optional*, defaults to `True`):
            Whether to look the pictures up. With `False` there is a column `image` only where the source holds them.
        num_proc (`int`, *optional*):
            Processes to clean with. By default one for short lists and all cores for long ones.

    Returns:
        [`~datasets.Dataset`]: One row an article, in the file's order, with the columns `article_id`, `title`, `text`,
        `language`, `url`, `published`, `image_id`, `image`, `image_file` and `date_number`. `image` is null where the
        picture is missing; [`check_pictures`] says why.

    Raises:
        [`NewsMatchError`]: when the list cannot be read or links no pictures, a row is bad, or the folder holds none
            of the pictures.
    """
    if len(files := split_files(articles_file)) > 1:
        options: dict[str, Any] = {
            "clean": clean,
            "translated": translated,
            "skip_bad_rows": skip_bad_rows,
            "several_pictures": several_pictures,
            "num_proc": num_proc,
        }
        parts = [load_pairs(file, image_dir, find_pictures=find_pictures, **options) for file in files]
        return _joined(parts, files, "article_id")
    records, pictures = load_records(articles_file, "pairs", translated, skip_bad_rows, several_pictures)
    records = _clean(records, clean, num_proc)
    if pictures is None and not find_pictures:
        return records.select_columns([name for name in PAIR_COLUMNS if name != "image"])
    if pictures is None and image_dir is None and not _images_beside(articles_file).is_dir():
        logger.warning(
            "Every image of %s is null, since there is no folder %s; name the one that holds the pictures with"
            " image_dir (--image_dir).",
            articles_file,
            _images_beside(articles_file),
        )
    return _with_pictures(records, pictures, articles_file, image_dir).select_columns(list(PAIR_COLUMNS))


def load_articles(
    articles_file: str | os.PathLike,
    *,
    clean: bool = True,
    translated: bool = True,
    skip_bad_rows: bool = False,
    several_pictures: str = "refuse",
    num_proc: int | None = None,
) -> Dataset:
    """Load the articles of a list, linked to pictures or not.

    Args:
        articles_file, clean, translated, skip_bad_rows, num_proc:
            As for [`load_pairs`].
        several_pictures (`str`, *optional*, defaults to `"refuse"`):
            As for [`load_pairs`]; `"all"` is `"first"` here, an article is read once.

    Returns:
        [`~datasets.Dataset`]: One row an article, in the file's order, with the columns `article_id`, `title`, `text`,
        `language`, `url`, `published` and `date_number`.

    Raises:
        [`NewsMatchError`]: when the list cannot be read or holds no articles, or a row is bad.
    """
    if len(files := split_files(articles_file)) > 1:
        options: dict[str, Any] = {
            "clean": clean,
            "translated": translated,
            "skip_bad_rows": skip_bad_rows,
            "several_pictures": several_pictures,
            "num_proc": num_proc,
        }
        return _joined([load_articles(file, **options) for file in files], files, "article_id")
    records, _ = load_records(articles_file, "articles", translated, skip_bad_rows, several_pictures)
    return _clean(records, clean, num_proc).select_columns(list(ARTICLE_COLUMNS))


def load_images(
    images_file_or_dir: str | os.PathLike,
    image_dir: str | os.PathLike | None = None,
    *,
    skip_bad_rows: bool = False,
) -> Dataset:
    """Load candidate pictures: those that a list names, or all pictures of a folder.

    Args:
        images_file_or_dir (`str` or `os.PathLike`):
            A list of pictures or of linked articles, or a folder, whose pictures then get their file names without
            suffix as ids; those of one name in several sub-folders, their paths in the folder.
        image_dir (`str` or `os.PathLike`, *optional*):
            For a list, the folder of the pictures as for [`load_pairs`].
        skip_bad_rows (`bool`, *optional*, defaults to `False`):
            As for [`load_pairs`].

    Returns:
        [`~datasets.Dataset`]: One row for each distinct `image_id`, with `image` and `image_file`, in the list's order
        or, for a folder, by name.

    Raises:
        [`NewsMatchError`]: when the list cannot be read or names no picture, or the folder holds none.
    """
    if os.path.isdir(images_file_or_dir):
        return _load_folder(Path(images_file_or_dir))
    if len(files := split_files(images_file_or_dir)) > 1:
        parts = [load_images(file, image_dir, skip_bad_rows=skip_bad_rows) for file in files]
        joined = _joined(parts, files)
        first: dict[str, int] = {}
        for row, image_id in enumerate(joined["image_id"][:]):
            first.setdefault(image_id, row)
        return joined.select(list(first.values()))
    records, pictures = load_records(images_file_or_dir, "images", True, skip_bad_rows)
    return _with_pictures(records, pictures, images_file_or_dir, image_dir).select_columns(list(IMAGE_COLUMNS))


def load_gold(
    file: str | os.PathLike,
    articles: Dataset | None = None,
    *,
    skip_bad_rows: bool = False,
    several_pictures: str = "refuse",
) -> dict[str, str]:
    """Load the id of the true picture of each article.

    Args:
        file (`str` or `os.PathLike`):
            A linked list of any layout, or two columns of article and image ids, which need no header when a tab
            separates them.
        articles ([`~datasets.Dataset`], *optional*):
            The articles that are to be scored. When none of their ids is in the gold list, the two are matched by url:
            the 2021 edition numbers its test articles anew.
        skip_bad_rows (`bool`, *optional*, defaults to `False`):
            As for [`load_pairs`].
        several_pictures (`str`, *optional*, defaults to `"refuse"`):
            As for [`load_pairs`]; `"all"` is `"first"` here, an article has one true picture.

    Returns:
        `dict[str, str]`: The image id for each article id. Gold articles that are not among `articles` stay, under the
        id that the gold list has, so that scoring can count them.

    Raises:
        [`NewsMatchError`]: when the list cannot be read or links nothing, or shares neither ids nor urls with
            `articles`.
    """
    files = split_files(file)
    lists = [load_records(name, "links", True, skip_bad_rows, several_pictures)[0] for name in files]
    records = lists[0] if len(lists) == 1 else _joined(lists, files, "article_id")
    links = zip(*(records[name][:] for name in ("article_id", "image_id", "url")))
    rows = [link for link in links if link[1] is not None]
    gold = {article_id: image_id for article_id, image_id, _ in rows}
    if articles is None or not gold.keys().isdisjoint(articles["article_id"][:]):
        return gold

    ids_by_url = defaultdict(list)
    for url, article_id in zip(articles["url"][:], articles["article_id"][:]):
        if url is not None:
            ids_by_url[url].append(article_id)
    matched, unmatched = {}, {}
    for article_id, image_id, url in rows:
        if url in ids_by_url:
            matched.update(dict.fromkeys(ids_by_url[url], image_id))
        else:
            unmatched[article_id] = image_id
    if not matched:
        raise NewsMatchError(
            f"{file} shares neither article ids nor urls with the articles (its ids are like {next(iter(gold))!r},"
            f" theirs like {articles[0]['article_id']!r}); name the gold list of this edition and of these articles."
        )
    logger.warning(
        "The article ids of %s are not those of the articles, so they are matched by url: %d articles have a gold"
        " picture, and %d gold articles are not among them.",
        file,
        len(matched),
        len(unmatched),
    )
    return matched | unmatched


def _joined(parts: Sequence[Dataset], files: Sequence[str], unique: str | None = None) -> Dataset:
    """Lists of several files as one, in which no id of an article and no picture means two things."""
    columns = [set(part.column_names) for part in parts]
    if any(names != columns[0] for names in columns):
        raise NewsMatchError(f"{' and '.join(files)} do not all hold their pictures inside; read them one by one.")
    seen: dict[str, str] = {}
    pictures: dict[str, tuple[str, str]] = {}
    for part, file in zip(parts, files):
        ids = part[unique][:] if unique else []
        for article_id in ids:
            if seen.setdefault(article_id, file) != file:
                raise NewsMatchError(
                    f"{file} has the article id {article_id!r} of {seen[article_id]} again; read the two one by one,"
                    " or correct one."
                )
        named = [name for name in ("image_id", "image_file") if name in part.column_names]
        if len(named) == 2:
            for image_id, name in zip(*(part[column][:] for column in named)):
                first = pictures.setdefault(image_id, (name, file)) if image_id and name else None
                if first and canonical(first[0]) != canonical(name):
                    raise NewsMatchError(
                        f"{file} gives {name} the image id {image_id!r}, which is {first[0]} in {first[1]}; correct"
                        " one."
                    )
    return concatenate_datasets(list(parts))


def _clean(records: Dataset, clean: bool, num_proc: int | None) -> Dataset:
    if not clean:
        return records
    if num_proc is None and len(records) >= ROWS_WORTH_A_PROCESS:
        num_proc = min(usable_cores(), len(records) // (ROWS_WORTH_A_PROCESS // 2))
    cleaned = records.map(
        clean_batch, batched=True, input_columns=["title", "text"], num_proc=num_proc, desc="Cleaning texts"
    )
    for file in cleaned.cache_files:
        note_hash(Path(file["filename"]))
    return cleaned


def _with_pictures(
    records: Dataset, pictures: Dataset | None, source: str | os.PathLike, image_dir: str | os.PathLike | None
) -> Dataset:
    """Add the column `image`: from inside the source, from the folder, or null."""
    if pictures is not None:
        if len(pictures) != len(records):
            pictures = pictures.select([line - 1 for line in records["line"]]).flatten_indices()
        return concatenate_datasets([records, pictures.cast_column("image", Image())], axis=1)

    files: list[str | None] = records["image_file"][:]
    found: list[str | None] = [None] * len(records)
    path = Path(image_dir) if image_dir is not None else _images_beside(source)
    if image_dir is not None or path.is_dir():
        folder = ImageFolder(path)
        names = folder.find_all(records["image_id"][:], files, records["article_id"][:])
        files = [file or name for file, name in zip(files, names)]
        found = [name and folder.absolute(name) for name in names]
        if folder.left_out.keys() & {LINK_OUT, NOT_REGULAR}:
            logger.warning("%s holds what is not used: %s.", folder.path, folder.describe_left_out())
        unused = len(folder) - len(set(names) & set(folder))
        if unused:
            logger.info("No row of %s names %d of the %d pictures of %s.", source, unused, len(folder), folder.path)
        if not any(found):
            _no_picture_found(folder, source, records, required=image_dir is not None)
    images = Dataset.from_dict(
        {"image": found, "image_file": files}, features=Features({"image": Image(), "image_file": Value("string")})
    )
    return concatenate_datasets([records.remove_columns("image_file"), images], axis=1)


def _images_beside(source: str | os.PathLike) -> Path:
    """The folder where the pictures of a list are looked for by default."""
    return Path(source).parent / "images"


def _no_picture_found(folder: ImageFolder, source: str | os.PathLike, records: Dataset, required: bool) -> None:
    looked_for = [row["image_file"] or f"{row['image_id']}.jpg" for row in records.take(20) if row["image_id"]][:3]
    message = (
        f"{folder.path} holds none of the pictures of {source} (looked for {', '.join(looked_for)} among the"
        f" {len(folder)} pictures in it); name the folder that holds them with image_dir (--image_dir)."
    )
    if required:
        raise NewsMatchError(message)
    logger.warning(message)


def _load_folder(path: Path) -> Dataset:
    folder = ImageFolder(path)
    if folder.left_out:
        logger.warning("%s holds what is not used: %s.", path, folder.describe_left_out())
    if not len(folder):
        held = folder.describe_left_out()
        raise NewsMatchError(f"{path} holds no picture{f' ({held})' if held else ''}; name the folder that does.")
    names = list(folder)
    rows = {"image_id": folder.image_ids(), "image": [folder.absolute(name) for name in names], "image_file": names}
    features = Features({"image_id": Value("string"), "image": Image(), "image_file": Value("string")})
    return Dataset.from_dict(rows, features=features)
