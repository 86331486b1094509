"""The map of an experiment's folder: where each artefact lies."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .record import RECORD

# Where the models of several alphas go, before the number.
ALPHA_FOLDER = "wise_ft_alpha_"
_CURVE_ENDINGS = ("csv", "png", "pdf")


@dataclass(frozen=True)
class Layout:
    """The paths inside an experiment's folder; none of them need be there.

    Args:
        root (`Path`): The folder.
    """

    root: Path

    @property
    def record(self) -> Path:
        """The record, `newsmatch.json`."""
        return self.root / RECORD

    @property
    def newsroom(self) -> Path:
        """The drawn news of a demo."""
        return self.root / "newsroom"

    def model(self, name: str) -> Path:
        """The checkpoint of `fine_tuned`, `wise_ft` or one of several alphas."""
        return self.root / name

    def run(self, split: str, run: str) -> Path:
        """The prediction file of a run."""
        return self.root / "runs" / split / f"{run}.tsv"

    def run_scores(self, split: str, run: str) -> Path:
        """The scores of the ranked images, beside the prediction file."""
        return self.run(split, run).with_suffix(".parquet")

    def gold(self, split: str) -> Path:
        """The true images of a predicted split."""
        return self.root / "runs" / split / "gold.tsv"

    def candidates(self, split: str) -> Path:
        """The candidate images of a predicted split."""
        return self.root / "runs" / split / "candidates.tsv"

    @property
    def scores(self) -> Path:
        """The scores of the runs; Markdown lies beside."""
        return self.root / "scores.json"

    def alpha_curve(self, ending: str) -> Path:
        """The curve over alpha: `"csv"`, `"png"` or `"pdf"`."""
        return self.root / f"alpha_curve.{ending}"

    @property
    def report(self) -> Path:
        """The folder of the report."""
        return self.root / "report"

    def derived(self) -> Iterator[Path]:
        """Everything that steps have made here and that would pass for another training's."""
        for pattern in ("fine_tuned", "wise_ft", f"{ALPHA_FOLDER}*", "runs", "report", "checkpoint-*"):
            yield from self.root.glob(pattern)
        files = (self.scores, self.scores.with_suffix(".md"), *map(self.alpha_curve, _CURVE_ENDINGS))
        yield from (file for file in files if file.exists())


def alpha_folder(alpha: float) -> str:
    """The name of the folder of one alpha of several: two decimals, or more where there are more."""
    return f"{ALPHA_FOLDER}{alpha:.2f}" if round(alpha, 2) == alpha else f"{ALPHA_FOLDER}{alpha!r}"
