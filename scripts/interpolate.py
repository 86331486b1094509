"""Interpolate zero-shot and fine-tuned weights (WiSE-FT).

    python scripts/interpolate.py                                    # alpha from the validation split
    python scripts/interpolate.py --alpha_rule one_standard_error    # or time_robust, forward_chaining
    python scripts/interpolate.py --per_tower true                   # search an alpha for each tower
    python scripts/interpolate.py --alpha 0.4
    python scripts/interpolate.py --alpha 0.2 0.4 0.6
    python scripts/interpolate.py --alpha_vision 0.3 --alpha_text 0.6

Continues from the run in OUTPUT_DIR and writes the checkpoint to OUTPUT_DIR/wise_ft; of several alphas, each to a
folder of its own, such as OUTPUT_DIR/wise_ft_alpha_0.40. When alpha is chosen, the curve with 95 % intervals goes to
OUTPUT_DIR/alpha_curve.csv, and a picture of it to alpha_curve.png and .pdf.
"""

from hf_newsmatch.commands.interpolate import main

if __name__ == "__main__":
    main()
