"""The schema of news lists, and raw columns brought into it: without pictures, every string as the file has it."""

import posixpath
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import pyarrow as pa
from datasets import Features, Value

from ..errors import NewsMatchError
from .dates import parse_dates
from .names import canonical, is_plain
from .parsing import RawTable

Kind = Literal["pairs", "articles", "images", "links"]

# What becomes of the further rows of an article that stands with several pictures.
SEVERAL_PICTURES = ("refuse", "first", "all")
_FURTHER = " (articles of several pictures are read with --several_pictures first or all)"

ARTICLE_COLUMNS = ("article_id", "title", "text", "language", "url", "published", "date_number")
PAIR_COLUMNS = (*ARTICLE_COLUMNS[:-1], "image_id", "image", "image_file", "date_number")
IMAGE_COLUMNS = ("image_id", "image", "image_file")

RECORD_FEATURES = Features(
    {
        "article_id": Value("string"),
        "title": Value("string"),
        "text": Value("string"),
        "language": Value("string"),
        "url": Value("string"),
        "published": Value("timestamp[us, tz=UTC]"),
        "image_id": Value("string"),
        "image_file": Value("string"),
        "date_number": Value("int64"),
        # where the row stands in its file: for messages, and to find the picture inside a Parquet file
        "line": Value("int64"),
    }
)


class Records(NamedTuple):
    """A list in our schema.

    Args:
        table (`pyarrow.Table`): The good rows, with the features [`RECORD_FEATURES`].
        bad (`dict[int, str]`): The problem of each bad row by its line, as a predicate: `"has no article id"`.
        further (`int`): How many rows with a further picture of an article are left out.
    """

    table: pa.Table
    bad: dict[int, str]
    further: int


def build_records(raw: RawTable, kind: Kind, translated: bool = True, several_pictures: str = "refuse") -> Records:
    """Bring a raw list into our schema.

    Args:
        raw ([`RawTable`]):
            The list.
        kind (`str`):
            The kind of rows that the list must give: `"pairs"`, `"articles"`, `"images"`, or `"links"`, pairs that
            need no texts. Each row must have an article id of its own, or for `"images"` a picture.
        translated (`bool`, *optional*, defaults to `True`):
            Whether to take a list's own English translation rather than its original.
        several_pictures (`str`, *optional*, defaults to `"refuse"`):
            What becomes of rows with the id, title and text of an article before them: with `"refuse"` they are bad,
            with `"first"` they are left out, and with `"all"` each that has another picture is a pair of its own,
            under the article's id with `#2`, `#3` and so on; of lists that need no pairs it is left out.

    Returns:
        [`Records`]

    Raises:
        [`NewsMatchError`]: when the whole list is of another kind.
    """
    article_ids = _ids(raw, "article_id")
    image_files = _identifiers(raw, "image_file")
    image_ids = _ids(raw, "image_id")
    if not any(image_ids):
        image_ids = _ids_of_files(image_files)
    if raw.pictures is not None and not any(image_ids):
        image_ids = _numbered(article_ids)  # as many as there are pictures
    if raw.layout.captions and not any(article_ids):
        article_ids = _ids_of_captions(image_ids, raw.lines)
        image_ids = image_ids if any(image_ids) else article_ids
    _check_kind(raw, kind, article_ids, image_ids)

    titles, texts, languages = _texts(raw, translated)
    published, date_numbers, bad_dates = parse_dates(_identifiers(raw, "date"))
    find_problem = _picture_problem if kind == "images" else _article_problem
    # pictures inside the source belong to their rows, whatever names they have
    files_matter = kind != "articles" and raw.pictures is None
    bad, further = dict(raw.bad), 0
    kept: list[int] = []
    seen: dict[str, str] = {}
    several = _SeveralPictures(article_ids, image_ids, titles, texts)
    files: dict[str, str] = {}
    places: dict[int, int] = {}
    for i, line in enumerate(raw.lines):
        again = i > 0 and raw.lines[i - 1] == line and kind != "images"
        if again and kind == "articles":
            continue
        problem = (
            (kind != "images" and _id_problem("article", article_ids[i]))
            or (kind != "articles" and _id_problem("image", image_ids[i]))
            or (kind != "images" and bad_dates.get(i))
            or (files_matter and _file_problem(image_ids[i], image_files[i], files))
        )
        is_further = not problem and kind != "images" and several.is_further(i)
        if is_further and several_pictures != "refuse":
            # without a picture before it, this one is the article's first
            first = several.without_picture(i) if kind != "articles" else None
            if first is not None:
                kept[places[first]] = i
                continue
            new_id = several.new_id(i) if several_pictures == "all" and kind == "pairs" else None
            if new_id is None:
                further += 1
                continue
            article_ids[i] = new_id
        if again and several_pictures == "refuse":  # none of its pictures
            problem = problem or "has several pictures"
            if kept and raw.lines[kept[-1]] == line:
                kept.pop()
        problem = problem or find_problem(article_ids[i], image_ids[i], seen)
        own_id = image_ids[i] if kind == "images" else article_ids[i]
        if problem:
            bad[line] = problem + (_FURTHER if is_further and several.has_another_picture(i) else "")
        elif own_id and (kind != "images" or own_id not in seen):
            seen[own_id] = f"{raw.unit} {line}"
            places[i] = len(kept)
            kept.append(i)

    columns = {
        "article_id": article_ids,
        "title": titles,
        "text": texts,
        "language": languages,
        "url": _identifiers(raw, "url"),
        "published": published,
        "image_id": image_ids,
        "image_file": image_files,
        "date_number": date_numbers,
        "line": raw.lines,
    }
    table = pa.table(columns, schema=RECORD_FEATURES.arrow_schema)
    table = table if len(kept) == len(raw.lines) else table.take(pa.array(kept, pa.int64()))
    return Records(table, bad, further)


