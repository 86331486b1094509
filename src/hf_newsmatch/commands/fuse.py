"""Join several prediction files into one: seeds, alphas, models, or title-only and title with text.

    python scripts/fuse.py run1.tsv run2.tsv --output_file fused.tsv
    python scripts/fuse.py run1.tsv run2.tsv --method z_score --weights 2 1

Writes the fused prediction file in the organisers' format, with its scores as Parquet beside it.
"""

import logging
import sys

from hf_newsmatch.arguments import FuseArguments, parse_arguments, set_up_logging
from hf_newsmatch.errors import exits_cleanly
from hf_newsmatch.fusion import fuse
from hf_newsmatch.retrieval import read_predictions, write_predictions

logger = logging.getLogger("hf_newsmatch.fuse")


@exits_cleanly
def main() -> None:
    argv = sys.argv[1:]
    # the files may be named alone
    if argv and not argv[0].startswith("-"):
        argv = ["--predictions", *argv]
    (args,) = parse_arguments(FuseArguments, description=__doc__.splitlines()[0], argv=argv)
    set_up_logging()
    rankings = [read_predictions(file) for file in args.predictions]
    file = write_predictions(fuse(rankings, args.method, args.weights, args.k), args.output_file)
    logger.info("%s: %d files fused by %s.", file, len(rankings), args.method)


if __name__ == "__main__":
    main()
