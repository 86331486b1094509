"""Reproduce the paper: three data sets, three runs each, its Tables 1 to 4 beside ours.

    python scripts/reproduce.py --data_root data                       # data/rt, data/tw, data/rss, as the recipes say
    python scripts/reproduce.py --data_root data -- --bf16 true        # behind --: flags of scripts/train.py
    python scripts/reproduce.py --demo true                            # in miniature, on the embedded demo newsroom

Each data set goes through the ordinary commands with its recipe, into OUTPUT_DIR/NAME. A data set that fails is left,
and the others go on; the same command then does the rest. Writes OUTPUT_DIR/tables.md, tables.tex and reproduce.json.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from ..configs import ReproduceArguments
from ..errors import NewsMatchError, exits_cleanly
from .parser import parse_arguments
from .terminal import make_console, set_up_logging

logger = logging.getLogger(__name__)


@exits_cleanly(again="The same command does the rest.")
def main(argv: Sequence[str] | None = None) -> None:
    argv = list(sys.argv[1:] if argv is None else argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    (args,) = parse_arguments(ReproduceArguments, description=__doc__, argv=argv[:cut])
    from ..studies.reproduction import reproduce

    set_up_logging()
    made = reproduce(args, argv[cut + 1 :])
    for table in made.tables:
        make_console().print(table)
    if made.results:
        logger.info("Written to %s, tables.tex and reproduce.json.", Path(args.output_dir) / "tables.md")
    if made.failed:
        total = len(made.results) + len(made.failed)
        raise NewsMatchError(f"{len(made.failed)} of {total} data sets failed: {', '.join(made.failed)}.")