class _SeveralPictures:
    """The good rows of a list that give an article before them a further picture."""

    def __init__(self, article_ids: Sequence[str | None], image_ids: Sequence[str | None], *texts: Sequence[str]):
        self.article_ids, self.image_ids, self.texts = list(article_ids), image_ids, list(zip(*texts))
        self.taken = set(self.article_ids)
        self.first: dict[str | None, int] = {}
        self.pictures: dict[str | None, set[str | None]] = {}

    def is_further(self, row: int) -> bool:
        """Whether a row has the id and the words of an article before it; asked once a row, of all in their order."""
        article_id = self.article_ids[row]
        if article_id is None:
            return False
        first = self.first.setdefault(article_id, row)
        if first == row:
            self.pictures[article_id] = {self.image_ids[row]} - {None}
        return first != row and self._words(first) == self._words(row)

    def has_another_picture(self, row: int) -> bool:
        """Whether a further row has a picture that its article has not had yet."""
        return self.image_ids[row] not in {None, *self.pictures[self.article_ids[row]]}

    def without_picture(self, row: int) -> int | None:
        """The first row of a further row's article, when that has no picture and this row has one."""
        article_id, image_id = self.article_ids[row], self.image_ids[row]
        if image_id is None or self.pictures[article_id]:
            return None
        self.pictures[article_id].add(image_id)
        return self.first[article_id]

    def new_id(self, row: int) -> str | None:
        """An id for the pair of its own that a further row is; `None` when its picture is not a further one."""
        article_id, image_id = self.article_ids[row], self.image_ids[row]
        pictures = self.pictures[article_id]
        if image_id is None or image_id in pictures:
            return None
        pictures.add(image_id)
        number = len(pictures)
        while (new_id := f"{article_id}#{number}") in self.taken:
            number += 1
        self.taken.add(new_id)
        return new_id

    def _words(self, row: int) -> list[list[str]]:
        return [text.split() for text in self.texts[row]]


def _id_problem(noun: str, value: str | None) -> str | None:
    """An id that no tab-separated file holds as it is: prediction files name articles and pictures by their ids."""
    return f"has a line end, a tab or a quote in its {noun} id" if value and not is_plain(value) else None


def _article_problem(article_id: str | None, image_id: str | None, seen: dict[str, str]) -> str | None:
    if article_id is None:
        return "has no article id"
    if article_id in seen:
        return f"has the article id {article_id!r} of {seen[article_id]} again"
    return None


def _picture_problem(article_id: str | None, image_id: str | None, seen: dict[str, str]) -> str | None:
    # an article without a picture is no candidate, but a line with neither is a mistake
    return "has no image id" if image_id is None and article_id is None else None


def _file_problem(image_id: str | None, file: str | None, files: dict[str, str]) -> str | None:
    if image_id is None or file is None:
        return None
    first = files.setdefault(image_id, file)
    if file != first and canonical(file) != canonical(first):
        return f"gives {file} the image id {image_id!r} of {first}"
    return None


