"""The demo's news: a small world told in headlines ([`grammar`]) and pictures ([`drawing`]), day by day.

[`write_newsroom`] writes the files that a participant of NewsImages gets, so that the demo goes through the same steps
as real data. It has the difficulties of news: newsrooms treat their pictures in a style of their own, topics come and
go, new names appear, persons and towns recur, several articles share a picture, and texts mention things that no
picture shows.
"""

import hashlib
import inspect
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from ..errors import NewsMatchError
from ..utils.files import atomic_path
from . import drawing, grammar

TRAIN, TEST = 1800, 1500  # articles
PER_DAY = 10
FIRST_DAY = date(2024, 1, 1)
SHARED = 0.12  # share of articles with the picture of an earlier article, about a week old
HEADER = ("# article", "aid", "url", "img", "iid", "hashvalue", "title", "text", "imgFile", "Date")


@dataclass(frozen=True)
class Domain:
    """A publisher: the language it writes, and the towns it writes about."""

    number: int  # keeps the random streams of domains apart
    language: str
    towns: tuple[str, ...]


DOMAINS = {
    "feed": Domain(1, "en", tuple(grammar.TOWNS)),
    "portal": Domain(2, "de", tuple(grammar.TOWNS)[-8:]),
}


def write_newsroom(folder: str | Path, domain: str = "feed", seed: int = 0) -> Path:
    """Write the news of one domain as the files of a NewsImages edition.

    `articles.tsv` holds the older articles with their pictures, `test_articles.tsv` and `test_images.tsv` the newer
    ones without the link between the two, `test_gold.tsv` that link, and `images/` all pictures. The same seed gives
    the same bytes; when `folder` holds them already, nothing is done.

    Args:
        folder (`str` or `Path`):
            The folder to write; made when missing, replaced when it holds another demo corpus.
        domain (`str`, *optional*, defaults to `"feed"`):
            `"feed"`, English, or `"portal"`, German.
        seed (`int`, *optional*, defaults to 0):
            The seed of the events. The world itself, its towns and persons, is always the same.

    Returns:
        `Path`: The folder.

    Raises:
        [`NewsMatchError`]: on an unknown domain, or when `folder` holds anything but a demo corpus.
    """
    if domain not in DOMAINS:
        raise NewsMatchError(f"The demo newsroom has no domain '{domain}'; take one of {', '.join(DOMAINS)}.")
    folder, stamp = Path(folder), {"domain": domain, "seed": seed, "drawn_by": _fingerprint()}
    if folder.exists() and any(folder.iterdir()):
        try:
            present = json.loads((folder / "newsroom.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise NewsMatchError(f"{folder} holds other files; name an empty folder for the demo newsroom.") from error
        if present == {**stamp, "pictures": len(list(folder.glob("images/*")))}:
            return folder
    with atomic_path(folder) as temporary:
        (temporary / "images").mkdir(parents=True)
        drawn = list(_articles(domain, seed, 0, TRAIN)), list(_articles(domain, seed, TRAIN, TRAIN + TEST))
        for row, image in drawn[0] + drawn[1]:
            if image:
                image.save(temporary / "images" / row["imgFile"], quality=90)
        train, test = ([row for row, _ in articles] for articles in drawn)
        pictures = list({row["iid"]: row for row in test}.values())
        random.Random(seed).shuffle(pictures)
        of_picture = ("img", "iid", "hashvalue", "imgFile")
        _write_table(temporary / "articles.tsv", HEADER, train)
        _write_table(temporary / "test_articles.tsv", HEADER, test, blank=of_picture)
        _write_table(temporary / "test_images.tsv", HEADER, pictures, blank=[c for c in HEADER if c not in of_picture])
        gold = [{"articleID": row["# article"], "iid": row["iid"]} for row in test]
        _write_table(temporary / "test_gold.tsv", ("articleID", "iid"), gold)
        stamp["pictures"] = len(list(temporary.glob("images/*")))
        (temporary / "newsroom.json").write_text(json.dumps(stamp) + "\n", encoding="utf-8")
    return folder


def general_pairs(n: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Pairs of the general domain, for pre-training.

    Args:
        n (`int`):
            The number of pairs.
        seed (`int`, *optional*, defaults to 0):
            The seed of the pairs.

    Yields:
        `dict`: Rows with `title`, `text`, `image_id` and `image`.
    """
    for i in range(n):
        rng = np.random.default_rng([seed, 0, i])
        event = grammar.general_event(rng)
        title, text = grammar.tell(event, rng)["en"]
        image = drawing.draw(event.scene, rng, drawing.private_style(rng))
        yield {"title": title, "text": text, "image_id": f"{seed}-{i}", "image": image}


def _articles(domain: str, seed: int, start: int, stop: int) -> Iterator[tuple[dict[str, str], Image.Image | None]]:
    """Rows of a list in order of time, each with its picture unless an earlier row has the same picture."""
    publisher, style = DOMAINS[domain], drawing.STYLES[domain]
    recent: list[tuple[grammar.Event, str]] = []  # events that later articles may follow up, each with its picture
    for i in range(start, stop):
        rng = np.random.default_rng([seed, publisher.number, i])
        if recent and rng.random() < SHARED:
            event, file = recent[int(rng.integers(len(recent)))]
            image = None
        else:
            event = grammar.news_event(rng, when=i / (TRAIN + TEST), towns=publisher.towns)
            digest = hashlib.blake2b(f"{domain} {seed} {i}".encode(), digest_size=8).hexdigest().upper()
            file = f"{digest}.{'png' if digest[-1] in '07' else 'jpg'}"
            image = drawing.draw(event.scene, rng, style)
            recent = [*recent[-7 * PER_DAY :], (event, file)]
        title, text = grammar.tell(event, rng)[publisher.language]
        day, site = FIRST_DAY + timedelta(days=i // PER_DAY), f"https://{domain}.newsroom.example"
        iid = Path(file).stem
        cells = (
            10**8 * publisher.number + i, i, f"{site}/{day}/{i}", f"{site}/pictures/{file}", iid, iid, title, text,
            file, day,
        )  # fmt: skip
        yield dict(zip(HEADER, map(str, cells))), image


def _write_table(file: Path, header, rows: list[dict[str, str]], blank=()) -> None:
    lines = [header, *([("" if column in blank else row[column]) for column in header] for row in rows)]
    file.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8", newline="\n")


def _fingerprint() -> str:
    """A hash of all that the files depend on: these modules, and the versions of the libraries that draw."""
    sources = "".join(inspect.getsource(module) for module in (drawing, grammar, sys.modules[__name__]))
    return hashlib.sha256(f"{sources} {PIL.__version__} {np.__version__}".encode()).hexdigest()
