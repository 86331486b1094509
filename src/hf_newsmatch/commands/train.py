"""Fine-tune CLIP on a news data set.

    accelerate launch scripts/train.py                                # the embedded demo newsroom
    accelerate launch scripts/train.py --config recipes/rss.yaml      # a recipe
    accelerate launch scripts/train.py --articles_file articles.tsv --image_dir images --output_dir outputs/mine

Writes the checkpoint to OUTPUT_DIR/fine_tuned and what later steps need to know to OUTPUT_DIR/newsmatch.json. The same
command goes on with a training that was interrupted. SIGTERM saves a checkpoint and ends with exit code 143.
"""

import dataclasses
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import set_seed

from ..configs import CardArguments, DataArguments, ModelArguments, TrainArguments
from ..errors import NewsMatchError, exits_cleanly
from ..experiment.folder import Experiment
from ..hub.card import find_license
from ..hub.push import open_repo, publish, take_push
from ..training.arguments import ContrastiveTrainingArguments, refuse_unlaunched_gpus
from ..training.building import build_trainer
from ..training.callbacks import STOPPED, SaveOnSigtermCallback, TrainingStopped
from ..training.checkpointing import checkpoint_defect, last_checkpoint
from ..training.distributed import leave
from ..training.learning_curve import curve_table, kept_weights
from ..utils.resources import resource_dir
from .parser import parse_arguments
from .terminal import make_console, set_up_logging, use_all_cores

logger = logging.getLogger("hf_newsmatch.train")

DEMO_RECIPE = resource_dir("recipes") / "demo.yaml"


@exits_cleanly
def main(argv: Sequence[str] | None = None) -> None:
    # ---- Arguments --------------------------------------------------------------------------------------------------
    data_args, model_args, training_args, train_args, card_args = parse_arguments(
        DataArguments,
        ModelArguments,
        ContrastiveTrainingArguments,
        TrainArguments,
        CardArguments,
        description=__doc__.splitlines()[0],
        argv=argv,
        default_config=DEMO_RECIPE,
    )
    set_up_logging()
    use_all_cores()
    refuse_unlaunched_gpus(training_args)
    push_args = take_push(training_args)
    set_seed(training_args.seed)
    output_dir = Path(training_args.output_dir)
    checkpoint = training_args.resume_from_checkpoint
    if checkpoint is None and not train_args.overwrite:
        refuse_to_lose(output_dir)
        checkpoint = last_checkpoint(output_dir)
    elif checkpoint is not None and (defect := checkpoint_defect(checkpoint)):
        raise NewsMatchError(f"--resume_from_checkpoint {checkpoint} is no checkpoint of a training: {defect}.")

    # ---- Data and model ---------------------------------------------------------------------------------------------
    # one process reads and draws first, the others find the caches filled
    with training_args.main_process_first(desc="the data"):
        experiment, data = Experiment.create(output_dir, data_args, model_args, training_args.recipe())
    if checkpoint is not None:
        experiment.check_continues(Experiment.open(output_dir))
        logger.info("Going on from %s.", checkpoint)
    for name, part in data.report["split"]["parts"].items():
        logger.info("%s: %s", name, describe(part))
    trainer = build_trainer(
        model_args.model_name_or_path,
        model_args.model_revision,
        data.train,
        data.validation,
        training_args,
        data_args.text_fields,
    )

    # ---- Training ---------------------------------------------------------------------------------------------------
    first = trainer.is_world_process_zero()
    if first and push_args:
        # what would stop the push stops it now, not after the training
        find_license(experiment, card_args, push_args.hub_token)
        open_repo(push_args.hub_model_id, push_args.hub_private_repo, push_args.hub_token)
    if first and checkpoint is None:
        experiment.start()
    trainer.accelerator.wait_for_everyone()
    trainer.add_callback(SaveOnSigtermCallback())
    try:
        result = trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    except TrainingStopped as stopped:
        logger.info("Stopped by SIGTERM; the same command goes on from %s.", stopped.checkpoint)
        trainer.accelerator.wait_for_everyone()
        trainer.accelerator.end_training()
        if training_args.world_size > 1:
            leave(STOPPED)
        sys.exit(STOPPED)

    # ---- What is kept -----------------------------------------------------------------------------------------------
    if first:
        fine_tuned = experiment.keep_fine_tuned(trainer, result, **dataclasses.asdict(train_args))
        make_console().print(curve_table(trainer.state, training_args))
        logger.info("The fine-tuned model is in %s (%s).", fine_tuned, kept_weights(trainer.state, training_args))
    # closes the process group: without that, a process may die at exit while another still waits for it
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()
    if first and push_args:
        try:
            logger.info("The model is at %s.", publish(experiment, push_args, card_args))
        except NewsMatchError as error:
            push = f"scripts/push_to_hub.py --output_dir {output_dir} --run fine_tuned"
            raise NewsMatchError(f"{error} The fine-tuned model is saved; {push} pushes it.") from error
    if training_args.world_size > 1:
        leave()


def refuse_to_lose(output_dir: Path) -> None:
    """Refuse to start over what is there."""
    if (output_dir / "fine_tuned").exists():
        raise NewsMatchError(
            f"{output_dir} holds a fine-tuned model; train again with --overwrite, or name another --output_dir."
        )


def describe(part: dict[str, Any]) -> str:
    """One part of the split report as a line."""
    text = f"{part['rows']} pairs with {part['pictures']} pictures"
    if part["first_date"]:
        text += f", {part['first_date'][:10]} to {part['last_date'][:10]}"
    if part.get("shared_pictures"):
        text += f"; also in an earlier part: {part['shared_pictures']} pictures, of {part['shared_rows']} pairs"
    return text
