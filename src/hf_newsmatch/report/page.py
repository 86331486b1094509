"""From the folder of a run to the folder of its report."""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from ..data.corpus import Corpus, Split
from ..data.text import join_text
from ..errors import NewsMatchError
from ..experiment.folder import RUNS, Experiment, plain
from ..metrics import compare_runs
from ..metrics.diagnostics import (
    LOST,
    NEAR_DUPLICATE,
    find_cases,
    hubness,
    length_groups,
    lenient_ranks,
    near_duplicates,
    rank_changes,
    score_groups,
    true_ranks,
)
from ..metrics.scoring import DEFAULT_KS, article_scores
from ..metrics.significance import compare_pairs
from ..retrieval.ranking import Ranking
from ..utils.figures import save_figure
from ..utils.files import atomic_path
from ..utils.tables import Table, to_latex, to_markdown
from . import figures, tables
from .facts import describe_choice, facts_tables
from .gallery import list_articles, write_script, write_thumbnails

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
    """The tables and figures of a split."""

    split: str
    tables: list[Table]
    figures: list[Drawing]


def write_report(experiment: Experiment, seed: int = 0, progress: bool = True) -> Path:
    """Write the report of a run to `OUTPUT_DIR/report`: `index.html`, which opens from disk, and all it shows.

    Beside it, `tables.md` and `tables.tex` (for booktabs) hold the same tables, and `figures/` the figures as PNG and
    PDF. The folder appears whole or not at all, in place of an earlier one.

    Args:
        experiment ([`Experiment`]):
            An experiment with predictions.
        seed (`int`, *optional*, defaults to 0):
            Of bootstrap and permutation test.
        progress (`bool`, *optional*, defaults to `True`):
            Whether to show bars.

    Returns:
        `Path`: the `index.html`.

    Raises:
        [`NewsMatchError`]: when it has no predictions with known true pictures or stale ones, or
            data that has changed since.
    """
    splits = [split for split in experiment.predicted_splits() if experiment.gold(split) is not None]
    if not splits:
        raise NewsMatchError(
            f"{experiment.output_dir} has no predictions with known true pictures; run `hf-newsmatch predict` first."
        )
    rankings = {split: experiment.rankings(split) for split in splits}
    data = experiment.data()
    with atomic_path(experiment.layout.report) as folder:
        for name in ("figures", "pictures", "data"):
            (folder / name).mkdir(parents=True)
        # the test split comes first, where there is one
        sections = [
            _write_part(folder, experiment, data, split, rankings[split], seed, progress)
            for split in sorted(splits, key=lambda split: split != "test")
        ]
        training = _training_figures(folder, experiment)
        facts = facts_tables(experiment, data)
        everything = [table for section in sections for table in section.tables] + facts
        (folder / "tables.md").write_text("\n".join(map(to_markdown, everything)), encoding="utf-8")
        (folder / "tables.tex").write_text("\n".join(map(to_latex, everything)), encoding="utf-8")
        assets = files("hf_newsmatch.report") / "assets"
        for name in ("style.css", "report.js"):
            (folder / name).write_bytes((assets / name).read_bytes())
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
        template = environment.from_string((assets / "index.html.jinja").read_text(encoding="utf-8"))
        page = template.render(
            name=experiment.output_dir.resolve().name,
            sections=sections,
            training=training,
            choice=describe_choice(experiment.record.wise_ft),
            facts=facts,
            cases=CASES,
        )
        (folder / "index.html").write_text(page, encoding="utf-8")
    return experiment.layout.report / "index.html"


