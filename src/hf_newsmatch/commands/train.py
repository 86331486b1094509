"""Fine-tune CLIP on a news data set.

    accelerate launch scripts/train.py                                # the embedded demo newsroom
    accelerate launch scripts/train.py --config recipes/rss.yaml      # a recipe
    accelerate launch scripts/train.py --articles_file articles.tsv --image_dir images --output_dir outputs/mine

Writes the checkpoint to OUTPUT_DIR/fine_tuned and what later steps need to know to OUTPUT_DIR/newsmatch.json. The same
command goes on with a training that was interrupted. SIGTERM saves a checkpoint and ends with exit code 143, Ctrl-C
with 130.
"""

import logging
import signal
import sys
from collections.abc import Sequence

from ..configs import CardArguments, DataArguments, ModelArguments, TrainArguments
from ..errors import exits_cleanly
from ..utils.resources import resource_dir
from .parser import TRAINING_ARGUMENTS, parse_arguments
from .terminal import make_console, set_up_logging, use_all_cores

logger = logging.getLogger(__name__)


@exits_cleanly
def main(argv: Sequence[str] | None = None) -> None:
    data_args, model_args, training_args, train_args, card_args = parse_arguments(
        DataArguments,
        ModelArguments,
        TRAINING_ARGUMENTS,
        TrainArguments,
        CardArguments,
        description=__doc__,
        argv=argv,
        default_config=resource_dir("recipes") / "demo.yaml",
    )
    from ..experiment.training import train
    from ..training.callbacks import TrainingStopped
    from ..training.distributed import leave
    from ..training.learning_curve import curve_table, kept_weights

    set_up_logging()
    use_all_cores()
    code = 0
    try:
        training = train(data_args, model_args, training_args, train_args, card_args)
        if training.is_first:
            folder = training.experiment.layout.model("fine_tuned")
            make_console().print(curve_table(training.state, training_args))
            logger.info("The fine-tuned model is in %s (%s).", folder, kept_weights(training.state, training_args))
        if training.url:
            logger.info("The model is at %s.", training.url)
    except TrainingStopped as stopped:
        reason = "Ctrl-C" if stopped.signal == signal.SIGINT else "SIGTERM"
        logger.info("Stopped by %s; the same command goes on from %s.", reason, stopped.checkpoint)
        code = 128 + stopped.signal  # as a shell reports it: schedulers start such a job again
    if training_args.world_size > 1:
        leave(code)
    if code:
        sys.exit(code)
