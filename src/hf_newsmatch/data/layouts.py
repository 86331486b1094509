"""The layouts of news lists that exist, as a table of data: a new edition of NewsImages is one new entry."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Layout:
    """A kind of list: its column names and their meaning.

    Args:
        name (`str`):
            Its name in messages.
        header (`tuple[str, ...]`):
            Its column names as its authors write them.
        columns (`dict[str, tuple[str, ...]]`):
            For each column of our schema the columns to take it from, best first. The first one that holds anything is
            used for the whole list, so that two kinds of ids never mix.
        required (`tuple[str, ...]`, *optional*):
            The columns that tell this layout from the others; all of `header` by default.
        english (`dict[str, str]`, *optional*):
            The columns with a ready English translation of `title` and `text`.
        original (`dict[str, str]`, *optional*):
            The columns with `title`, `text` and `language` as they were before a translation.
        without_header (`bool`, *optional*, defaults to `False`):
            Whether the list also exists without its header line.
        alone (`bool`, *optional*, defaults to `False`):
            Whether a list of this layout has no other columns.
        captions (`bool`, *optional*, defaults to `False`):
            Whether its rows are captions of pictures, which get the ids of these when they have none.
    """

    name: str
    header: tuple[str, ...]
    columns: dict[str, tuple[str, ...]]
    required: tuple[str, ...] = ()
    english: dict[str, str] = field(default_factory=dict)
    original: dict[str, str] = field(default_factory=dict)
    without_header: bool = False
    alone: bool = False
    captions: bool = False

    def fits(self, names: Sequence[str]) -> bool:
        """Whether a list with these column names (normalised) has this layout."""
        required = {normalise(name) for name in self.required or self.header}
        return required == set(names) if self.alone else required <= set(names)

    def fits_row(self, cells: Sequence[str]) -> bool:
        """Whether a first line can be a row of this layout rather than a header: it has urls where urls belong."""
        if not self.without_header or len(cells) != len(self.header):
            return False
        urls = [cell.lower() for name, cell in zip(self.header, cells) if "url" in name]
        return any(urls) and all(url.startswith(("http://", "https://")) or url in ("", "n/a") for url in urls)


_OUR_COLUMNS = {
    "article_id": ("article_id",),
    "title": ("title",),
    "text": ("text",),
    "language": ("language",),
    "url": ("url",),
    "date": ("published", "date_number"),
    "image_id": ("image_id",),
    "image_file": ("image_file", "image"),
}


def _captions(file: str, caption: str) -> dict[str, tuple[str, ...]]:
    """The columns of a list of pictures and their captions, whose rows need no ids."""
    return {
        "article_id": ("article_id", "id"),
        "title": (caption,),
        "language": ("language",),
        "url": ("url",),
        "date": ("published", "date"),
        "image_id": ("image_id",),
        "image_file": (file,),
    }


GOLD = Layout(
    name="gold",
    header=("article_id", "image_id"),
    columns={"article_id": ("article_id",), "image_id": ("image_id",)},
)

# The first entry that fits is taken, so the more particular ones come first.
LAYOUTS = (
    Layout(
        name="NewsImages 2021-2023, list",
        header=("article", "aid", "url", "img", "iid", "hashvalue", "title", "text", "imgFile", "Date"),
        required=("aid", "url", "hashvalue", "title", "text"),
        columns={
            "article_id": ("article", "articleid", "aid", "url"),
            "title": ("title",),
            "text": ("text",),
            "url": ("url",),
            "date": ("date",),
            "image_id": ("iid",),
            "image_file": ("imgfile",),
        },
        english={"title": "titleen", "text": "texten"},
    ),
    Layout(
        name="NewsImages 2021, pictures",
        header=("img", "iid", "imgFile"),
        columns={"image_id": ("iid",), "image_file": ("imgfile",)},
    ),
    Layout(
        name="NewsImages 2023, four columns",
        header=("url", "title", "tags", "image"),
        columns={
            "article_id": ("url",),
            "title": ("title",),
            "text": ("tags",),
            "url": ("url",),
            "image_file": ("image",),
        },
    ),
    Layout(
        name="NewsImages 2023, RT",
        header=("url", "title", "text", "titleEN", "textEN", "outlet"),
        required=("url", "title", "text", "outlet"),
        columns={
            "article_id": ("url",),
            "title": ("title",),
            "text": ("text",),
            "url": ("url",),
            "image_id": ("iid",),
            "image_file": ("imgfile", "image"),
        },
        english={"title": "titleen", "text": "texten"},
    ),
    Layout(
        name="NewsImages 2025",
        header=("article_id", "article_url", "article_title", "article_tags", "image_id", "image_url"),
        columns={
            "article_id": ("article_id",),
            "title": ("article_title",),
            "text": ("article_tags",),
            "url": ("article_url",),
            "image_id": ("image_id",),
        },
        without_header=True,
    ),
    Layout(
        name="NewsImages 2026",
        header=("article_id", "article_url", "article_title", "image_id"),
        columns={
            "article_id": ("article_id",),
            "title": ("article_title",),
            "url": ("article_url",),
            "image_id": ("image_id",),
        },
    ),
    Layout(
        name="our own columns",
        header=("article_id", "title", "text", "language", "url", "published", "image_id", "image_file"),
        required=("article_id", "title"),
        columns=_OUR_COLUMNS,
        # what scripts/translate.py adds: the first two in its TSV files, the others in its Parquet files
        english={"title": "titleen", "text": "texten"},
        original={"title": "title_source", "text": "text_source", "language": "language_source"},
    ),
    Layout(
        name="our own columns, without titles",
        header=("article_id", "text", "language", "url", "published", "image_id", "image_file"),
        required=("article_id", "text"),
        columns=_OUR_COLUMNS,
    ),
    GOLD,
    Layout(
        name="gold, as the organisers name it",
        header=("articleID", "iid"),
        columns={"article_id": ("articleid",), "image_id": ("iid",)},
    ),
    Layout(
        name="captions of pictures",
        header=("image", "caption"),
        columns=_captions("image", "caption"),
        captions=True,
    ),
    Layout(
        name="captions of pictures, as open_clip takes them",
        header=("filepath", "title"),
        columns=_captions("filepath", "title"),
        captions=True,
    ),
    Layout(
        name="imagefolder (metadata.jsonl) with captions",
        header=("file_name", "caption"),
        columns=_captions("file_name", "caption"),
        captions=True,
    ),
    Layout(
        name="imagefolder (metadata.jsonl)",
        header=("file_name", "text"),
        columns=_captions("file_name", "text"),
        captions=True,
    ),
    Layout(
        name="our own columns, pictures",
        header=("image_id", "image_file"),
        columns={"image_id": ("image_id",), "image_file": ("image_file",)},
    ),
    Layout(
        name="our own columns, pictures inside",
        header=("image_id", "image"),
        columns={"image_id": ("image_id",), "image_file": ("image_file", "image")},
    ),
    Layout(
        name="pictures and texts",
        header=("image", "text"),
        columns=_captions("image", "text"),
        captions=True,
    ),
    Layout(
        name="candidates",
        header=("image_id",),
        columns={"image_id": ("image_id",)},
        alone=True,
    ),
)


def normalise(name: str) -> str:
    """A column name without the differences between editions: case, spaces, a byte order mark, a leading `#`."""
    return name.strip('\ufeff#" \t').lower()


def find_layout(cells: Sequence[str]) -> tuple[Layout, list[str], bool] | None:
    """Recognise a list by its first line.

    Args:
        cells (`Sequence[str]`):
            The cells of the line.

    Returns:
        The layout, the normalised column names and whether the line is a header; or `None` for an unknown layout.
    """
    names = [normalise(cell) for cell in cells]
    for layout in LAYOUTS:
        if layout.fits(names):
            return layout, names, True
    for layout in LAYOUTS:
        if layout.fits_row(cells):
            return layout, [normalise(name) for name in layout.header], False
    return None


def is_gold_row(cells: Sequence[str]) -> bool:
    """Whether a first line can be a row of [`GOLD`]: it begins with a number or url, which names no column."""
    return len(cells) == 2 and bool(re.match(r"\s*(\d|https?://)", cells[0])) and bool(cells[1].strip())


def unknown_layout(source: str, cells: Sequence[str]) -> str:
    """The message for a list that no entry of [`LAYOUTS`] fits: the header it met and the ones it knows."""
    met = ", ".join(repr(cell if len(cell) <= 40 else cell[:39] + "…") for cell in cells[:15])
    known = "; ".join(f"{layout.name}: {' '.join(layout.header)}" for layout in LAYOUTS)
    return (
        f"{source} has an unknown layout: its first line holds {met}, and the headers known are ({known}); rename its"
        " columns to those of one of these."
    )
