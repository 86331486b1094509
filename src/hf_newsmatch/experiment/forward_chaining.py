"""Folds over the training period: fine-tune on the earlier news, sweep alpha on the next."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers import set_seed

from ..data.splits import chronological_slices
from ..errors import NewsMatchError
from ..merging.curve import AlphaSweep
from ..models.weights import save_checkpoint
from ..training.arguments import ContrastiveTrainingArguments
from ..training.building import build_trainer
from .folder import Experiment
from .record import TrainRecord

# arguments that are not the recipe's: where a run goes, and the Hub
_NOT_OF_THE_RECIPE = ("output_dir", "report_to", "resume_from_checkpoint", "push_to_hub", "hub_")


def sweep_folds(
    train: Dataset,
    fine_tune: Callable[[Dataset, Dataset], str | Path],
    sweep: Callable[[str | Path, Dataset], AlphaSweep],
    slices: int,
    sort_by: str | None = None,
) -> list[AlphaSweep]:
    """Cut the training period into slices and sweep alpha on each but the first, fine-tuned on all before it.

    The run itself is one more fold, trained on all slices and swept on the validation split: K slices make K folds in
    all. With slices of equal size, the K - 1 trainings of this function take (K - 1) / 2 times as long as the run's.

    Args:
        train (`datasets.Dataset`):
            The training split.
        fine_tune (`Callable`):
            Takes the earlier slices and the next, on which it may choose an epoch; gives the checkpoint.
        sweep (`Callable`):
            Takes the checkpoint and the next slice; gives its [`AlphaSweep`].
        slices (`int`):
            How many, at least 2.
        sort_by (`str`, *optional*):
            What makes a row older, as in [`chronological_split`].

    Returns:
        `list[AlphaSweep]`: the K - 1 folds, oldest first.

    Raises:
        [`NewsMatchError`]: as [`chronological_slices`].
    """
    rows = chronological_slices(train, slices, sort_by)
    sweeps = []
    for number in range(1, slices):
        earlier, following = train.select(np.concatenate(rows[:number])), train.select(rows[number])
        sweeps.append(sweep(fine_tune(earlier, following), following))
    return sweeps


def fine_tune_again(experiment: Experiment, folder: Path) -> Callable[[Dataset, Dataset], Path]:
    """A function that fine-tunes the base model with the experiment's own recipe on other data, into `folder`."""

    def fine_tune(train: Dataset, validation: Dataset) -> Path:
        args = training_arguments(experiment.record.training, folder / "training")
        set_seed(args.seed)
        base, revision = experiment.checkpoint("zero_shot"), experiment.revision("zero_shot")
        trainer = build_trainer(base, revision, train, validation, args, experiment.text_fields)
        trainer.train()
        save_checkpoint(trainer.finished_model(), trainer.processing_class, folder / "fine_tuned")
        return folder / "fine_tuned"

    return fine_tune


def training_arguments(record: TrainRecord, output_dir: Path) -> ContrastiveTrainingArguments:
    """The recipe of a training as it was recorded, for one process: its batch is what all processes had together."""
    names = {item.name for item in dataclasses.fields(ContrastiveTrainingArguments) if item.init}
    recipe = {
        name: value
        for name, value in record.arguments.items()
        if name in names and not name.startswith(_NOT_OF_THE_RECIPE)
    }
    recipe["per_device_train_batch_size"] *= record.processes
    recipe["save_only_model"] = True  # kept for the best epoch alone: such a training is never resumed
    try:
        return ContrastiveTrainingArguments(**recipe, output_dir=str(output_dir), report_to="none")
    except ValueError as error:  # what was trained on another machine, or by an older version
        raise NewsMatchError(f"The recorded training cannot be repeated here: {error}") from error
