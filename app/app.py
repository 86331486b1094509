"""Rank pictures for a headline, with zero-shot, WiSE-FT and fine-tuned CLIP side by side, in the browser.

    python app/app.py                                                      # the demo, trained first if need be
    python app/app.py --output_dir outputs/rss                             # a run of yours
    python app/app.py --hub_model_id user/newsroom --images archive        # published models

Every flag is also an environment variable, for a Space: NEWSMATCH_HUB_MODEL_ID and so on.
"""

from hf_newsmatch.commands.app import main

if __name__ == "__main__":
    main()
