"""The curve over alpha: the scores of every alpha, article by article."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..metrics.bootstrap import Interval, bootstrap_intervals
from ..utils.files import atomic_path

# one alpha for both towers, or one for the vision and one for the text tower
Alpha = float | tuple[float, float]


@dataclass(frozen=True, eq=False)
class AlphaSweep(Sequence):
    """The scores of every alpha, article by article.

    As a sequence it is the curve: for each alpha, in order, `{"alpha": …, "mrr@100": …, "recall@k": …}`, means over
    the articles; `"alpha_vision"` and `"alpha_text"` take the place of `"alpha"` where the towers have their own.

    Args:
        alphas (`list[float]` or `list[tuple[float, float]]`):
            One alpha for both towers, or one for the vision and one for the text tower.
        scores (`dict[str, np.ndarray]`):
            Metric to a float64 array of shape `(alphas, articles)`: reciprocal ranks, and 1 or 0 for each k.
        image_ids (`list[str]`):
            The true picture of each article; the bootstrap draws pictures.
    """

    alphas: list[Alpha]
    scores: dict[str, np.ndarray]
    image_ids: list[str]

    def __len__(self) -> int:
        return len(self.alphas)

    def __getitem__(self, index):
        return self._points[index]

    @cached_property
    def _points(self) -> list[dict[str, float]]:
        columns = {metric: array.mean(axis=1).tolist() for metric, array in self.scores.items()}
        return [
            {**_named(alpha), **{metric: column[row] for metric, column in columns.items()}}
            for row, alpha in enumerate(self.alphas)
        ]

    def intervals(self, metrics: Iterable[str] | None = None, seed: int = 0) -> list[dict[str, Interval]]:
        """The mean and the 95 % interval by metric, for each alpha; all alphas see the same draws of pictures."""
        metrics = list(self.scores if metrics is None else metrics)
        columns = {(row, metric): self.scores[metric][row] for row in range(len(self)) for metric in metrics}
        intervals = bootstrap_intervals(columns, self.image_ids, seed=seed)
        return [{metric: intervals[row, metric] for metric in metrics} for row in range(len(self))]

    def save(self, file: str | Path) -> None:
        """Write the sweep to an `.npz` file, atomically."""
        arrays: dict[str, Any] = {f"scores/{metric}": array for metric, array in self.scores.items()}
        with atomic_path(file) as temporary, open(temporary, "wb") as stream:
            np.savez_compressed(stream, alphas=self.alphas, image_ids=np.array(self.image_ids, dtype=str), **arrays)

    @classmethod
    def load(cls, file: str | Path) -> "AlphaSweep":
        """Read a file that [`AlphaSweep.save`] wrote."""
        with np.load(file, allow_pickle=False) as arrays:
            alphas = arrays["alphas"].tolist()
            scores = {name.removeprefix("scores/"): arrays[name] for name in arrays.files if "/" in name}
            return cls(
                [tuple(alpha) if isinstance(alpha, list) else alpha for alpha in alphas],
                scores,
                arrays["image_ids"].tolist(),
            )


def write_curve(sweep: AlphaSweep, file: str | Path) -> Path:
    """Write a sweep as CSV with one row for each alpha: every metric, and the ends of its 95 % interval."""
    rows = []
    for point, intervals in zip(sweep, sweep.intervals()):
        row = {name: value for name, value in point.items() if name not in intervals}
        for metric, interval in intervals.items():
            row |= {metric: point[metric], f"{metric}_low": interval.low, f"{metric}_high": interval.high}
        rows.append(row)
    with atomic_path(file) as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return Path(file)


def _named(alpha: Alpha) -> dict[str, float]:
    if isinstance(alpha, tuple):
        return {"alpha_vision": alpha[0], "alpha_text": alpha[1]}
    return {"alpha": alpha}
