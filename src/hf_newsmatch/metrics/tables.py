"""The comparison of runs as a table, for the terminal and for Markdown."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from .scoring import is_truncated, metric_names


def metric_label(metric: str, mark: str = "") -> str:
    """A metric's heading, and a mark behind it."""
    return metric.replace("mrr", "MRR").replace("recall", "Recall") + mark


def metric_labels(comparison: Mapping[str, Any]) -> list[str]:
    """The headings, marked when k is not below the number of candidates (*) or the lists end before it (†)."""
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


def _rows(comparison: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The rows of both tables: a name and, by metric, a value and its interval."""
    metrics = compared_metrics(comparison)
    rows = []
    if comparison["chance"]:
        rows.append(("chance", [(f"{comparison['chance'][metric]:.3f}", "") for metric in metrics]))
    for name, values in comparison["runs"].items():
        rows.append((name, [_cell(values[metric], "") for metric in metrics]))
    baselines = _baselines(comparison)
    for name, values in comparison["differences"].items():
        rows.append((f"{name} − {baselines[name]}", [_cell(values[metric], "+") for metric in metrics]))
    return rows


def _baselines(comparison: Mapping[str, Any]) -> dict[str, str]:
    """What each run is compared with: in files of before there were re-rankings, always the first."""
    first = next(iter(comparison["runs"]))
    return {name: comparison.get("baselines", {}).get(name, first) for name in comparison["differences"]}


def _reranked(comparison: Mapping[str, Any]) -> list[str]:
    """The runs that rank their baseline again."""
    return [name for name, baseline in _baselines(comparison).items() if name.startswith(f"{baseline}+")]


def _cell(interval: Mapping[str, float], sign: str) -> tuple[str, str]:
    # adding 0.0 turns a rounded -0.0 into 0.0
    mean, low, high = (f"{round(interval[name], 3) + 0.0:{sign}.3f}" for name in ("mean", "low", "high"))
    return mean, f"{low} to {high}" if sign else f"{low}–{high}"


def caption(comparison: Mapping[str, Any]) -> str:
    """What belongs below the table: how many articles and pictures, and what the marks mean."""
    text = f"{comparison['num_articles']} articles"
    if comparison["num_candidates"]:
        text += f", {comparison['num_candidates']} candidate pictures"
    text += "; 95 % bootstrap intervals, clustered by picture"
    if comparison["saturated_ks"]:
        text += "; * k is not below the number of candidates"
    if "†" in "".join(metric_labels(comparison)):
        text += f"; † lists end at rank {comparison['longest_list']}, what is below is not counted"
    if _reranked(comparison):
        text += (
            "; after a + how the run was ranked again, which assumes the whole part at hand (but for querybank and"
            " neighbours)"
        )
    return text + "."


def terminal_table(comparison: Mapping[str, Any], title: str, intervals: bool = True) -> Table:
    """The comparison as a `rich` table, the interval below each value (100 columns wide, 80 without)."""
    table = Table(title=title, caption=caption(comparison) if intervals else "Wider terminals show the intervals.")
    table.add_column("run", overflow="fold")  # a file's name shows whole
    for label in metric_labels(comparison):
        table.add_column(label.replace("@", "\n@"), justify="right", no_wrap=True)
    reranked = _reranked(comparison)
    for name, cells in _rows(comparison):
        separate = "\n" if intervals else " "
        lines = ["\n".join(filter(None, cell)).replace(" to ", "\nto ") if intervals else cell[0] for cell in cells]
        for run in reranked:  # two short lines
            name = name.replace(run, run.replace("+", " +\n"))
        table.add_row(name.replace(" − ", f"{separate}− "), *lines)
    return table


def markdown_table(comparison: Mapping[str, Any], title: str) -> str:
    """The comparison as Markdown, the interval behind each value."""
    labels = [label.replace("*", r"\*") for label in metric_labels(comparison)]
    lines = [f"### {title}", "", f"| run | {' | '.join(labels)} |", f"| --- |{' ---: |' * len(labels)}"]
    for name, cells in _rows(comparison):
        values = [f"{value} ({interval})" if interval else value for value, interval in cells]
        lines.append(f"| {name} | {' | '.join(values)} |")
    return "\n".join([*lines, "", caption(comparison).replace("*", r"\*"), ""])
