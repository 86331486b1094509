"""The report step: a folder that opens from disk and shows what an experiment found."""

from pathlib import Path

from ..configs import ReportArguments
from ..report.page import write_report
from .folder import Experiment


def report(experiment: Experiment, args: ReportArguments | None = None) -> Path:
    """Write the report of an experiment's predictions into its folder.

    Returns:
        `Path`: the page, `report/index.html`.

    Raises:
        [`NewsMatchError`]: as [`write_report`].
    """
    args = args or ReportArguments()
    return write_report(experiment, args.seed)
