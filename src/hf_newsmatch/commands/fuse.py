"""Join several prediction files into one: seeds, alphas, models, or title-only and title with text.

    python scripts/fuse.py run1.tsv run2.tsv --output_file fused.tsv
    python scripts/fuse.py run1.tsv run2.tsv --method z_score --weights 2 1

Writes the fused prediction file in the organisers' format, with its scores as Parquet beside it.
"""

import logging
import sys
from collections.abc import Sequence

from ..configs import FuseArguments
from ..errors import exits_cleanly
from .parser import parse_arguments
from .terminal import set_up_logging

logger = logging.getLogger(__name__)


@exits_cleanly(again="The same command does it again.")
def main(argv: Sequence[str] | None = None) -> None:
    argv = list(sys.argv[1:] if argv is None else argv)
    # the files may be named alone
    if argv and not argv[0].startswith("-"):
        argv = ["--predictions", *argv]
    (args,) = parse_arguments(FuseArguments, description=__doc__, argv=argv)
    from ..retrieval.fusion import fuse
    from ..retrieval.predictions import read_predictions, write_predictions

    set_up_logging()
    rankings = [read_predictions(file) for file in args.predictions]
    file = write_predictions(fuse(rankings, args.method, args.weights, args.k), args.output_file)
    logger.info("%s: %d files fused by %s.", file, len(rankings), args.method)
