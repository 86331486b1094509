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
from ..data.corpus import linked_list
from ..errors import NewsMatchError
from ..hub.card import find_license
from ..hub.push import check_repo_id, open_repo
from ..models.weights import save_checkpoint, weights_sha256
from ..training.arguments import ContrastiveTrainingArguments, refuse_unlaunched_gpus
from ..training.building import build_trainer
from ..training.callbacks import SaveOnSignalCallback, TrainingStopped
from ..training.checkpointing import UNFINISHED, checkpoint_defect, find_best_checkpoint, last_checkpoint
from ..training.trainer import ContrastiveTrainer
from ..utils.files import remove_leftovers, temporary_folder
from .folder import Experiment
from .inputs import find_moved
from .layout import Layout
from .publishing import push, take_push
from .record import RECORD, Record, TrainRecord
from .replacing import discard, finish_moving, is_replacing, put_back, set_aside, was_interrupted
from .store import only_training

logger = logging.getLogger(__name__)


@dataclass
class Training:
    """The result of a training.

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
        [`TrainingStopped`]: on SIGTERM or Ctrl-C, once a checkpoint is saved.
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
    if not data_args.demo:
        linked_list(data_args)  # there is nothing to train on without one
    push_args = take_push(training_args)
    set_seed(training_args.seed)
    output_dir = Path(training_args.output_dir)
    # the first process has waited for the end of a training that was being stopped: only then all see the same
    with training_args.main_process_first(local=False, desc="the checkpoint"):
        if training_args.process_index == 0:
            finish_moving(Layout(output_dir))
            if not is_replacing(Layout(output_dir)):
                discard(Layout(output_dir))  # left by a process that was stopped when its training was complete
        checkpoint = _checkpoint_to_resume(output_dir, training_args.resume_from_checkpoint, train_args.overwrite)
        if checkpoint is None and not train_args.overwrite:
            _check_empty(Layout(output_dir))

    # one process reads and draws first, the others find the caches filled
    with training_args.main_process_first(desc="the data"):
        experiment, data = Experiment.create(output_dir, data_args, model_args, training_args.recipe())
    if checkpoint is not None:
        try:
            experiment.check_continues(_origin(checkpoint))
        except NewsMatchError:
            if training_args.resume_from_checkpoint is not None or not train_args.overwrite:
                raise
            checkpoint = None  # of another attempt to replace what was there
    if checkpoint is None and not train_args.overwrite:
        _refuse_other_predictions(experiment)
    begins = checkpoint is None or _begins_here(experiment, Path(checkpoint), train_args.overwrite)
    if not begins and experiment.layout.record.is_file():
        experiment = Experiment.open(output_dir)
    if checkpoint is not None:
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
        open_repo(check_repo_id(push_args.hub_model_id), push_args.hub_private_repo, push_args.hub_token)
    # all have read what is there before one of them moves it
    trainer.accelerator.wait_for_everyone()
    if first:
        shutil.rmtree(output_dir / UNFINISHED, ignore_errors=True)
        remove_leftovers(output_dir, "fine_tuned")
        if checkpoint is not None:
            find_best_checkpoint(Path(checkpoint))
        with experiment.locked():
            if begins and train_args.overwrite:
                set_aside(experiment.layout)
            if begins:
                experiment.start()
            elif not experiment.layout.record.is_file():
                experiment.save()
    trainer.accelerator.wait_for_everyone()
    trainer.origin = experiment.record.to_json()
    saving = SaveOnSignalCallback()
    trainer.add_callback(saving)
    try:
        result = trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
        if first:
            keep_fine_tuned(experiment, trainer, result, **dataclasses.asdict(train_args))
            discard(experiment.layout)
    except TrainingStopped:
        _close(trainer)
        raise
    except BaseException:
        if first and is_replacing(experiment.layout) and last_checkpoint(output_dir) is None:
            put_back(experiment.layout)
            logger.warning("What was in %s before is back in its place.", output_dir)
        raise
    finally:
        saving.restore()
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
    layout = Layout(output_dir)
    if overwrite and not is_replacing(layout):
        return None
    if layout.model("fine_tuned").exists() and not was_interrupted(layout):
        raise NewsMatchError(
            f"{output_dir} holds a fine-tuned model; train again with --overwrite, or name another --output_dir."
        )
    return last_checkpoint(output_dir)


def _check_empty(layout: Layout) -> None:
    """Refuse to begin where that would remove what no experiment has made.

    Raises:
        [`NewsMatchError`]: naming the first such file or folder.
    """
    found = None if layout.record.is_file() else next(layout.derived(), None)
    if found is not None:
        raise NewsMatchError(
            f"{found} is there, but {layout.root} holds no experiment that it belongs to, and a training would remove"
            " it; move it away, name another --output_dir, or replace it with --overwrite."
        )


def _origin(checkpoint: str | Path) -> Experiment:
    """The experiment as it was when the training of a checkpoint began.

    Checkpoints say it themselves; those that older versions made do not, and have the record of their folder.
    """
    checkpoint = Path(checkpoint)
    folder = checkpoint.absolute().parent
    if (checkpoint / RECORD).is_file():
        record = Record.load(checkpoint / RECORD)
        find_moved(record, folder)
        return Experiment(checkpoint.parent, record)
    if not (folder / RECORD).is_file():
        raise NewsMatchError(
            f"{checkpoint} does not say what it was trained with, and no {RECORD} lies in {folder}; put that back, or"
            " start over with --overwrite and without --resume_from_checkpoint."
        )
    return Experiment.open(checkpoint.parent)


def _refuse_other_predictions(experiment: Experiment) -> None:
    """Refuse to begin in a folder that holds predictions on other data: they and their record would be lost."""
    if not experiment.layout.record.is_file():
        return
    try:
        before = Experiment.open(experiment.output_dir)
    except NewsMatchError:
        return  # a damaged record says of nothing what it is
    now, then = ({name: file.sha256 for name, file in e.record.data.files.items()} for e in (experiment, before))
    if any(before.record.runs.values()) and now != then:
        raise NewsMatchError(
            f"{experiment.output_dir} holds predictions on other data than are named now; name another --output_dir,"
            " or replace them with --overwrite."
        )


def _begins_here(experiment: Experiment, checkpoint: Path, overwrite: bool) -> bool:
    """Whether a training that goes on from a checkpoint is a new one in its folder.

    It is when the checkpoint lies elsewhere, and the folder holds no experiment yet or another that is to be replaced.

    Raises:
        [`NewsMatchError`]: when the folder holds another experiment that is not to be replaced.
    """
    inside = checkpoint.absolute().parent == experiment.output_dir.absolute()
    if not experiment.layout.record.is_file():
        return not inside
    try:
        experiment.check_continues(Experiment.open(experiment.output_dir))
    except NewsMatchError:
        if inside or not overwrite:
            raise
        return True
    return False


def _close(trainer: ContrastiveTrainer) -> None:
    """Close the process group: without that, a process may die at exit while another still waits for it."""
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()
