"""From the folder of a run to the folder of its report."""

import json
import logging
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import imagehash
import jinja2
import numpy as np
from datasets import Image
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from ..analysis import (
    LOST,
    NEAR_DUPLICATE,
    compare_pairs,
    find_cases,
    hubness,
    length_groups,
    lenient_ranks,
    near_duplicates,
    rank_changes,
    score_groups,
    true_ranks,
)
from ..data.collator import join_text
from ..data.newsimages import bad_rows
from ..data.pictures import thumbnail
from ..errors import NewsMatchError
from ..experiment import RUNS, Experiment, NewsData, Part, plain
from ..files import atomic_path
from ..machine import usable_cores
from ..metrics import compare_runs
from ..metrics.scoring import DEFAULT_KS, article_scores
from ..modeling import load_config, load_processor
from ..retrieval import Ranking
from ..wise_ft.plotting import save_figure
from . import figures, tables
from .tables import Table

logger = logging.getLogger(__name__)

SHOWN = 5  # pictures of each list in the gallery
SIZE = 144  # longer side of a thumbnail, in pixels
TEXT_LENGTH = 400  # letters of an article in the gallery
CASES = {
    "repaired": "worse after fine-tuning, repaired by WiSE-FT",
    "undone": "better after fine-tuning, undone by WiSE-FT",
    "gains": "largest gains from the first to the last run",
    "losses": "largest losses from the first to the last run",
    "won": "always won: first in every run",
    "lost": f"always lost: not among the first {LOST} of any run",
}


@dataclass
class Drawing:
    """A figure of the page: its files' name and what it shows, in words."""

    name: str
    alt: str


@dataclass
class Section:
    """What the page says of a part."""

    split: str
    tables: list[Table]
    figures: list[Drawing]


def write_report(output_dir: str | Path, seed: int = 0, progress: bool = True) -> Path:
    """Write the report of a run to `OUTPUT_DIR/report`: `index.html`, which opens from disk, and all it shows.

    Beside it, `tables.md` and `tables.tex` (for booktabs) hold the same tables, and `figures/` the figures as PNG and
    PDF. The folder appears whole or not at all, in place of an earlier one.

    Args:
        output_dir (`str` or `Path`):
            Folder of a run with predictions.
        seed (`int`, *optional*, defaults to 0):
            Of bootstrap and permutation test.
        progress (`bool`, *optional*, defaults to `True`):
            Whether to show bars.

    Returns:
        `Path`: the `index.html`.

    Raises:
        [`NewsMatchError`]: when the folder holds no run, no predictions with known true pictures or stale ones, or
            data that has changed since.
    """
    experiment = Experiment.open(output_dir)
    splits = [split for split in experiment.predicted_splits() if experiment.gold(split) is not None]
    if not splits:
        raise NewsMatchError(
            f"{output_dir} has no predictions with known true pictures; run scripts/predict.py first."
        )
    rankings = {split: experiment.rankings(split) for split in splits}
    data = experiment.data()
    with atomic_path(experiment.output_dir / "report") as folder:
        for name in ("figures", "pictures", "data"):
            (folder / name).mkdir(parents=True)
        # the test part, where there is one, is what counts
        sections = [
            _write_part(folder, experiment, data, split, rankings[split], seed, progress)
            for split in sorted(splits, key=lambda split: split != "test")
        ]
        training = _training_figures(folder, experiment)
        facts = _facts_tables(experiment, data)
        everything = [table for section in sections for table in section.tables] + facts
        (folder / "tables.md").write_text("\n".join(map(tables.to_markdown, everything)), encoding="utf-8")
        (folder / "tables.tex").write_text("\n".join(map(tables.to_latex, everything)), encoding="utf-8")
        assets = files("hf_newsmatch.report") / "assets"
        for name in ("style.css", "report.js"):
            shutil.copyfile(assets / name, folder / name)
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
        template = environment.from_string((assets / "index.html.jinja").read_text(encoding="utf-8"))
        page = template.render(
            name=experiment.output_dir.resolve().name,
            sections=sections,
            training=training,
            choice=_choice(experiment.record.get("wise_ft")),
            facts=facts,
            cases=CASES,
        )
        (folder / "index.html").write_text(page, encoding="utf-8")
    return experiment.output_dir / "report" / "index.html"


