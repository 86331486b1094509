"""The comparison of runs as a table, for the terminal and for Markdown."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from .scoring import metric_names


def _label(metric: str, saturated_ks: list[int]) -> str:
    mark = "*" if metric.startswith("recall@") and int(metric.split("@")[1]) in saturated_ks else ""
    return metric.replace("mrr", "MRR").replace("recall", "Recall") + mark


def _metrics(comparison: Mapping[str, Any]) -> list[str]:
    row = next(iter(comparison["runs"].values()))
    return metric_names([int(name.split("@")[1]) for name in row if name.startswith("recall@")])


def _rows(comparison: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The rows of both tables: a name and, by metric, a value and its interval."""
    metrics = _metrics(comparison)
    rows = []
    if comparison["chance"]:
        rows.append(("chance", [(f"{comparison['chance'][metric]:.3f}", "") for metric in metrics]))
    for name, values in comparison["runs"].items():
        cells = [(f"{values[m]['mean']:.3f}", f"{values[m]['low']:.3f}–{values[m]['high']:.3f}") for m in metrics]
        rows.append((name, cells))
    first = next(iter(comparison["runs"]))
    for name, values in comparison["differences"].items():
        cells = [(f"{values[m]['mean']:+.3f}", f"{values[m]['low']:+.3f}–{values[m]['high']:+.3f}") for m in metrics]
        rows.append((f"{name} − {first}", cells))
    return rows


def caption(comparison: Mapping[str, Any]) -> str:
    """What belongs below the table: how many articles and pictures, and what the marks mean."""
    text = f"{comparison['num_articles']} articles"
    if comparison["num_candidates"]:
        text += f", {comparison['num_candidates']} candidate pictures"
    text += "; 95 % bootstrap intervals, clustered by picture"
    if comparison["saturated_ks"]:
        text += "; * k is not below the number of candidates"
    return text + "."


def terminal_table(comparison: Mapping[str, Any], title: str) -> Table:
    """The comparison as a `rich` table, the interval below each value."""
    table = Table(title=title, caption=caption(comparison))
    table.add_column("run", no_wrap=True)
    for metric in _metrics(comparison):
        table.add_column(_label(metric, comparison["saturated_ks"]), justify="right", no_wrap=True)
    for name, cells in _rows(comparison):
        table.add_row(name, *("\n".join(filter(None, cell)) for cell in cells))
    return table


def markdown_table(comparison: Mapping[str, Any], title: str) -> str:
    """The comparison as Markdown, the interval behind each value."""
    metrics = [_label(metric, comparison["saturated_ks"]) for metric in _metrics(comparison)]
    lines = [f"### {title}", "", f"| run | {' | '.join(metrics)} |", f"| --- |{' ---: |' * len(metrics)}"]
    for name, cells in _rows(comparison):
        values = [f"{value} ({interval})" if interval else value for value, interval in cells]
        lines.append(f"| {name} | {' | '.join(values)} |")
    return "\n".join([*lines, "", caption(comparison).replace("*", r"\*"), ""])
