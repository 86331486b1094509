"""Read the lists of any NewsImages edition, and plain lists with our own columns, into one schema.

The way of a list: parse it ([`tables`]), bring it into our schema ([`records`]), keep that as an Arrow file named
after the content's hash, clean its texts in a cached map, look up its pictures ([`pictures`]). The raw file is never
changed.
"""

import hashlib
import json
import logging
import os
import re
import tempfile
from collections import defaultdict
from pathlib import Path

import datasets
import ftfy
import pyarrow as pa
from datasets import Dataset, Features, Image, Value, concatenate_datasets

from ..errors import NewsMatchError
from ..utils.machine import usable_cores
from ..version import __version__
from .cleaning import clean_batch
from .image_folder import SUFFIXES, ImageFolder
from .names import canonical
from .parsing import RawTable, read_dataset, read_table
from .schema import ARTICLE_COLUMNS, IMAGE_COLUMNS, PAIR_COLUMNS, Kind, build_records

logger = logging.getLogger(__name__)

# Part of the cache key: raise it whenever parsing or cleaning gives another result.
READER_VERSION = 3
# Below this many rows starting processes takes longer than they save.
ROWS_WORTH_A_PROCESS = 5_000

_LIST_SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".parquet")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load_pairs(
    articles_file: str | os.PathLike,
    image_dir: str | os.PathLike | None = None,
    *,
    clean: bool = True,
    translated: bool = True,
    skip_bad_rows: bool = False,
    find_pictures: bool = True,
    num_proc: int | None = None,
) -> Dataset:
    """Load articles together with the pictures that were published with them.

    Args:
        articles_file (`str` or `os.PathLike`):
            A list of any NewsImages edition, a CSV, TSV, JSON lines or Parquet file with our own column names, or the
            id of a data set on the Hub with these.
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
        find_pictures (`bool`, *optional*, defaults to `True`):
            Whether to look the pictures up. With `False` there is a column `image` only where the source holds them.
        num_proc (`int`, *optional*):
            Processes to clean with. By default one for short lists and all cores for long ones.

    Returns:
        [`~datasets.Dataset`]: One row an article, in the file's order, with the columns `article_id`, `title`, `text`,
        `language`, `url`, `published`, `image_id`, `image`, `image_file` and `date_number`. `image` is null where the
        picture is missing; [`~pictures.check_pictures`] says why.

    Raises:
        NewsMatchError: The list cannot be read or links no pictures, a row is bad, or the folder holds none of them.
    """
    records, pictures = _load_records(articles_file, "pairs", translated, skip_bad_rows)
    records = _clean(records, clean, num_proc)
    if pictures is None and not find_pictures:
        return records.select_columns([name for name in PAIR_COLUMNS if name != "image"])
    if pictures is None and image_dir is None and not _images_beside(articles_file).is_dir():
        logger.warning(
            f"{articles_file}: every image is null, since there is no folder {_images_beside(articles_file)}; "
            "give the one that holds the pictures as image_dir (--image_dir)"
        )
    return _with_pictures(records, pictures, articles_file, image_dir).select_columns(list(PAIR_COLUMNS))


def load_articles(
    articles_file: str | os.PathLike,
    *,
    clean: bool = True,
    translated: bool = True,
    skip_bad_rows: bool = False,
    num_proc: int | None = None,
) -> Dataset:
    """Load the articles of a list, linked to pictures or not.

    Args:
        articles_file (`str` or `os.PathLike`): As for [`load_pairs`], like the other arguments.

    Returns:
        [`~datasets.Dataset`]: One row an article, in the file's order, with the columns `article_id`, `title`, `text`,
        `language`, `url`, `published` and `date_number`.

    Raises:
        NewsMatchError: The list cannot be read or holds no articles, or a row is bad.
    """
    records, _ = _load_records(articles_file, "articles", translated, skip_bad_rows)
    return _clean(records, clean, num_proc).select_columns(list(ARTICLE_COLUMNS))


def load_images(
    images_file_or_dir: str | os.PathLike,
    image_dir: str | os.PathLike | None = None,
    *,
    skip_bad_rows: bool = False,
) -> Dataset:
    """Load candidate pictures: those that a list names, or all pictures of a folder.

    Args:
        images_file_or_dir (`str` or `os.PathLike`): A list of pictures or of linked articles, or a folder, whose
            pictures then get their file names without suffix as ids.
        image_dir (`str` or `os.PathLike`, *optional*): For a list, the folder of the pictures as for [`load_pairs`].
        skip_bad_rows (`bool`, *optional*, defaults to `False`): As for [`load_pairs`].

    Returns:
        [`~datasets.Dataset`]: One row for each distinct `image_id`, with `image` and `image_file`, in the list's order
        or, for a folder, by name.

    Raises:
        NewsMatchError: The list cannot be read or names no picture, or the folder holds none.
    """
    if os.path.isdir(images_file_or_dir):
        return _load_folder(Path(images_file_or_dir))
    records, pictures = _load_records(images_file_or_dir, "images", True, skip_bad_rows)
    return _with_pictures(records, pictures, images_file_or_dir, image_dir).select_columns(list(IMAGE_COLUMNS))


