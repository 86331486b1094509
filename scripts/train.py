"""Fine-tune CLIP on a news data set.

    accelerate launch scripts/train.py                                # the embedded demo newsroom
    accelerate launch scripts/train.py --config recipes/rss.yaml      # a recipe
    accelerate launch scripts/train.py --articles_file articles.tsv --image_dir images --output_dir outputs/mine

Writes the checkpoint to OUTPUT_DIR/fine_tuned and what later steps need to know to OUTPUT_DIR/newsmatch.json. The same
command goes on with a training that was interrupted. SIGTERM saves a checkpoint and ends with exit code 143, Ctrl-C
with 130.
"""

from hf_newsmatch.commands.train import main

if __name__ == "__main__":
    main()
