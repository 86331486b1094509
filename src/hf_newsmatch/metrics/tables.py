"""The comparison of runs as a table."""

from collections.abc import Mapping
from typing import Any

import rich.table

from ..utils.tables import Cell, Table, interval_cell, number, to_markdown, to_terminal
from .scoring import is_truncated, metric_names


def metric_label(metric: str, mark: str = "") -> str:
    """The heading of a metric, such as `MRR@100`, with a mark behind it."""
    return metric.replace("mrr", "MRR").replace("recall", "Recall") + mark


def metric_labels(comparison: Mapping[str, Any]) -> list[str]:
    """The headings of the compared metrics.

    An asterisk marks a k that is not below the number of candidates, a dagger a k that the lists do not reach.
    """
    labels = []
    for metric in compared_metrics(comparison):
        name, k = metric.split("@")
        saturated = name == "recall" and int(k) in comparison["saturated_ks"]
        truncated = is_truncated(int(k), comparison["longest_list"], comparison["num_candidates"])
        labels.append(metric_label(metric, "*" * saturated + "†" * truncated))
    return labels


def compared_metrics(comparison: Mapping[str, Any]) -> list[str]:
    """The metrics that runs were compared by, in the order of the paper's tables."""
    row = next(iter(comparison["runs"].values()))
    return metric_names([int(name.split("@")[1]) for name in row if name.startswith("recall@")])


def run_rows(comparison: Mapping[str, Any], best: Mapping[str, str | None] | None = None) -> list[list[Cell]]:
    """The rows of chance and of each run, with intervals.

    Args:
        comparison (`Mapping[str, Any]`):
            As [`compare_runs`] returns it.
        best (`Mapping[str, str]`, *optional*):
            Metric to the run that is printed bold.
    """
    metrics, best = compared_metrics(comparison), best or {}
    rows = []
    if comparison["chance"]:
        rows.append([Cell("chance"), *(Cell(number(comparison["chance"][metric])) for metric in metrics)])
    for run, values in comparison["runs"].items():
        rows.append([Cell(run), *(interval_cell(values[metric], best=best.get(metric) == run) for metric in metrics)])
    return rows


def _baselines(comparison: Mapping[str, Any]) -> dict[str, str]:
    """Each run's baseline; files written before there were re-rankings name none, and compare with the first run."""
    first = next(iter(comparison["runs"]))
    return {name: comparison.get("baselines", {}).get(name, first) for name in comparison["differences"]}


def _reranked(comparison: Mapping[str, Any]) -> list[str]:
    """The runs that rank their baseline again."""
    return [name for name, baseline in _baselines(comparison).items() if name.startswith(f"{baseline}+")]


def caption(comparison: Mapping[str, Any]) -> str:
    """The caption of a comparison: the numbers of articles and pictures, and the meaning of the marks."""
    text = f"{comparison['num_articles']} articles"
    if comparison["num_candidates"]:
        text += f", {comparison['num_candidates']} candidate pictures"
    text += "; 95 % bootstrap intervals, clustered by picture"
    if comparison["saturated_ks"]:
        text += "; * k is not below the number of candidates"
    if "†" in "".join(metric_labels(comparison)):
        text += f"; † lists end at rank {comparison['longest_list']}, lower ranks are not counted"
    if _reranked(comparison):
        text += (
            "; after a + how the run was ranked again, which assumes the whole split at hand (but for querybank and"
            " neighbours)"
        )
    return text + "."


def comparison_table(comparison: Mapping[str, Any], title: str, intervals: bool = True) -> Table:
    """The scores of all runs, and their differences to their baselines.

    Args:
        comparison (`Mapping[str, Any]`):
            As [`compare_runs`] returns it.
        title (`str`):
            The table's title.
        intervals (`bool`, *optional*, defaults to `True`):
            Whether to show intervals; on a terminal they take 100 columns in place of 80.
    """
    metrics, baselines, reranked = compared_metrics(comparison), _baselines(comparison), _reranked(comparison)
    rows, line_break = run_rows(comparison), "\n" if intervals else " "
    for run, values in comparison["differences"].items():
        name = Cell(f"{run}{line_break}− {baselines[run]}")
        rows.append([name, *(interval_cell(values[metric], "+") for metric in metrics)])
    for row in rows:
        narrow = row[0].text
        for run in reranked:
            narrow = narrow.replace(run, run.replace("+", " +\n"))
        row[0] = row[0]._replace(narrow=narrow)
        if not intervals:
            row[1:] = [cell._replace(detail="") for cell in row[1:]]
    text = caption(comparison) if intervals else "Wider terminals show the intervals."
    return Table("comparison", title, ["run", *metric_labels(comparison)], rows, text)


def terminal_table(comparison: Mapping[str, Any], title: str, intervals: bool = True) -> rich.table.Table:
    """[`comparison_table`] rendered for a terminal."""
    return to_terminal(comparison_table(comparison, title, intervals))


def markdown_table(comparison: Mapping[str, Any], title: str) -> str:
    """[`comparison_table`] rendered as Markdown."""
    return to_markdown(comparison_table(comparison, title))
