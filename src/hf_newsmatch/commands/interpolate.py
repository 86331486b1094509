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

import logging
from collections.abc import Sequence

from ..configs import InterpolateArguments
from ..errors import exits_cleanly
from .parser import parse_arguments
from .terminal import make_console, set_up_logging, use_all_cores

logger = logging.getLogger(__name__)


@exits_cleanly(again="The same command does it again; models that were there stay until the new ones are whole.")
def main(argv: Sequence[str] | None = None) -> None:
    (args,) = parse_arguments(InterpolateArguments, description=__doc__, argv=argv)
    from ..experiment.folder import Experiment
    from ..experiment.merging import interpolate

    set_up_logging()
    use_all_cores()
    made = interpolate(Experiment.open(args.output_dir), args)
    if made.choice is not None:
        from ..merging.tables import curve_table

        make_console().print(curve_table(made.choice.sweep, made.choice.alpha, made.choice.rule))
    for folder, model in made.models.items():
        which = "alphas by weight" if model.alpha is None else f"alpha {model.alpha:g}"
        logger.info("The WiSE-FT model with %s is in %s.", which, folder)