def _write_part(
    folder: Path,
    experiment: Experiment,
    data: NewsData,
    split: str,
    all_rankings: Mapping[str, Ranking],
    seed: int,
    progress: bool,
) -> Section:
    part, gold, candidates = data.parts[split], experiment.gold(split), experiment.candidates(split)
    clusters = list(gold.values())
    # what was ranked again has a table of its own; everything else is about the models
    rankings = {run: ranking for run, ranking in all_rankings.items() if run == plain(run)}
    comparison = compare_runs(rankings, gold, candidates=candidates, seed=seed)
    ranks = true_ranks(rankings, gold)
    pairs = compare_pairs(ranks, clusters, seed=seed)
    # the ensemble has no weights between the others': the paper's questions are about the three
    three = {run: ranks[run] for run in RUNS[:3] if run in ranks}
    articles = _articles(part, gold, experiment.text_fields)
    labels = _labels(articles, gold, data)

    found = [tables.runs_table(split, comparison, pairs)]
    drawn = [_save(folder, f"recall-{split}", figures.plot_recall(ranks, f"Recall, {split} part", _longest(rankings)))]
    if pairs:
        found.append(tables.pairs_table(split, pairs))
    again = {run: ranking for run, ranking in all_rankings.items() if run not in rankings}
    if again:
        made = {run: experiment.record["runs"][split][run]["rerank"] for run in again}
        together = ranks | true_ranks(again, gold)
        gains = compare_pairs(together, clusters, seed=seed, pairs=[(run, plain(run)) for run in again])
        found.append(tables.reranked_table(split, made, together, gains))
    if len(three) == 3:
        found.append(tables.changes_table(split, rank_changes(*three.values())))
    if len(three) > 1:
        drawn.append(
            _save(folder, f"ranks-{split}", figures.plot_ranks(three, f"Ranks of the articles, {split} part"))
        )
    for dimension, values in labels.items():
        found.append(tables.groups_table(split, dimension, score_groups(ranks, values, clusters, seed)))

    hashes = _write_thumbnails(folder / "pictures", split, part, progress)
    duplicates = near_duplicates(hashes)
    lenient = {"pictures": len(duplicates), "max_distance": NEAR_DUPLICATE}
    for run, places in lenient_ranks(all_rankings, gold, duplicates).items():
        scores = article_scores(dict(enumerate(places)), DEFAULT_KS)
        lenient[run] = {metric: float(values.mean()) for metric, values in scores.items()}
    hubs = {run: hubness(ranking, candidates) for run, ranking in all_rankings.items()}
    found.append(tables.hubs_table(split, hubs, lenient))

    cases = find_cases(three) if len(three) > 1 else {}
    gallery = _gallery(articles, part.images["image_id"][:], gold, ranks, rankings, labels, cases)
    _write_script(folder / "data" / f"{split}.js", split, gallery)
    return Section(split, found, drawn)


def _longest(rankings: Mapping[str, Ranking]) -> int:
    """How far the lists of all runs reach."""
    return min(max(map(len, ranking.image_ids)) for ranking in rankings.values())


def _articles(part: Part, gold: Mapping[str, str], text_fields: Sequence[str]) -> list[dict[str, Any]]:
    """What is known of each article of the gold, in its order: what CLIP reads, the language and the time."""
    articles = part.articles
    names = ["article_id", "language", "published", *text_fields]
    rows = {row["article_id"]: row for row in articles.select_columns(list(dict.fromkeys(names)))}
    found = []
    for article_id in gold:
        row = rows.get(article_id)
        text = join_text(row, text_fields) if row else ""
        found.append({**(row or {"language": None, "published": None}), "read": text})
    return found


def _labels(articles: Sequence[Mapping[str, Any]], gold: Mapping[str, str], data: NewsData) -> dict[str, list[str]]:
    """By what articles are grouped; what is the same for all is left out."""
    times = Counter(gold.values())
    trained = set(data.train["image_id"][:])
    labels = {
        "language": [article["language"] or "unknown" for article in articles],
        "length": length_groups([article["read"] for article in articles]),
        "month": [f"{article['published']:%Y-%m}" if article["published"] else "unknown" for article in articles],
        "picture": ["of several articles" if times[image_id] > 1 else "of one article" for image_id in gold.values()],
        "picture in training": ["seen in training" if image_id in trained else "not seen in training" for image_id in gold.values()],
    }
    return {dimension: values for dimension, values in labels.items() if len(set(values)) > 1}


