"""The figures of the report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from transformers import TrainerState

from ..metrics.diagnostics import recall_curve
from ..metrics.tables import metric_label
from ..retrieval.ranking import MAX_RANK
from ..training.learning_curve import curve
from ..utils.figures import new_axes

# dashes tell the runs apart without colour too
_STYLES: dict[str, dict[str, Any]] = {
    "zero_shot": {"color": "#666666", "linestyle": ":"},
    "fine_tuned": {"color": "#2e8540", "linestyle": "--"},
    "wise_ft": {"color": "#2f6db5", "linestyle": "-"},
    "ensemble": {"color": "#c0392b", "linestyle": "-."},
}
_BEYOND = 1.6 * MAX_RANK  # the place of pictures that are not in the list


def plot_recall(ranks: Mapping[str, np.ndarray], title: str, longest_list: int = MAX_RANK) -> Figure:
    """Plot Recall@k over k, as far as the lists reach."""
    figure, (axes,) = new_axes(title)
    places = np.arange(1, min(longest_list, MAX_RANK) + 1)
    for run, values in ranks.items():
        axes.plot(places, recall_curve(values, len(places)), label=run, **_STYLES.get(run, {}))
    axes.set(xscale="log", xlabel="k", ylabel="Recall@k", ylim=(0, 1))
    ticks = [k for k in (1, 2, 5, 10, 20, 50, 100) if k <= len(places)]
    axes.set_xticks(ticks, [str(k) for k in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
    return figure


def plot_ranks(ranks: Mapping[str, np.ndarray], title: str) -> Figure:
    """Plot each article's rank in one run against its rank in the next; below the line the later run is better."""
    runs = list(ranks)
    figure, panels = _panels(len(runs) - 1, title)
    for axes, earlier, later in zip(panels, runs, runs[1:]):
        x, y = (np.where(np.isfinite(ranks[run]), ranks[run], _BEYOND) for run in (earlier, later))
        # equal ranks would hide each other
        shift = np.random.default_rng(0).uniform(0.94, 1.06, (2, len(x)))
        axes.plot([1, _BEYOND], [1, _BEYOND], color="#666666", linewidth=0.8)
        axes.scatter(x * shift[0], y * shift[1], s=7, alpha=0.35, color="#2f6db5", linewidths=0, rasterized=True)
        ticks, labels = [1, 2, 5, 10, 20, 50, 100, _BEYOND], ["1", "2", "5", "10", "20", "50", "100", "out"]
        axes.set(xscale="log", yscale="log", xlabel=f"rank, {earlier}", ylabel=f"rank, {later}", aspect="equal")
        axes.set_xticks(ticks, labels, fontsize=8)
        axes.set_yticks(ticks, labels, fontsize=8)
        axes.minorticks_off()
    return figure


def plot_learning(log_history: Sequence[Mapping[str, float]], title: str) -> Figure | None:
    """Plot losses and validation metrics by epoch; returns `None` when the training has no evaluation."""
    rows = curve(TrainerState(log_history=list(map(dict, log_history))))
    if not rows:
        return None
    curves = {
        "loss": {"loss": "training", "eval_loss": "validation"},
        "validation split": {f"eval_{metric}": metric_label(metric) for metric in ("recall@1", "mrr@100")},
    }
    figure, panels = _panels(len(curves), title)
    for axes, (label, lines) in zip(panels, curves.items()):
        for (name, text), style in zip(lines.items(), ("--", "-")):
            points = [(row["epoch"], row.get(name, np.nan)) for row in rows]
            axes.plot(*zip(*points), style, marker="o", markersize=3, label=text)
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    return figure


def _panels(count: int, title: str) -> tuple[Figure, list[Axes]]:
    return new_axes(title, count, width=6.4 if count == 1 else 4.2 * count)
