"""Figures drawn by matplotlib without pyplot: no global state, no display."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .files import atomic_path


def new_axes(title: str, count: int = 1, width: float = 6.4) -> tuple[Figure, list[Axes]]:
    """Make a figure of one or several panels side by side, without a frame at the top and on the right.

    Args:
        title (`str`):
            The title of the whole figure.
        count (`int`, *optional*, defaults to 1):
            How many panels.
        width (`float`, *optional*, defaults to 6.4):
            The width of the figure in inches.

    Returns:
        `tuple[Figure, list[Axes]]`: the figure, and its panels from left to right.
    """
    figure = Figure(figsize=(width, 4.2), layout="constrained")
    figure.suptitle(title)
    panels = list(figure.subplots(1, count, squeeze=False)[0])
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def save_figure(figure: Figure, stem: str | Path) -> list[Path]:
    """Write a figure to `STEM.png` and `STEM.pdf`, atomically and with the same bytes for the same figure."""
    files: dict[Path, dict[str, Any]] = {
        Path(f"{stem}.png"): {"dpi": 150},
        # matplotlib would put the time into a PDF
        Path(f"{stem}.pdf"): {"metadata": {"CreationDate": None}},
    }
    for file, options in files.items():
        with atomic_path(file) as temporary:
            figure.savefig(temporary, **options)
    return list(files)
