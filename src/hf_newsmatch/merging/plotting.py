"""Figures of a sweep: a curve with its band, or the grid of both towers."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ..metrics.tables import metric_label
from ..utils.figures import new_axes
from .curve import AlphaSweep

_BLUE, _GREEN, _GREY, _RED = "#2f6db5", "#2e8540", "#666666", "#c0392b"


def plot_curve(
    sweep: AlphaSweep,
    chosen: float,
    metric: str,
    title: str,
    folds: Sequence[AlphaSweep] = (),
) -> Figure:
    """Plot the value of each alpha with its 95 % band, the chosen alpha, and both ends as lines.

    Args:
        sweep ([`AlphaSweep`]):
            One alpha for both towers.
        chosen (`float`):
            The chosen alpha.
        metric (`str`):
            `"mrr@100"` or `"recall@k"`.
        title (`str`):
            The title of the figure.
        folds (`Sequence[AlphaSweep]`, *optional*):
            Sweeps of earlier folds, as thin lines.

    Returns:
        `matplotlib.figure.Figure`
    """
    order = np.argsort(sweep.alphas)
    alphas = np.array(sweep.alphas)[order]
    mean, low, high = np.array([point[metric] for point in sweep.intervals([metric])])[order].T
    figure, (axes,) = new_axes(title)
    for number, fold in enumerate(folds):
        label = "earlier folds" if not number else None
        axes.plot(fold.alphas, [point[metric] for point in fold], color=_GREY, linewidth=0.7, label=label)
    axes.fill_between(alphas, low, high, color=_BLUE, alpha=0.2, linewidth=0, label="95 % band")
    axes.plot(alphas, mean, color=_BLUE, marker="o", markersize=4, label="WiSE-FT")
    for end, name, colour, style in ((0, "zero-shot", _GREY, "--"), (1, "fine-tuned", _GREEN, "-.")):
        if end in alphas:
            value = mean[alphas == end][0]
            axes.axhline(value, color=colour, linestyle=style, linewidth=1, label=f"{name} {value:.3f}")
    value = mean[alphas == chosen][0]
    axes.axvline(chosen, color=_RED, linestyle=":", linewidth=1.5, label=f"chosen: {chosen:g}, {value:.3f}")
    axes.set_xlabel("alpha (0: zero-shot, 1: fine-tuned)")
    axes.set_ylabel(metric_label(metric))
    axes.legend(frameon=False, fontsize=8)
    return figure


def plot_towers(sweep: AlphaSweep, chosen: tuple[float, float], metric: str, title: str) -> Figure:
    """Plot the value of every pair of alphas as a field of colours, and the chosen pair.

    Args:
        sweep ([`AlphaSweep`]):
            All pairs of a grid, which may be finer in places, as [`sweep_towers`] returns them.
        chosen (`tuple[float, float]`):
            The chosen alphas of the vision and the text tower.
        metric, title:
            As for [`plot_curve`].

    Returns:
        `matplotlib.figure.Figure`
    """
    vision, text = (sorted(set(values)) for values in zip(*sweep.alphas))
    values = {alpha: point[metric] for alpha, point in zip(sweep.alphas, sweep)}
    field = np.array([[values[first, second] for first in vision] for second in text])
    figure, (axes,) = new_axes(title, width=5.4)
    mesh = axes.pcolormesh(vision, text, field, shading="nearest", cmap="viridis", rasterized=True)
    figure.colorbar(mesh, label=metric_label(metric))
    label = f"chosen: {chosen[0]:g} and {chosen[1]:g}, {values[chosen[0], chosen[1]]:.3f}"
    axes.plot(*chosen, color=_RED, marker="x", markersize=9, markeredgewidth=2, linestyle="", label=label)
    axes.plot([0, 1], [0, 1], color="white", linewidth=0.7, linestyle=":", label="one alpha for both")
    axes.set_xlabel("alpha of the vision tower")
    axes.set_ylabel("alpha of the text tower")
    # below the field, which the legend would hide, and dark enough for a white line
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, facecolor=_GREY, labelcolor="white")
    return figure