def _write_part(
    folder: Path,
    experiment: Experiment,
    data: Corpus,
    split: str,
    all_rankings: Mapping[str, Ranking],
    seed: int,
    progress: bool,
) -> Section:
    part, gold, candidates = data.splits[split], experiment.known_gold(split), experiment.candidates(split)
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
    recall = figures.plot_recall(ranks, f"Recall, {split} split", _longest(rankings))
    drawn = [_save(folder, f"recall-{split}", recall)]
    if pairs:
        found.append(tables.pairs_table(split, pairs))
    again = {run: ranking for run, ranking in all_rankings.items() if run not in rankings}
    if again:
        made = {run: experiment.rerank_of(split, run) for run in again}
        together = ranks | true_ranks(again, gold)
        gains = compare_pairs(together, clusters, seed=seed, pairs=[(run, plain(run)) for run in again])
        found.append(tables.reranked_table(split, made, together, gains))
    if len(three) == 3:
        found.append(tables.changes_table(split, rank_changes(*three.values())))
    if len(three) > 1:
        drawn.append(
            _save(folder, f"ranks-{split}", figures.plot_ranks(three, f"Ranks of the articles, {split} split"))
        )
    for dimension, values in labels.items():
        found.append(tables.groups_table(split, dimension, score_groups(ranks, values, clusters, seed)))

    hashes = write_thumbnails(folder / "pictures", split, part, progress)
    duplicates = near_duplicates(hashes)
    lenient: dict[str, Any] = {"pictures": len(duplicates), "max_distance": NEAR_DUPLICATE}
    for run, places in lenient_ranks(all_rankings, gold, duplicates).items():
        scores = article_scores(dict(enumerate(places)), DEFAULT_KS)
        lenient[run] = {metric: float(values.mean()) for metric, values in scores.items()}
    hubs = {run: hubness(ranking, candidates) for run, ranking in all_rankings.items()}
    found.append(tables.hubs_table(split, hubs, lenient))

    cases = find_cases(three) if len(three) > 1 else {}
    shown = list_articles(articles, part.images["image_id"][:], gold, ranks, rankings, labels, cases)
    write_script(folder / "data" / f"{split}.js", split, shown)
    return Section(split, found, drawn)


def _longest(rankings: Mapping[str, Ranking]) -> int:
    """How far the lists of all runs reach."""
    return min(max(map(len, ranking.image_ids)) for ranking in rankings.values())


def _articles(part: Split, gold: Mapping[str, str], text_fields: Sequence[str]) -> list[dict[str, Any]]:
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


def _labels(articles: Sequence[Mapping[str, Any]], gold: Mapping[str, str], data: Corpus) -> dict[str, list[str]]:
    """By what articles are grouped; what is the same for all is left out."""
    times = Counter(gold.values())
    trained = set(data.train["image_id"][:])
    labels = {
        "language": [article["language"] or "unknown" for article in articles],
        "length": length_groups([article["read"] for article in articles]),
        "month": [f"{article['published']:%Y-%m}" if article["published"] else "unknown" for article in articles],
        "picture": ["of several articles" if times[image_id] > 1 else "of one article" for image_id in gold.values()],
        "picture in training": [
            "seen in training" if image_id in trained else "not seen in training" for image_id in gold.values()
        ],
    }
    return {dimension: values for dimension, values in labels.items() if len(set(values)) > 1}


def _save(folder: Path, name: str, figure: Figure) -> Drawing:
    save_figure(figure, folder / "figures" / name)
    axes = figure.axes[0]
    return Drawing(name, f"{figure.get_suptitle()}: {axes.get_ylabel()} over {axes.get_xlabel()}; numbers below.")


def _training_figures(folder: Path, experiment: Experiment) -> list[Drawing]:
    """The learning curve, and the curve over alpha as scripts/interpolate.py drew it."""
    drawn, train = [], experiment.record.train
    learning = figures.plot_learning(train.log_history if train else [], "Learning curve")
    if learning is not None:
        drawn.append(_save(folder, "learning_curve", learning))
    # an earlier choice may have left its curve
    made = experiment.record.wise_ft
    chosen = made is not None and made.is_chosen
    if chosen and all(experiment.layout.alpha_curve(ending).is_file() for ending in ("png", "pdf")):
        for ending in ("png", "pdf"):
            file = experiment.layout.alpha_curve(ending)
            shutil.copyfile(file, folder / "figures" / file.name)
        drawn.append(Drawing("alpha_curve", "Validation scores over alpha with 95 % bands, the chosen alpha marked."))
    return drawn
