"""Convert a checkpoint: from open_clip's layout to that of transformers, or to a longer context.

    python scripts/convert.py path/to/open_clip --output_dir outputs/converted
    python scripts/convert.py path/to/open_clip --tokenizer openai/clip-vit-base-patch32
    python scripts/convert.py openai/clip-vit-base-patch32 --context_length 248
    python scripts/convert.py openai/clip-vit-base-patch32 --context_length 248 --keep_positions 20    # Long-CLIP's

Writes an ordinary checkpoint to OUTPUT_DIR, which every other command takes. They take a folder of open_clip or its
Hub id as well, and convert it into the cache of data sets by themselves.
"""

from hf_newsmatch.commands.convert import main

if __name__ == "__main__":
    main()
