"""The demo's run without the scripts: what `python scripts/train.py` does without arguments."""

import logging
from pathlib import Path

from transformers import set_seed

from ..commands.parser import parse_arguments
from ..configs import DataArguments, ModelArguments
from ..training.arguments import ContrastiveTrainingArguments
from ..training.building import build_trainer
from ..utils.resources import resource_dir
from .folder import Experiment

logger = logging.getLogger(__name__)

RECIPE = resource_dir("recipes") / "demo.yaml"


def make_demo_run(output_dir: str | Path) -> Experiment:
    """Draw the demo newsroom and fine-tune the tiny CLIP on it, on the CPU, in about a minute.

    Args:
        output_dir (`str` or `Path`):
            The folder of the run. What an earlier run left there is removed.

    Returns:
        [`Experiment`], trained.
    """
    data_args, model_args, training_args = parse_arguments(
        DataArguments,
        ModelArguments,
        ContrastiveTrainingArguments,
        description="",
        argv=[f"--config={RECIPE}", f"--output_dir={output_dir}", "--use_cpu=true"],
    )
    logger.info("Drawing the demo newsroom and fine-tuning the tiny CLIP on it, once, into %s.", output_dir)
    set_seed(training_args.seed)
    experiment, data = Experiment.create(output_dir, data_args, model_args, training_args.recipe())
    trainer = build_trainer(
        model_args.model_name_or_path,
        model_args.model_revision,
        data.train,
        data.validation,
        training_args,
        data_args.text_fields,
    )
    experiment.start()
    logger.info("The fine-tuned model is in %s.", experiment.keep_fine_tuned(trainer, trainer.train()))
    return experiment
