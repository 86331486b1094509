"""The report's tables, built once and written as HTML, Markdown and LaTeX, or shown on a terminal."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import rich.table
from rich.text import Text

from ..metrics.tables import caption as runs_caption
from ..metrics.tables import compared_metrics, metric_label, metric_labels

# what LaTeX would take for its own, and signs that a plain LaTeX lacks
_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "–": "--",
    "<": "$<$",
    ">": "$>$",
    "*": "$^*$",
    "†": r"$^\dagger$",
}


class Cell(NamedTuple):
    """A value, what stands small behind it, and whether it is the best of its column."""

    text: str
    detail: str = ""
    best: bool = False

    @property
    def lines(self) -> list[str]:
        """What stands small behind it, broken where that is several things."""
        return re.split(r"(?<=;) ", self.detail) if self.detail else []


@dataclass
class Table:
    """A table, independent of the format it is written in.

    Args:
        name (`str`):
            What links and labels call it.
        title (`str`):
            Its heading.
        header (`list[str]`):
            The heading of each column.
        rows (`list[list[Cell]]`):
            The first cell of each names the row.
        caption (`str`, *optional*):
            What belongs below.
    """

    name: str
    title: str
    header: list[str]
    rows: list[list[Cell]]
    caption: str = ""


def to_markdown(table: Table) -> str:
    """The table as GitHub's Markdown."""

    def cell(item: Cell) -> str:
        text = f"**{_markdown(item.text)}**" if item.best else _markdown(item.text)
        return f"{text} ({_markdown(item.detail)})" if item.detail else text

    lines = [f"### {_markdown(table.title)}", "", _line(map(_markdown, table.header))]
    lines += [_line(["---", *["---:"] * (len(table.header) - 1)]), *(_line(map(cell, row)) for row in table.rows)]
    return "\n".join([*lines, *(["", _markdown(table.caption)] if table.caption else []), ""])


def to_latex(table: Table) -> str:
    """The table as LaTeX, for the package booktabs."""

    def cell(item: Cell) -> str:
        text = rf"\textbf{{{_latex(item.text)}}}" if item.best else _latex(item.text)
        return rf"{text} {{\scriptsize({_latex(item.detail)})}}" if item.detail else text

    rows = "\n".join(f"    {' & '.join(map(cell, row))} \\\\" for row in table.rows)
    text = ". ".join(part.rstrip(".") for part in (table.title, table.caption) if part)
    return (
        f"\\begin{{table}}\n  \\centering\n  \\caption{{{_latex(text)}.}}\n  \\label{{tab:{table.name}}}\n"
        f"  \\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}\n    \\toprule\n"
        f"    {' & '.join(map(_latex, table.header))} \\\\\n    \\midrule\n{rows}\n    \\bottomrule\n"
        "  \\end{tabular}\n\\end{table}\n"
    )


def to_terminal(table: Table) -> rich.table.Table:
    """The table for a terminal, small things below their values."""

    def cell(item: Cell) -> Text:
        text = Text(item.text, style="bold" if item.best else "")
        for line in item.lines:
            text.append(f"\n{line}", style="dim")
        return text

    made = rich.table.Table(title=table.title, caption=table.caption or None)
    for place, heading in enumerate(table.header):
        made.add_column(Text(heading), justify="right" if place else "left", no_wrap=bool(place))
    for row in table.rows:
        made.add_row(*map(cell, row))
    return made


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown(text: str) -> str:
    escaped = re.sub(r"([\\`*\[\]|])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;")


def _latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))


def number(value: float | None, digits: int = 3, sign: str = "") -> str:
    """A number as tables show it, with a real minus; a dash when there is none."""
    if value is None or value != value:
        return "–"
    # adding 0.0 turns a rounded -0.0 into 0.0
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}".replace("-", "−")


def interval_cell(interval: Mapping[str, float], sign: str = "", best: bool = False) -> Cell:
    """A mean with its interval."""
    mean, low, high = (number(interval[name], sign=sign) for name in ("mean", "low", "high"))
    return Cell(mean, f"{low} to {high}" if sign else f"{low}–{high}", best)