def _write_thumbnails(folder: Path, split: str, part: Part, progress: bool) -> dict[str, imagehash.ImageHash]:
    """A small WebP of each picture, named by its number, for names of pictures may hold anything; and their hashes."""
    images = part.images.cast_column("image", Image(decode=False)).select_columns(["image_id", "image"])

    def write(item: tuple[int, dict[str, Any]]) -> imagehash.ImageHash:
        place, row = item
        picture = thumbnail(row["image"], SIZE)
        picture.save(folder / f"{split}-{place}.webp", quality=60, method=1)
        return imagehash.phash(picture)

    # Pillow decodes and encodes outside the interpreter's lock
    with ThreadPoolExecutor(usable_cores()) as pool:
        hashes = pool.map(write, enumerate(images))
        bar = tqdm(hashes, f"Thumbnails of the {split} part", len(images), unit="picture", disable=not progress)
        return dict(zip(images["image_id"][:], list(bar)))


def _gallery(
    articles: Sequence[Mapping[str, Any]],
    image_ids: Sequence[str],
    gold: Mapping[str, str],
    ranks: Mapping[str, np.ndarray],
    rankings: Mapping[str, Ranking],
    labels: Mapping[str, list[str]],
    cases: Mapping[str, list],
) -> dict[str, Any]:
    """What the gallery of a part shows, pictures by their number."""
    number = {image_id: place for place, image_id in enumerate(image_ids)}
    lists = [_top(ranking, number) for ranking in rankings.values()]
    rows = []
    for place, (article, (article_id, image_id)) in enumerate(zip(articles, gold.items())):
        text = article["read"]
        rows.append(
            {
                "id": article_id,
                "text": text if len(text) <= TEXT_LENGTH else text[:TEXT_LENGTH] + "…",
                "date": f"{article['published']:%Y-%m-%d}" if article["published"] else "",
                "picture": number.get(image_id),
                "groups": [values[place] for values in labels.values()],
                "ranks": [_finite(ranks[run][place]) for run in rankings],
                "top": [top.get(article_id, []) for top in lists],
            }
        )
    return {
        "runs": list(rankings),
        "dimensions": list(labels),
        "pictures": list(number),
        "articles": rows,
        "cases": {name: [(case.article, case.amount) for case in found] for name, found in cases.items()},
    }


def _top(ranking: Ranking, number: Mapping[str, int]) -> dict[str, list[tuple[int, float | None]]]:
    """The first pictures of each article, and their scores when the ranking has them."""
    scores = ranking.scores or [[None] * SHOWN] * len(ranking)
    return {
        article_id: [
            (number[name], None if value is None else round(value, 3))
            for name, value in zip(image_ids[:SHOWN], values)
        ]
        for article_id, image_ids, values in zip(ranking.article_ids, ranking.image_ids, scores)
    }


def _finite(value: float) -> int | None:
    return int(value) if np.isfinite(value) else None


