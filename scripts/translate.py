"""Translate a list of news articles with a Marian model.

    python scripts/translate.py --articles_file articles.tsv                  # German to English, as Parquet
    python scripts/translate.py --articles_file articles.tsv --format tsv     # with columns titleEN and textEN
    accelerate launch --multi_gpu scripts/translate.py --articles_file articles.tsv

All other commands read either file as English, without the model. A sentence is translated once, whatever list it
comes from. Sentences that the model failed on are listed in OUTPUT_FILE.report.json.
"""

from hf_newsmatch.commands.translate import main

if __name__ == "__main__":
    main()