def p_value(value: float) -> str:
    """`0.034`, and `< 0.001` below that."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def best_run(comparison: Mapping[str, Any], pairs: Mapping[tuple[str, str], Any], metric: str) -> str | None:
    """The run with the highest mean, when the intervals of its differences to all others leave out 0; or none."""
    runs = comparison["runs"]
    best = max(runs, key=lambda run: runs[run][metric]["mean"])
    for (later, earlier), row in pairs.items():
        if best in (later, earlier) and row[metric]["low"] <= 0 <= row[metric]["high"]:
            return None
    return best if len(runs) > 1 else None


def runs_table(split: str, comparison: Mapping[str, Any], pairs: Mapping[tuple[str, str], Any]) -> Table:
    """The scores of each run; the best is bold when the difference to every other run is beyond chance."""
    metrics = compared_metrics(comparison)
    best = {metric: best_run(comparison, pairs, metric) for metric in metrics}
    rows = []
    if comparison["chance"]:
        rows.append([Cell("chance"), *(Cell(number(comparison["chance"][metric])) for metric in metrics)])
    for run, row in comparison["runs"].items():
        rows.append([Cell(run), *(interval_cell(row[metric], best=best[metric] == run) for metric in metrics)])
    bold = " Bold: the best, where the 95 % intervals of its differences to all other runs leave out 0."
    title = f"Scores, {split} part" + (" (chose the epoch and alpha: optimistic)" if split == "validation" else "")
    return Table(f"runs-{split}", title, ["run", *metric_labels(comparison)], rows, runs_caption(comparison) + bold)


def pairs_table(split: str, pairs: Mapping[tuple[str, str], Any]) -> Table:
    """The difference of every two runs, with interval and p-value."""
    metrics = list(next(iter(pairs.values())))
    rows = []
    for (later, earlier), row in pairs.items():
        rows.append([Cell(f"{later} − {earlier}"), *(_difference_cell(row[metric]) for metric in metrics)])
    caption = (
        "Paired, with 95 % bootstrap intervals, and p-values of a two-sided permutation test; both by picture."
        " The p-values are not corrected for their number."
    )
    return Table(
        f"differences-{split}", f"Differences, {split} part", ["runs", *map(metric_label, metrics)], rows, caption
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
    """Each run that was ranked again beside the plain ranking of the same model.

    `made` is how each was made, as `predict.py --rerank` records it, `ranks` those of the true pictures in all runs.
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
        caption += " † assumes the whole part at hand: the ranking of an article depends on the other articles."
    title = f"Ranked again, {split} part" + (" (chose the settings: optimistic)" if split == "validation" else "")
    header = ["run", "MRR@100 before", "after", *(f"{metric_label(metric)} gained" for metric in metrics)]
    return Table(f"reranked-{split}", title, header, rows, caption)


def changes_table(split: str, changes: Mapping[str, Mapping[str, Any]]) -> Table:
    """The paper's Table 4, both readings."""
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
    title = f"Average improvement and decrease in rank from fine-tuning to WiSE-FT, {split} part"
    if split == "validation":
        title += " (the paper's Table 4)"
    header = ["articles", "improvement", "decrease", "improved", "decreased", "unchanged", "together"]
    return Table(f"rank-changes-{split}", title, header, rows, caption)


def groups_table(split: str, dimension: str, groups: Mapping[str, Mapping[str, Any]]) -> Table:
    """MRR@100 by group of articles."""
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
    return Table(name, f"MRR@100 by {dimension}, {split} part", header, rows, "95 % bootstrap intervals.")


def hubs_table(split: str, hubs: Mapping[str, Mapping[str, Any]], lenient: Mapping[str, Any]) -> Table:
    """Pictures in too many lists, and what near-duplicates explain, by run."""
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
    return Table(f"hubs-{split}", f"Hubs and near-duplicates, {split} part", header, rows, caption)


def plain_table(
    name: str, title: str, header: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = ""
) -> Table:
    """A table of texts and counts."""
    cells = [["–" if item is None else str(item) for item in row] for row in rows]
    return Table(name, title, list(header), [list(map(Cell, row)) for row in cells], caption)