def _check_kind(raw: RawTable, kind: Kind, article_ids: Sequence[str | None], image_ids: Sequence[str | None]) -> None:
    problem = None
    if not raw.lines:
        return
    if kind == "images" and not any(image_ids):
        problem = (
            "names no picture; read its articles with load_articles, and name a list or folder of candidate pictures"
            " (--test_images)"
        )
    elif kind != "images" and any(image_ids) and not any(article_ids):
        problem = "is a list of pictures without articles; read it with load_images"
    elif kind in ("pairs", "articles") and "title" not in raw.layout.columns:
        problem = "has neither titles nor texts; read its links with load_gold"
    elif kind in ("pairs", "links") and not any(image_ids):
        problem = "has no link between its articles and pictures; read it with load_articles"
    if problem:
        raise NewsMatchError(f"{raw.source} {problem}.")


def _cells(raw: RawTable, column: str) -> Sequence[str]:
    """The cells of the first source column that holds anything."""
    sources = [raw.columns[name] for name in raw.layout.columns.get(column, ()) if name in raw.columns]
    return next((cells for cells in sources if any(map(_value, cells))), [""] * len(raw.lines))


def _identifiers(raw: RawTable, column: str) -> list[str | None]:
    return [_value(cell) for cell in _cells(raw, column)]


def _ids(raw: RawTable, column: str) -> list[str | None]:
    """Ids are compared with those of other lists and of file names: Unicode composed, as [`canonical`] has it."""
    return [value and unicodedata.normalize("NFC", value) for value in _identifiers(raw, column)]


def _ids_of_files(files: Sequence[str | None]) -> list[str | None]:
    """The stem of each file, or where files share a stem, the path without suffix, or if need be, the whole path."""
    paths = [file and canonical(file) for file in files]
    distinct = {path for path in paths if path is not None}
    stems = Counter(map(_stem, distinct))
    bare = Counter(posixpath.splitext(path)[0] for path in distinct)
    ids: dict[str | None, str] = {}
    for path in distinct:
        without_suffix = posixpath.splitext(path)[0]
        unique = without_suffix if bare[without_suffix] == 1 else path
        ids[path] = _stem(path) if stems[_stem(path)] == 1 else unique
    return [ids.get(path) for path in paths]


def _ids_of_captions(image_ids: Sequence[str | None], lines: Sequence[int]) -> list[str | None]:
    """An id for each caption: that of its picture, with the caption's number where the picture has several."""
    return _numbered(image_ids) if any(image_ids) else list(map(str, lines))


def _numbered(image_ids: Sequence[str | None]) -> list[str | None]:
    """The ids, from the second of a kind on with a number behind."""
    counts: Counter[str] = Counter()
    ids: list[str | None] = []
    for image_id in image_ids:
        if image_id is not None:
            counts[image_id] += 1
        ids.append(image_id if image_id is None or counts[image_id] == 1 else f"{image_id}#{counts[image_id]}")
    return ids


def _stem(path: str) -> str:
    return posixpath.splitext(posixpath.basename(path))[0]


def _texts(raw: RawTable, translated: bool) -> tuple[list[str], list[str], list[str | None]]:
    titles = list(map(_text, _cells(raw, "title")))
    texts = list(map(_text, _cells(raw, "text")))
    languages = _identifiers(raw, "language")
    english_titles, english_texts = (_named(raw, raw.layout.english, column) for column in ("title", "text"))
    if translated and english_titles and english_texts:
        for i, (title, text) in enumerate(zip(english_titles, english_texts)):
            # a row whose translation is missing keeps its original, and says no language
            if _value(title) or _value(text):
                titles[i], texts[i], languages[i] = _text(title), _text(text), "en"
    if not translated:
        for column, cells in (("title", titles), ("text", texts)):
            original = _named(raw, raw.layout.original, column)
            cells[: len(original)] = map(_text, original)
        original = _named(raw, raw.layout.original, "language")
        languages[: len(original)] = map(_value, original)
    return titles, texts, languages


def _named(raw: RawTable, names: Mapping[str, str], column: str) -> Sequence[str]:
    """The cells of the source column that `names` gives for one of ours; empty where the list has none."""
    return raw.columns.get(names[column], ()) if column in names else ()


def _value(cell: str) -> str | None:
    cell = cell.strip()
    return None if cell in ("", "N/A", "n/a") else cell


def _text(cell: str) -> str:
    return "" if _value(cell) is None else cell
