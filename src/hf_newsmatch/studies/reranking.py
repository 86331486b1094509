"""Every method of re-ranking on several corpora, against the plain ranking of the same models."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from rich.table import Table

from ..data.corpus import Corpus, Split
from ..experiment.folder import Experiment
from ..experiment.prediction import EmbeddedRuns
from ..experiment.rerank_search import METRIC
from ..metrics import bootstrap_intervals
from ..metrics.scoring import article_scores, gold_ranks
from ..retrieval.rerank.methods import METHODS

# each of the parts, and what is left of them
VARIANTS = {"all": "all articles", "first": "the first article of each picture only"}
RUNS = ("zero_shot", "fine_tuned", "wise_ft")

# run, method -> value
Scores = dict[tuple[str, str], Any]


def score_methods(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """Rank the test part by every method, with settings from the validation part, for each run.

    Once with all articles, and once as if no two shared a picture: with the first article of each picture alone, in
    the validation part too. The candidates are the same.

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
    gold = data.splits["test"].gold
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
    """A part with the first article of each picture alone, and all its candidates."""
    firsts: dict[str, str] = {}
    for article_id, image_id in part.gold.items():
        firsts.setdefault(image_id, article_id)
    kept = set(firsts.values())
    rows = [row for row, article_id in enumerate(part.articles["article_id"]) if article_id in kept]
    gold = {article_id: image_id for article_id, image_id in part.gold.items() if article_id in kept}
    return Split(part.articles.select(rows), part.images, gold)


def summarise(corpora: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """One variant of [`score_methods`] over several corpora.

    Args:
        corpora (`Iterable[Mapping]`):
            The variant's entry of each corpus.

    Returns:
        `dict`, ready for JSON: run to method to `"settings"` (one a corpus), `"mean"` (over the corpora), and
        `"gain"`, the difference to the plain ranking with its 95 % interval. That is of all corpora's test articles
        together, pictures drawn whole: how sure one may be of these corpora, not of another's.
    """
    corpora = list(corpora)
    # a picture of one corpus is none of another's
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
    """A summary for the terminal."""
    output = Table(
        title=f"Test part by re-ranking, {VARIANTS[variant]}: {METRIC.upper()}, and the gain over none",
        caption=f"{articles} articles of all corpora; 95 % bootstrap intervals, clustered by picture. Settings chosen"
        " on validation.",
    )
    output.add_column("method")
    for run in summary:
        output.add_column(run, justify="right", no_wrap=True)
    for method in METHODS:
        output.add_row(method, *(_cell(method, row[method]) for row in summary.values()))
    return output


def _cell(method: str, row: Mapping[str, Any]) -> str:
    if method == "none":
        return f"{row['mean']:.3f}"
    # adding 0.0 turns a rounded -0.0 into 0.0
    mean, low, high = (round(row["gain"][name], 3) + 0.0 for name in ("mean", "low", "high"))
    return f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
