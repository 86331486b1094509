"""Repeat the demo over several corpus seeds: the test scores, the rules for alpha, and every re-ranking.

    python scripts/study.py                                # seeds 1 to 5, some minutes each
    python scripts/study.py --corpus_seeds 6 7 8

One corpus is one draw of the world: what a single table shows may be luck. Each seed goes through the ordinary
commands into OUTPUT_DIR/seed_N; then every rule chooses its alpha and is scored on the test split, and every method
ranks that split again, with its shared pictures and without. What is done is not done again. Writes
OUTPUT_DIR/study.json.
"""

from collections.abc import Sequence

from ..configs import StudyArguments
from ..errors import exits_cleanly
from .parser import parse_arguments
from .terminal import make_console, set_up_logging


@exits_cleanly(again="The same command does the rest.")
def main(argv: Sequence[str] | None = None) -> None:
    (args,) = parse_arguments(StudyArguments, description=__doc__, argv=argv)
    from ..studies import reranking
    from ..studies.seeds import rules_table, run_study, table

    set_up_logging()
    study = run_study(args)
    console = make_console()
    console.print(table(study.summary, study.results))
    console.print(rules_table(study.rules, args.alpha_metric))
    for variant, scored in study.rerankings.items():
        console.print(reranking.table(scored, variant, study.articles[variant]))
