"""Score prediction files: MRR@100 and Recall@k with 95 % intervals.

    python scripts/evaluate.py                                                  # the runs in outputs/demo
    python scripts/evaluate.py --predictions run1.tsv run2.tsv --gold gold.tsv  # any files

Prints tables and writes them as JSON and Markdown: OUTPUT_DIR/scores.json and scores.md, or what --scores_file names.
"""

from hf_newsmatch.commands.evaluate import main

if __name__ == "__main__":
    main()
