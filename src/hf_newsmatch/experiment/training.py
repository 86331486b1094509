"""The train step: fine-tune the base model of a new experiment, or go on with a training that was interrupted."""

import dataclasses
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerState, set_seed
from transformers.trainer_utils import TrainOutput

from ..configs import CardArguments, DataArguments, ModelArguments, TrainArguments
from ..errors import NewsMatchError
from ..hub.card import find_license
from ..hub.push import open_repo
from ..models.weights import save_checkpoint, weights_sha256
from ..training.arguments import ContrastiveTrainingArguments, refuse_unlaunched_gpus
from ..training.building import build_trainer
from ..training.callbacks import SaveOnSigtermCallback, TrainingStopped
from ..training.checkpointing import UNFINISHED, checkpoint_defect, find_best_checkpoint, last_checkpoint
from ..training.trainer import ContrastiveTrainer
from ..utils.files import remove_leftovers, temporary_folder
from .folder import Experiment
from .layout import Layout
from .publishing import push, take_push
from .record import Record, TrainRecord
from .store import only_training

logger = logging.getLogger(__name__)


@dataclass
class Training:
    """What a training came to.

    Args:
        experiment ([`Experiment`]): The experiment, its fine-tuned model recorded.
        state (`TrainerState`): The trainer's state at the end, with its log.
        is_first (`bool`): Whether this process is the one that reports, of those that were launched together.
        url (`str`, *optional*): The address of the repository that the model was pushed to.
    """

    experiment: Experiment
    state: TrainerState
    is_first: bool
    url: str | None = None


def train(
    data_args: DataArguments,
    model_args: ModelArguments,
    training_args: ContrastiveTrainingArguments,
    train_args: TrainArguments | None = None,
    card_args: CardArguments | None = None,
) -> Training:
    """Read the data, fine-tune the base model on the train split, and save the best epoch as `fine_tuned`.

    A training that was interrupted goes on from its last complete checkpoint. Every process of a launch calls this.

    Args:
        data_args ([`DataArguments`]), model_args ([`ModelArguments`]):
            The data and the base model.
        training_args ([`ContrastiveTrainingArguments`]):
            The recipe; its `output_dir` is the experiment's folder.
        train_args ([`TrainArguments`], *optional*):
            Whether a fine-tuned model that is there may be replaced.
        card_args ([`CardArguments`], *optional*):
            What the model card says beside the record, with `push_to_hub`.

    Raises:
        [`NewsMatchError`]: on data, a checkpoint or options that cannot be used, and when a fine-tuned model is there.
        [`TrainingStopped`]: on SIGTERM, once a checkpoint is saved.
    """
    train_args, card_args = train_args or TrainArguments(), card_args or CardArguments()
    refuse_unlaunched_gpus(training_args)
    with only_training(training_args.output_dir, training_args.process_index == 0):
        return _train(data_args, model_args, training_args, train_args, card_args)