def _write_script(file: Path, split: str, gallery: Mapping[str, Any]) -> None:
    """The data as a script, because a page from disk may load scripts but not fetch files."""
    data = json.dumps(gallery, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    file.write_text(f"newsmatchData({json.dumps(split)},{data});\n", encoding="utf-8")


def _save(folder: Path, name: str, figure: Figure) -> Drawing:
    save_figure(figure, folder / "figures" / name)
    axes = figure.axes[0]
    return Drawing(
        name, f"{figure._suptitle.get_text()}: {axes.get_ylabel()} over {axes.get_xlabel()}; numbers below."
    )


def _training_figures(folder: Path, experiment: Experiment) -> list[Drawing]:
    """The learning curve, and the curve over alpha as scripts/interpolate.py drew it."""
    drawn = []
    learning = figures.plot_learning(experiment.record.get("train", {}).get("log_history", []), "Learning curve")
    if learning is not None:
        drawn.append(_save(folder, "learning_curve", learning))
    # an earlier choice may have left its curve
    chosen = "alpha_rule" in experiment.record.get("wise_ft", {})
    if chosen and all((experiment.output_dir / f"alpha_curve.{ending}").is_file() for ending in ("png", "pdf")):
        for ending in ("png", "pdf"):
            file = f"alpha_curve.{ending}"
            shutil.copyfile(experiment.output_dir / file, folder / "figures" / file)
        drawn.append(Drawing("alpha_curve", "Validation scores over alpha with 95 % bands, the chosen alpha marked."))
    return drawn


def _choice(made: Mapping[str, Any] | None) -> str:
    """The alpha and why, in a sentence."""
    if made is None:
        return "No WiSE-FT model was made."
    names = {
        "alpha": "alpha {:g}",
        "alpha_vision": "{:g} for the vision tower",
        "alpha_text": "{:g} for the text tower",
    }
    alphas = [text.format(made[name]) for name, text in names.items() if made.get(name) is not None]
    if made.get("alphas"):
        alphas.append("alphas by weight")
    return f"WiSE-FT uses {', '.join(alphas)} (rule: {made['rule']})."


def _facts_tables(experiment: Experiment, data: NewsData) -> list[Table]:
    """What was read, what was refused, how it was split, and where everything came from."""
    record = experiment.record
    section = record["data"]
    arguments = section["arguments"]
    parts = {"train": data.train, **{name: part.articles for name, part in data.parts.items()}}
    limit, truncated = _truncated(experiment, parts)
    rows = []
    for name, articles in parts.items():
        dates = sorted(value for value in articles["published"][:] if value is not None)
        pictures = len(data.parts[name].images) if name in data.parts else len(set(articles["image_id"][:]))
        cut = f"{truncated[name]} ({truncated[name] / len(articles):.0%})"
        days = [f"{dates[0]:%Y-%m-%d}", f"{dates[-1]:%Y-%m-%d}"] if dates else [None, None]
        shared = section["split"]["parts"].get(name, {}).get("shared_pictures")
        if shared is None and name == "test" and section["test_list"]:
            shared = section["test_list"]["shared_pictures"]
        rows.append([name, len(articles), pictures, *days, shared, cut])
    header = ["part", "articles", "pictures", "first", "last", "pictures of earlier parts", f"cut at {limit} tokens"]
    order = f"Order in time by: {section['split']['order']}."
    found = [tables.plain_table("data", "The data", header, rows, order)]

    refused = Counter()
    for kind in (section, section["test_list"] or {}):
        refused.update(kind.get("unusable_pictures", {}).get("counts", {}))
    linked = sum(len(articles) for name, articles in parts.items() if name != "test" or not section["test_list"])
    without = section["pairs_without_usable_picture"]
    read = [["articles read with the picture that they were published with", linked + without]]
    if section["test_list"]:
        read.append(["articles read of the test list", len(parts["test"])])
    read.append(["articles left out for want of a usable picture", without])
    read += [[f"pictures refused: {reason}", count] for reason, count in sorted(refused.items())]
    if arguments["skip_bad_rows"]:
        wrong = bad_rows(arguments["articles_file"])
        read.append(["rows that could not be read and were skipped", len(wrong)])
        read += [[f"skipped: {line}", ""] for line in wrong[:10]]
    translation = section["translation"]
    if translation:
        read += [
            ["sentences translated", translation["sentences"]],
            ["of these, translated around a number or an address that the model had lost", translation["in_parts"]],
            ["different ones kept in the original because no translation was sound", len(translation["kept"])],
        ]
    found.append(tables.plain_table("refused", "Read and refused", ["what", "count"], read))

    base = record["base_model"]
    source = [
        ["base model", _shown(base["id"])],
        ["revision", base["revision"]],
        ["SHA-256 of the base", base["sha256"]],
    ]
    for name, file in section["files"].items():
        source.append([f"{name}: {_shown(file['path'])}", file["sha256"]])
    source.append(["read by CLIP", ", ".join(arguments["text_fields"])])
    source.append(["WiSE-FT", _choice(record.get("wise_ft"))])
    recipe = record.get("recipe", {})
    source += [
        [name, recipe[name]]
        for name in ("num_train_epochs", "learning_rate", "train_batch_size", "seed")
        if name in recipe
    ]
    source.append(["hf-newsmatch", record.get("hf_newsmatch")])
    source += [[name, version] for name, version in record.get("versions", {}).items()]
    found.append(tables.plain_table("provenance", "Provenance", ["what", "value"], source))
    return found


def _shown(name: str) -> str:
    """A path's last part: a report goes to others, whom the folders of this machine do not concern."""
    return Path(name).name if Path(name).is_absolute() else name


def _truncated(experiment: Experiment, parts: Mapping[str, Any]) -> tuple[int, dict[str, int]]:
    """The tokens that CLIP reads, and how many articles of each part have more."""
    # the fine-tuned folder has the same tokenizer and needs no Hub
    run = "fine_tuned" if experiment.has_model("fine_tuned") else "zero_shot"
    checkpoint, revision = experiment.checkpoint(run), experiment.revision(run)
    config = load_config(checkpoint, revision)
    tokenizer = load_processor(checkpoint, revision, config).tokenizer
    limit, counts = config.text_config.max_position_embeddings, {}
    for name, articles in parts.items():
        texts = [join_text(row, experiment.text_fields) for row in articles.select_columns(experiment.text_fields)]
        counts[name] = sum(len(ids) > limit for ids in tokenizer(texts, verbose=False)["input_ids"])
    return limit, counts
