"""The study of re-rankings: every method on several corpora, against the plain ranking of the same models."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..data.corpus import Corpus, Split
from ..experiment.folder import Experiment
from ..experiment.prediction import EmbeddedRuns
from ..experiment.rerank_search import METRIC
from ..metrics import bootstrap_intervals
from ..metrics.scoring import article_scores, gold_ranks
from ..retrieval.rerank.methods import METHODS
from ..utils.tables import Cell, Table, interval_cell, number

# the variants of each split that are ranked
VARIANTS = {"all": "all articles", "first": "the first article of each picture only"}
RUNS = ("zero_shot", "fine_tuned", "wise_ft")

# run, method -> value
Scores = dict[tuple[str, str], Any]


def score_methods(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """Rank the test split by every method, with settings chosen on the validation split, for each run.

    Once with all articles, and once as if no two shared a picture: with only the first article of each picture, in
    the validation split too. The candidates are the same.

    Args:
        experiment ([`Experiment`]):
            With all its models, and gold.

    Returns:
        `dict`: for each of `VARIANTS`, `"image_ids"` (the picture of each test article), and by run and method
        `"settings"` and `"scores"` (a float64 array: the MRR@100 of each article).
    """
    whole = experiment.data()
    alone = dataclasses.replace(whole, splits={name: first_articles(part) for name, part in whole.splits.items()})
    return {"all": _score(experiment, whole), "first": _score(experiment, alone)}


def _score(experiment: Experiment, data: Corpus) -> dict[str, Any]:
    embedded = EmbeddedRuns(experiment, data, folder=experiment.output_dir / "embeddings")
    gold = data.splits["test"].known_gold
    settings: Scores = {}
    scores: Scores = {}
    for run in RUNS:
        for method in METHODS:
            chosen = {} if method == "none" else embedded.choose_settings(run, method)["settings"]
            ranking = embedded.rank(run, "test", method, **chosen)
            settings[run, method] = chosen
            scores[run, method] = article_scores(gold_ranks(ranking, gold), ())[METRIC]
    return {"image_ids": list(gold.values()), "settings": settings, "scores": scores}


def first_articles(part: Split) -> Split:
    """The split with only the first article of each picture, and all its candidates."""
    firsts: dict[str, str] = {}
    for article_id, image_id in part.known_gold.items():
        firsts.setdefault(image_id, article_id)
    kept = set(firsts.values())
    rows = [row for row, article_id in enumerate(part.articles["article_id"]) if article_id in kept]
    gold = {article_id: image_id for article_id, image_id in part.known_gold.items() if article_id in kept}
    return Split(part.articles.select(rows), part.images, gold)


def summarise(corpora: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Summarise one variant of [`score_methods`] over several corpora.

    Args:
        corpora (`Iterable[Mapping]`):
            The variant's entry of each corpus.

    Returns:
        `dict`, ready for JSON: run to method to `"settings"` (one for each corpus), `"mean"` (over the corpora), and
        `"gain"`, the difference to the plain ranking with its 95 % interval. The interval is over the test articles of
        all corpora together, clustered by picture: it tells the certainty about these corpora, not about others.
    """
    corpora = list(corpora)
    # corpora share no pictures, whatever their ids
    clusters = [(number, name) for number, corpus in enumerate(corpora) for name in corpus["image_ids"]]
    columns = {key: [corpus["scores"][key] for corpus in corpora] for key in corpora[0]["scores"]}
    gains = bootstrap_intervals(
        {
            (run, method): np.concatenate(arrays) - np.concatenate(columns[run, "none"])
            for (run, method), arrays in columns.items()
        },
        clusters,
    )
    summary: dict[str, dict[str, Any]] = {}
    for (run, method), arrays in columns.items():
        summary.setdefault(run, {})[method] = {
            "settings": [corpus["settings"][run, method] for corpus in corpora],
            "mean": float(np.mean([array.mean() for array in arrays])),
            "gain": gains[run, method]._asdict(),
        }
    return summary


def table(summary: Mapping[str, Mapping[str, Any]], variant: str, articles: int) -> Table:
    """The table of a summary: the plain ranking of each run, and the gain of each method over it."""
    title = f"Test split by re-ranking, {VARIANTS[variant]}: {METRIC.upper()}, and the gain over none"
    caption = (
        f"{articles} articles of all corpora; 95 % bootstrap intervals, clustered by picture. Settings chosen on"
        " validation."
    )
    rows = [[Cell(method), *(_cell(method, row[method]) for row in summary.values())] for method in METHODS]
    return Table(f"reranking-{variant}", title, ["method", *summary], rows, caption, inline_details=True)


def _cell(method: str, row: Mapping[str, Any]) -> Cell:
    return Cell(number(row["mean"])) if method == "none" else interval_cell(row["gain"], "+")
