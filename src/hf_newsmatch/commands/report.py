"""Write a report of a run that opens from disk: tables, figures, and the articles that were won and lost.

    python scripts/report.py outputs/demo

Writes OUTPUT_DIR/report: index.html with small pictures beside it, the tables as Markdown and LaTeX, and the figures
as PNG and PDF. The folder can be sent to others or put on any static server.
"""

import logging
import sys
from collections.abc import Sequence

from ..configs import ReportArguments
from ..errors import exits_cleanly
from .parser import parse_arguments
from .terminal import set_up_logging

logger = logging.getLogger(__name__)


@exits_cleanly(again="The same command makes the report again; one that was there stays until the new one is whole.")
def main(argv: Sequence[str] | None = None) -> None:
    argv = list(sys.argv[1:] if argv is None else argv)
    # the folder may be named alone
    if argv and not argv[0].startswith("-"):
        argv = ["--output_dir", *argv]
    (args,) = parse_arguments(ReportArguments, description=__doc__, argv=argv)
    from ..experiment.folder import Experiment
    from ..experiment.reporting import report

    set_up_logging()
    logger.info("The report is %s.", report(Experiment.open(args.output_dir), args))
