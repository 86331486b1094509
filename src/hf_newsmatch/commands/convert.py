"""Convert a checkpoint: from open_clip's layout to that of transformers, or to a longer context.

    python scripts/convert.py path/to/open_clip --output_dir outputs/converted
    python scripts/convert.py path/to/open_clip --tokenizer openai/clip-vit-base-patch32
    python scripts/convert.py openai/clip-vit-base-patch32 --context_length 248
    python scripts/convert.py openai/clip-vit-base-patch32 --context_length 248 --keep_positions 20    # Long-CLIP's

Writes an ordinary checkpoint to OUTPUT_DIR, which every other command takes. They take a folder of open_clip or its
Hub id as well, and convert it into the cache of data sets by themselves.
"""

import logging
import sys
from collections.abc import Sequence

from ..configs import ConvertArguments
from ..errors import exits_cleanly
from .parser import parse_arguments
from .terminal import set_up_logging

logger = logging.getLogger(__name__)


@exits_cleanly(again="The same command does it again; a checkpoint that was there stays until the new one is whole.")
def main(argv: Sequence[str] | None = None) -> None:
    argv = list(sys.argv[1:] if argv is None else argv)
    # the checkpoint may be named alone
    if argv and not argv[0].startswith("-"):
        argv = ["--model_name_or_path", *argv]
    (args,) = parse_arguments(ConvertArguments, description=__doc__, argv=argv)
    from ..models.conversion import convert

    set_up_logging()
    folder = convert(
        args.model_name_or_path,
        args.output_dir,
        revision=args.model_revision,
        tokenizer=args.tokenizer,
        context_length=args.context_length,
        keep_positions=args.keep_positions,
    )
    logger.info("%s: a checkpoint that transformers and every command here load.", folder)
