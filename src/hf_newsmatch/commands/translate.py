"""Translate a list of news articles with a Marian model.

    python scripts/translate.py --articles_file articles.tsv                  # German to English, as Parquet
    python scripts/translate.py --articles_file articles.tsv --format tsv     # with columns titleEN and textEN
    accelerate launch --multi_gpu scripts/translate.py --articles_file articles.tsv

All other commands read either file as English, without the model. A sentence is translated once, whatever list it
comes from. Sentences that the model failed on are listed in OUTPUT_FILE.report.json.
"""

import logging
from collections.abc import Sequence

from ..configs import TranslateArguments
from ..errors import exits_cleanly
from .parser import parse_arguments
from .terminal import set_up_logging, use_all_cores

logger = logging.getLogger(__name__)


@exits_cleanly(again="The same command goes on; sentences that are done are not done again.")
def main(argv: Sequence[str] | None = None) -> None:
    (args,) = parse_arguments(TranslateArguments, description=__doc__, argv=argv)
    from ..experiment.translating import translate

    set_up_logging()
    use_all_cores()
    made = translate(args)
    if made is not None:
        logger.info(
            "%s: %d articles; %d sentences, %d of them different: %d were done before, %d keep their source text.",
            made.file,
            made.articles,
            made.report.sentences,
            made.report.distinct,
            made.report.from_cache,
            len(made.report.kept),
        )