def load_gold(
    file: str | os.PathLike, articles: Dataset | None = None, *, skip_bad_rows: bool = False
) -> dict[str, str]:
    """Load which picture belongs to which article.

    Args:
        file (`str` or `os.PathLike`): A linked list of any layout, or two columns of article and image ids, which
            need no header when a tab separates them.
        articles ([`~datasets.Dataset`], *optional*): The articles that are to be scored. When none of their ids is in
            the gold list, the two are matched by url: the 2021 edition numbers its test articles anew.
        skip_bad_rows (`bool`, *optional*, defaults to `False`): As for [`load_pairs`].

    Returns:
        `dict[str, str]`: The image id for each article id. Gold articles that are not among `articles` stay, under the
        id that the gold list has, so that scoring can count them.

    Raises:
        NewsMatchError: The list cannot be read or links nothing, or shares neither ids nor urls with `articles`.
    """
    records, _ = _load_records(file, "links", True, skip_bad_rows)
    rows = zip(*(records[name][:] for name in ("article_id", "image_id", "url")))
    rows = [row for row in rows if row[1] is not None]
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
            f"{file} shares neither article ids nor urls with the articles (its ids are like {next(iter(gold))!r}, "
            f"theirs like {articles[0]['article_id']!r}): give the gold list of this edition and these articles"
        )
    logger.warning(
        f"{file}: its article ids are not those of the articles, so they are matched by url; {len(matched)} articles "
        f"have a gold picture and {len(unmatched)} gold articles are not among them"
    )
    return matched | unmatched


def bad_rows(source: str | os.PathLike, kind: Kind = "pairs", *, translated: bool = True) -> list[str]:
    """What is wrong with each row that a loader leaves out with `skip_bad_rows=True`; their number is its length.

    Args:
        source (`str` or `os.PathLike`): The list.
        kind (`str`, *optional*, defaults to `"pairs"`): The loader: `"pairs"`, `"articles"`, `"images"`, or `"links"`
            for [`load_gold`].
        translated (`bool`, *optional*, defaults to `True`): As the loader got it; spares reading the list again.

    Returns:
        `list[str]`: A phrase for each bad row, in the list's order, such as `"line 7: no article id"`.

    Raises:
        NewsMatchError: The list cannot be read or has no usable row.
    """
    cached, _ = _parse(source, kind, translated, skip_bad_rows=True)
    return _bad_rows_of(cached)


def _load_records(
    source: str | os.PathLike, kind: Kind, translated: bool, skip_bad_rows: bool
) -> tuple[Dataset, Dataset | None]:
    """Parse a list and open it from disk: `datasets` caches maps only of data that are on disk."""
    cached, raw = _parse(source, kind, translated, skip_bad_rows)
    if bad := _bad_rows_of(cached):  # also when the list comes from the cache: rows are never left out silently
        logger.warning(
            f"{source}: left out {len(bad)} bad rows ({'; '.join(bad[:10])}{'; …' if len(bad) > 10 else ''})"
        )
    return Dataset.from_file(str(cached)), raw and raw.pictures


def _parse(
    source: str | os.PathLike, kind: Kind, translated: bool, skip_bad_rows: bool
) -> tuple[Path, RawTable | None]:
    """The file of a list's records, parsed now or before; with the list itself where that is open anyway."""
    path, raw = Path(source), None
    if _is_hub_id(source):
        raw, digest = _load_from_hub(str(source))
    else:
        digest = _digest(path)
        if _is_parquet(path):  # holds the pictures too, so it is opened anyway
            raw = read_table(path)
    key = f"{digest} {__version__} {READER_VERSION} {ftfy.__version__} {kind} {translated} {skip_bad_rows}"
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "newsmatch" / hashlib.sha256(key.encode()).hexdigest()
    cached = folder / "records.arrow"
    if not cached.exists():
        raw = raw or read_table(path, gold=kind == "links")
        table, bad = build_records(raw, kind, translated)
        _check_rows(raw, table, bad, skip_bad_rows)
        problems = json.dumps([f"{raw.unit} {line}: {problem}" for line, problem in sorted(bad.items())])
        _write_atomically(table.replace_schema_metadata(table.schema.metadata | {"newsmatch": problems}), cached)
    return cached, raw


def _bad_rows_of(cached: Path) -> list[str]:
    with pa.memory_map(str(cached)) as file:
        return json.loads(pa.ipc.open_stream(file).schema.metadata[b"newsmatch"])


def _is_hub_id(source: str | os.PathLike) -> bool:
    text = str(source)
    return bool(_HUB_ID.fullmatch(text)) and not os.path.exists(text) and not text.lower().endswith(_LIST_SUFFIXES)


