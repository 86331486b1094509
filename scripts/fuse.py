"""Join several prediction files into one: seeds, alphas, models, or title-only and title with text.

    python scripts/fuse.py run1.tsv run2.tsv --output_file fused.tsv
    python scripts/fuse.py run1.tsv run2.tsv --method z_score --weights 2 1

Writes the fused prediction file in the organisers' format, with its scores as Parquet beside it.
"""

from hf_newsmatch.commands.fuse import main

if __name__ == "__main__":
    main()
