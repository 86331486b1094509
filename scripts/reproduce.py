"""Reproduce the paper: three data sets, three runs each, its Tables 1 to 4 beside ours.

    python scripts/reproduce.py --data_root data                       # data/rt, data/tw, data/rss, as the recipes say
    python scripts/reproduce.py --data_root data -- --bf16 true        # behind --: flags of scripts/train.py
    python scripts/reproduce.py --demo true                            # in miniature, on the embedded demo newsroom

Each data set takes the ordinary road, with the ordinary scripts and its recipe, into OUTPUT_DIR/NAME. A data set that
fails is left, the others go on; the same command does what is not done yet. Writes OUTPUT_DIR/tables.md, tables.tex
and reproduce.json.
"""

from hf_newsmatch.commands.reproduce import main

if __name__ == "__main__":
    main()