def _load_from_hub(name: str) -> tuple[RawTable, str]:
    try:
        dataset = datasets.load_dataset(name, split="train")
    except Exception as error:  # a missing data set, no connection, a gated one, a broken file: each its own kind
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NewsMatchError(
            f"{name} is no file here, and as a data set of the Hub it cannot be loaded ({reason}): check the name"
        ) from error
    return read_dataset(dataset, name), dataset._fingerprint


def _digest(path: Path) -> str:
    if path.is_dir():
        raise NewsMatchError(f"{path} is a folder: give the list inside it")
    if not path.exists():
        raise NewsMatchError(f"{path} does not exist: check the path")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_parquet(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"PAR1"


def _check_rows(raw: RawTable, table: pa.Table, bad: dict[int, str], skip_bad_rows: bool) -> None:
    if bad and not skip_bad_rows:
        line = min(bad)
        more = f" (the first of {len(bad)} bad rows)" if len(bad) > 1 else ""
        raise NewsMatchError(
            f"{raw.source}, {raw.unit} {line}: {bad[line]}{more}; mend it, or leave such rows out with "
            "skip_bad_rows=True (--skip_bad_rows)"
        )
    if not len(table):
        raise NewsMatchError(f"{raw.source} has a header but no {'usable ' if bad else ''}rows: check the file")


def _write_atomically(table: pa.Table, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".tmp", delete=False) as temporary:
        try:
            with pa.ipc.new_stream(temporary, table.schema) as writer:
                writer.write_table(table, max_chunksize=datasets.config.DEFAULT_MAX_BATCH_SIZE)
            temporary.close()
            os.replace(temporary.name, target)
        except BaseException:
            os.unlink(temporary.name)
            raise


def _clean(records: Dataset, clean: bool, num_proc: int | None) -> Dataset:
    if not clean:
        return records
    if num_proc is None and len(records) >= ROWS_WORTH_A_PROCESS:
        num_proc = min(usable_cores(), len(records) // (ROWS_WORTH_A_PROCESS // 2))
    return records.map(
        clean_batch, batched=True, input_columns=["title", "text"], num_proc=num_proc, desc="Cleaning texts"
    )


def _with_pictures(
    records: Dataset, pictures: Dataset | None, source: str | os.PathLike, image_dir: str | os.PathLike | None
) -> Dataset:
    """Add the column `image`: from inside the source, from the folder, or null."""
    if pictures is not None:
        if len(pictures) != len(records):
            pictures = pictures.select([line - 1 for line in records["line"]]).flatten_indices()
        return concatenate_datasets([records, pictures.cast_column("image", Image())], axis=1)

    files, found = records["image_file"][:], [None] * len(records)
    folder = Path(image_dir) if image_dir is not None else _images_beside(source)
    if image_dir is not None or folder.is_dir():
        folder = ImageFolder(folder)
        names = folder.find_all(records["image_id"][:], files, records["article_id"][:])
        files = [file or name for file, name in zip(files, names)]
        found = [name and folder.absolute(name) for name in names]
        if not any(found):
            _no_picture_found(folder, source, records, required=image_dir is not None)
    images = Dataset.from_dict(
        {"image": found, "image_file": files}, features=Features({"image": Image(), "image_file": Value("string")})
    )
    return concatenate_datasets([records.remove_columns("image_file"), images], axis=1)


def _images_beside(source: str | os.PathLike) -> Path:
    return Path(source).parent / "images"


def _no_picture_found(folder: ImageFolder, source: str | os.PathLike, records: Dataset, required: bool) -> None:
    looked_for = [row["image_file"] or f"{row['image_id']}.jpg" for row in records.take(20) if row["image_id"]][:3]
    message = (
        f"{folder.path} holds none of the pictures of {source}: looked for {', '.join(looked_for)} among the "
        f"{len(folder)} pictures in it, give the folder that holds them as image_dir"
    )
    if required:
        raise NewsMatchError(message)
    logger.warning(message)


def _load_folder(path: Path) -> Dataset:
    folder = ImageFolder(path)
    if not len(folder):
        raise NewsMatchError(f"{path} holds no picture (none of {' '.join(SUFFIXES)}): give the folder that does")
    rows = {"image_id": [], "image": [], "image_file": []}
    seen = {}
    for name in folder:
        image_id = Path(canonical(name)).stem
        if image_id in seen:
            raise NewsMatchError(
                f"{path} holds two pictures with the id {image_id!r} ({seen[image_id]} and {name}): rename one of "
                "them, or give a list of the pictures"
            )
        seen[image_id] = name
        rows["image_id"].append(image_id)
        rows["image"].append(folder.absolute(name))
        rows["image_file"].append(name)
    features = Features({"image_id": Value("string"), "image": Image(), "image_file": Value("string")})
    return Dataset.from_dict(rows, features=features)
