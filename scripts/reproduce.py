"""Reproduce the paper: three data sets, three runs each, its Tables 1 to 4 beside ours.

    python scripts/reproduce.py --data_root data                       # data/rt, data/tw, data/rss, as the recipes say
    python scripts/reproduce.py --data_root data -- --bf16 true        # behind --: flags of scripts/train.py
    python scripts/reproduce.py --demo true                            # in miniature, on the embedded demo newsroom

Each data set goes through the ordinary commands with its recipe, into OUTPUT_DIR/NAME. A data set that fails is left,
and the others go on; the same command then does the rest. Writes OUTPUT_DIR/tables.md, tables.tex and reproduce.json.
"""

from hf_newsmatch.commands.reproduce import main

if __name__ == "__main__":
    main()
