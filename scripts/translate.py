"""Translate a list of news articles with a Marian model.

    python scripts/translate.py --articles_file articles.tsv                  # German to English, as Parquet
    python scripts/translate.py --articles_file articles.tsv --format tsv     # with columns titleEN and textEN
    accelerate launch --multi_gpu scripts/translate.py --articles_file articles.tsv

All other scripts read either file as English, so nobody needs the model twice. Sentences that are done are never done
again, whatever list they come from. What the model failed on is listed in OUTPUT_FILE.report.json.
"""

from hf_newsmatch.commands.translate import main

if __name__ == "__main__":
    main()
