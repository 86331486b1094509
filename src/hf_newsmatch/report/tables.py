"""The tables of the report."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..metrics.tables import caption as runs_caption
from ..metrics.tables import compared_metrics, metric_label, metric_labels, run_rows
from ..utils.tables import Cell, Table, interval_cell, number, p_value


def best_run(comparison: Mapping[str, Any], pairs: Mapping[tuple[str, str], Any], metric: str) -> str | None:
    """The run with the highest mean, or `None` unless the intervals of its differences to all others leave out 0."""
    runs = comparison["runs"]
    best = max(runs, key=lambda run: runs[run][metric]["mean"])
    for (later, earlier), row in pairs.items():
        if best in (later, earlier) and row[metric]["low"] <= 0 <= row[metric]["high"]:
            return None
    return best if len(runs) > 1 else None


def runs_table(split: str, comparison: Mapping[str, Any], pairs: Mapping[tuple[str, str], Any]) -> Table:
    """The scores of each run; the best is bold when the difference to every other run is beyond chance."""
    best = {metric: best_run(comparison, pairs, metric) for metric in compared_metrics(comparison)}
    bold = " Bold: the best, where the 95 % intervals of its differences to all other runs leave out 0."
    title = f"Scores, {split} split" + (" (chose the epoch and alpha: optimistic)" if split == "validation" else "")
    header, text = ["run", *metric_labels(comparison)], runs_caption(comparison) + bold
    return Table(f"runs-{split}", title, header, run_rows(comparison, best), text)


def pairs_table(split: str, pairs: Mapping[tuple[str, str], Any]) -> Table:
    """The differences of every two runs, with intervals and p-values."""
    metrics = list(next(iter(pairs.values())))
    rows = []
    for (later, earlier), row in pairs.items():
        rows.append([Cell(f"{later} − {earlier}"), *(_difference_cell(row[metric]) for metric in metrics)])
    caption = (
        "Paired, with 95 % bootstrap intervals, and p-values of a two-sided permutation test; both by picture."
        " The p-values are not corrected for their number."
    )
    return Table(
        f"differences-{split}", f"Differences, {split} split", ["runs", *map(metric_label, metrics)], rows, caption
    )


def _difference_cell(difference: Mapping[str, float]) -> Cell:
    cell = interval_cell(difference, "+")
    return cell._replace(detail=f"{cell.detail}; p {p_value(difference['p'])}")


def reranked_table(
    split: str,
    made: Mapping[str, Mapping[str, Any]],
    ranks: Mapping[str, np.ndarray],
    pairs: Mapping[tuple[str, str], Any],
) -> Table:
    """The re-rankings, each beside the plain ranking of the same model.

    Args:
        split (`str`):
            The split that was ranked.
        made (`Mapping[str, Mapping[str, Any]]`):
            Re-ranked run to its settings, as `hf-newsmatch predict --rerank` records them.
        ranks (`Mapping[str, np.ndarray]`):
            The ranks of the true pictures in all runs, as [`true_ranks`] returns them.
        pairs (`Mapping[tuple[str, str], Any]`):
            The differences of each re-ranking to its plain ranking, as [`compare_pairs`] returns them.
    """
    metrics = list(next(iter(pairs.values())))
    rows = []
    for (run, baseline), row in pairs.items():
        settings = ", ".join(f"{name} {value:g}" for name, value in made[run]["settings"].items())
        rows.append(
            [
                Cell(run + "†" * made[run]["transductive"], settings),
                *(Cell(number((1 / ranks[name]).mean())) for name in (baseline, run)),
                *(_difference_cell(row[metric]) for metric in metrics),
            ]
        )
    caption = (
        "Differences to the plain ranking of the same model, with 95 % bootstrap intervals and p-values by picture,"
        " not corrected for their number. The settings are those with the highest validation MRR@100."
    )
    if any(row["transductive"] for row in made.values()):
        caption += " † assumes the whole split at hand: the ranking of an article depends on the other articles."
    title = f"Ranked again, {split} split" + (" (chose the settings: optimistic)" if split == "validation" else "")
    header = ["run", "MRR@100 before", "after", *(f"{metric_label(metric)} gained" for metric in metrics)]
    return Table(f"reranked-{split}", title, header, rows, caption)


def changes_table(split: str, changes: Mapping[str, Mapping[str, Any]]) -> Table:
    """The paper's Table 4, in both readings."""
    names = {"improved_by_fine_tuning": "improved by fine-tuning", "all": "all"}
    rows = [
        [
            Cell(names[reading]),
            Cell(number(row["improvement"])),
            Cell(number(row["decrease"])),
            *(Cell(str(row[name])) for name in ("improved", "decreased", "unchanged", "articles")),
        ]
        for reading, row in changes.items()
    ]
    caption = (
        "Over the articles that fine-tuning and WiSE-FT both find in the top 100; the first row, the paper's"
        " reading, only over those that fine-tuning had ranked better than zero-shot. Means over the improved and the"
        " decreased."
    )
    title = f"Average improvement and decrease in rank from fine-tuning to WiSE-FT, {split} split"
    if split == "validation":
        title += " (the paper's Table 4)"
    header = ["articles", "improvement", "decrease", "improved", "decreased", "unchanged", "together"]
    return Table(f"rank-changes-{split}", title, header, rows, caption)


def groups_table(split: str, dimension: str, groups: Mapping[str, Mapping[str, Any]]) -> Table:
    """The MRR@100 of each run by group of articles."""
    first = next(iter(groups.values()))
    others = list(first["differences"])
    header = [dimension, "articles", *first["runs"], *(f"{run} − {next(iter(first['runs']))}" for run in others)]
    rows = [
        [
            Cell(label),
            Cell(str(group["articles"])),
            *map(interval_cell, group["runs"].values()),
            *(interval_cell(group["differences"][run], "+") for run in others),
        ]
        for label, group in groups.items()
    ]
    name = f"{dimension.replace(' ', '-')}-{split}"
    return Table(name, f"MRR@100 by {dimension}, {split} split", header, rows, "95 % bootstrap intervals.")


def hubs_table(split: str, hubs: Mapping[str, Mapping[str, Any]], lenient: Mapping[str, Any]) -> Table:
    """The hubs of each run, pictures in too many lists, and its scores with near-duplicates counted as hits."""
    rows = []
    for run, row in hubs.items():
        top = row["hubs"][0] if row["hubs"] else None
        rows.append(
            [
                Cell(run),
                Cell(number(row["skewness"], 2)),
                Cell(str(len(row["hubs"]))),
                Cell(*((top[0], f"in {top[1]} lists") if top else ("–",))),
                Cell(str(row["never"])),
                *(Cell(number(lenient[run][metric])) for metric in ("recall@1", "mrr@100")),
            ]
        )
    k = next(iter(hubs.values()))["k"]
    header = ["run", "skewness", "hubs", "most frequent", "never", "Recall@1, lenient", "MRR@100, lenient"]
    caption = (
        f"How often a picture is among the first {k} of a list: the skewness of that number, the pictures more than"
        " two standard deviations above its mean, and those in no list. Lenient scores count a near-duplicate of the"
        f" true picture as it: {lenient['pictures']} pictures have one, by perceptual hash (pHash, at most"
        f" {lenient['max_distance']} of 64 bits apart)."
    )
    return Table(f"hubs-{split}", f"Hubs and near-duplicates, {split} split", header, rows, caption)
