"""The map of an experiment's folder: where each artefact lies."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import NewsMatchError
from .record import ALPHA_FOLDER, RECORD, SPLITS, is_model, is_run

_CURVE_ENDINGS = ("csv", "png", "pdf")


@dataclass(frozen=True)
class Layout:
    """The paths inside an experiment's folder; none of them need be there.

    Names of models, splits and runs are checked, because they may come from a record that somebody else wrote.

    Args:
        root (`Path`): The folder.

    Raises:
        [`NewsMatchError`]: by its methods, on a name that is none.
    """

    root: Path

    @property
    def record(self) -> Path:
        """The record, `newsmatch.json`."""
        return self.root / RECORD

    @property
    def lock(self) -> Path:
        """The lock of the folder, held while the record and what it records change."""
        return self.root / ".newsmatch.lock"

    @property
    def training_lock(self) -> Path:
        """The lock of a training, held from its beginning to its end."""
        return self.root / ".training.lock"

    @property
    def pictures(self) -> Path:
        """The fingerprints of the pictures that the experiment uses."""
        return self.root / "newsmatch.pictures.parquet"

    @property
    def newsroom(self) -> Path:
        """The drawn news of a demo."""
        return self.root / "newsroom"

    def model(self, name: str) -> Path:
        """The checkpoint of `fine_tuned`, `wise_ft` or one of several alphas."""
        if not is_model(name):
            raise NewsMatchError(f"'{name}' is no model of an experiment.")
        return self.root / name

    def split(self, split: str) -> Path:
        """The folder of a split's prediction files."""
        if split not in SPLITS:
            raise NewsMatchError(f"'{split}' is no split of an experiment; the splits are {', '.join(SPLITS)}.")
        return self.root / "runs" / split

    def run(self, split: str, run: str) -> Path:
        """The prediction file of a run."""
        if not is_run(run):
            raise NewsMatchError(f"'{run}' is no run of an experiment.")
        return self.split(split) / f"{run}.tsv"

    def run_scores(self, split: str, run: str) -> Path:
        """The scores of the ranked images, beside the prediction file."""
        return self.run(split, run).with_suffix(".parquet")

    def gold(self, split: str) -> Path:
        """The true images of a predicted split."""
        return self.split(split) / "gold.tsv"

    def candidates(self, split: str) -> Path:
        """The candidate images of a predicted split."""
        return self.split(split) / "candidates.tsv"

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
