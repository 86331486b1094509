"""Repeat the demo over several corpus seeds: the test scores, the rules for alpha, and every re-ranking.

    python scripts/study.py                                # seeds 1 to 5, some minutes each
    python scripts/study.py --corpus_seeds 6 7 8

One corpus is one draw of the world: what a single table shows may be luck. Each seed goes through the ordinary
commands into OUTPUT_DIR/seed_N; then every rule chooses its alpha and is scored on the test split, and every method
ranks that split again, with its shared pictures and without. What is done is not done again. Writes
OUTPUT_DIR/study.json.
"""

from hf_newsmatch.commands.study import main

if __name__ == "__main__":
    main()
