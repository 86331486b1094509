"""Publish a fine-tuned or WiSE-FT checkpoint, with other alphas as branches, on the Hugging Face Hub.

    python scripts/push_to_hub.py --output_dir outputs/rss --hub_model_id user/name --dry_run    # show, send nothing
    python scripts/push_to_hub.py --output_dir outputs/rss --hub_model_id user/name
    python scripts/push_to_hub.py --output_dir outputs/rss --hub_model_id user/name --family --hub_private_repo false

Sends the files of the checkpoint, a model card and the provenance, and nothing else.
"""

from hf_newsmatch.commands.push import main

if __name__ == "__main__":
    main()