def _train(
    data_args: DataArguments,
    model_args: ModelArguments,
    training_args: ContrastiveTrainingArguments,
    train_args: TrainArguments,
    card_args: CardArguments,
) -> Training:
    push_args = take_push(training_args)
    set_seed(training_args.seed)
    output_dir = Path(training_args.output_dir)
    checkpoint = _checkpoint_to_resume(output_dir, training_args.resume_from_checkpoint, train_args.overwrite)

    # one process reads and draws first, the others find the caches filled
    with training_args.main_process_first(desc="the data"):
        experiment, data = Experiment.create(output_dir, data_args, model_args, training_args.recipe())
    if checkpoint is not None:
        if not experiment.layout.record.is_file():
            raise NewsMatchError(
                f"{checkpoint} has no {experiment.layout.record.name} beside it, which says what it was trained on;"
                " put that back, or start over with --overwrite."
            )
        before = Experiment.open(output_dir)
        experiment.check_continues(before)
        experiment = before
        logger.info("Going on from %s.", checkpoint)
    for name, split in experiment.record.data.split.splits.items():
        text = f"{split.rows} pairs with {split.pictures} pictures"
        if split.first_date and split.last_date:
            text += f", {split.first_date[:10]} to {split.last_date[:10]}"
        if split.shared_pictures:
            text += f"; also in an earlier split: {split.shared_pictures} pictures, of {split.shared_rows} pairs"
        logger.info("%s: %s", name, text)
    trainer = build_trainer(
        model_args.model_name_or_path,
        model_args.model_revision,
        data.train,
        data.validation,
        training_args,
        data_args.text_fields,
    )
    first = trainer.is_world_process_zero()
    if first and push_args:
        # what would stop the push stops it now, not after the training
        find_license(experiment.record.base_model, card_args, push_args.hub_token)
        open_repo(push_args.hub_model_id, push_args.hub_private_repo, push_args.hub_token)
    if first:
        shutil.rmtree(output_dir / UNFINISHED, ignore_errors=True)
        remove_leftovers(output_dir, "fine_tuned")
        if checkpoint is None:
            experiment.start()
        else:
            find_best_checkpoint(Path(checkpoint), output_dir)
    trainer.accelerator.wait_for_everyone()
    trainer.add_callback(SaveOnSigtermCallback())
    try:
        result = trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    except TrainingStopped:
        _close(trainer)
        raise
    if first:
        keep_fine_tuned(experiment, trainer, result, **dataclasses.asdict(train_args))
    _close(trainer)
    training = Training(experiment, trainer.state, first)
    if first and push_args:
        try:
            training.url = push(experiment, push_args, card_args)
        except NewsMatchError as error:
            again = f"`hf-newsmatch push --output_dir {output_dir} --run fine_tuned`"
            raise NewsMatchError(f"{error} The fine-tuned model is saved; {again} pushes it.") from error
    return training


def keep_fine_tuned(
    experiment: Experiment, trainer: ContrastiveTrainer, result: TrainOutput, **arguments: Any
) -> Path:
    """Save a trainer's model as the experiment's fine-tuned model, and record how it was made.

    `arguments` are recorded beside the trainer's own.

    Returns:
        `Path`: the folder of the checkpoint.
    """
    args, state = trainer.args, trainer.state
    with temporary_folder(experiment.output_dir, "fine_tuned") as temporary:
        made = temporary / "fine_tuned"
        save_checkpoint(trainer.finished_model(), trainer.processing_class, made)
        train = TrainRecord(
            sha256=weights_sha256(made),
            arguments={**arguments, **args.to_dict()},
            processes=args.world_size,
            metrics=result.metrics,
            best_metric={args.metric_for_best_model: state.best_metric},
            best_step=state.best_global_step,
            log_history=state.log_history,
        )

        def record(now: Record) -> None:
            now.train = train

        return experiment.put_model("fine_tuned", made, record)


def _checkpoint_to_resume(output_dir: Path, named: str | None, overwrite: bool) -> str | Path | None:
    """The checkpoint that the training goes on from; `None` when it starts."""
    if named is not None:
        if defect := checkpoint_defect(named):
            raise NewsMatchError(f"--resume_from_checkpoint {named} is no checkpoint of a training: {defect}.")
        return named
    if overwrite:
        return None
    if (output_dir / "fine_tuned").exists() and not _was_interrupted(output_dir):
        raise NewsMatchError(
            f"{output_dir} holds a fine-tuned model; train again with --overwrite, or name another --output_dir."
        )
    return last_checkpoint(output_dir)


def _was_interrupted(output_dir: Path) -> bool:
    """Whether a process was stopped after it wrote the fine-tuned model and before it recorded it."""
    return Layout(output_dir).record.is_file() and Experiment.open(output_dir).record.train is None


def _close(trainer: ContrastiveTrainer) -> None:
    """Close the process group: without that, a process may die at exit while another still waits for it."""
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()
