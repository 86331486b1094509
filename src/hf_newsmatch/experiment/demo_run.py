"""The demo's experiment, trained when a page needs one: what `hf-newsmatch train` does without arguments."""

import logging
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ..configs import DataArguments, ModelArguments, TrainArguments
from ..training.arguments import ContrastiveTrainingArguments
from ..utils.resources import resource_dir
from .folder import Experiment
from .training import train

logger = logging.getLogger(__name__)

RECIPE = resource_dir("recipes") / "demo.yaml"

_Arguments = TypeVar("_Arguments", DataArguments, ModelArguments)


def make_demo_run(output_dir: str | Path) -> Experiment:
    """Draw the demo newsroom and fine-tune the tiny CLIP on it, on the CPU, in about a minute.

    Args:
        output_dir (`str` or `Path`):
            The folder of the experiment. What an earlier training left there is removed.

    Returns:
        [`Experiment`], trained.
    """
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8")) | {"output_dir": str(output_dir), "use_cpu": True}
    data_args, model_args = _take(DataArguments, recipe), _take(ModelArguments, recipe)
    logger.info("Drawing the demo newsroom and fine-tuning the tiny CLIP on it, once, into %s.", output_dir)
    training_args = ContrastiveTrainingArguments(**recipe)
    return train(data_args, model_args, training_args, TrainArguments(overwrite=True)).experiment


def _take(kind: type[_Arguments], recipe: dict[str, Any]) -> _Arguments:
    """The arguments of one kind, taken out of a recipe."""
    return kind(**{name: recipe.pop(name) for name in list(recipe) if name in kind.__dataclass_fields__})
