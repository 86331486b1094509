"""Saving checkpoints that are complete or not there, and going on from one as if nothing had happened."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers import EarlyStoppingCallback, PreTrainedModel, Trainer
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, has_length, rotate_checkpoints
from transformers.utils import SAFE_WEIGHTS_NAME

from ..utils.files import write_json
from .callbacks import ThroughputCallback
from .checkpointing import ORIGIN_NAME, UNFINISHED, Unlogged, explained_writing, publish
from .sampler import set_sampler_epoch


class ResumingMixin(Trainer):
    """What a trainer saves beyond transformers' own, and how it goes on from that.

    Attributes:
        origin (`Mapping`, *optional*):
            The record of the experiment, which each checkpoint holds.
    """

    origin: Mapping[str, Any] | None = None
    throughput: ThroughputCallback
    _saving = False
    _epoch, _steps_in_epoch = 0, 0

    def _check_weights(self) -> None:
        raise NotImplementedError

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        if not self._load_under_other_names(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self):
        if not self._load_under_other_names(self.state.best_model_checkpoint):
            super()._load_best_model()

    def _load_under_other_names(self, checkpoint: str) -> bool:
        """Load a checkpoint whose file names the weights otherwise than the model: Trainer would leave those out.

        `save_pretrained` gives the weights of some architectures the names that they were published under.
        """
        file = Path(checkpoint) / SAFE_WEIGHTS_NAME
        if not (isinstance(self.model, PreTrainedModel) and file.is_file()):
            return False
        with safe_open(file, framework="pt") as content:
            if set(content.keys()) == set(self.model.state_dict()):
                return False
        loaded = type(self.model).from_pretrained(checkpoint, dtype=self.model.dtype)
        self.model.load_state_dict(loaded.state_dict())
        return True

    def _run_epoch(self, model, epoch, train_dataloader, resume_from_checkpoint=None, epochs_trained=0, **kwargs):
        # accelerate's own set_epoch stops short of a sampler inside its wrappers for skipping and several processes
        set_sampler_epoch(train_dataloader, epoch)
        self._epoch, self._steps_in_epoch = epoch, kwargs["steps_in_epoch"]
        if resume_from_checkpoint is not None and epoch == epochs_trained:
            self._count_in(Unlogged.read(resume_from_checkpoint))
        return super()._run_epoch(
            model=model,
            epoch=epoch,
            train_dataloader=train_dataloader,
            resume_from_checkpoint=resume_from_checkpoint,
            epochs_trained=epochs_trained,
            **kwargs,
        )

    def _unlogged(self) -> Unlogged:
        return Unlogged(
            self.accelerator.gather(self._tr_loss.detach()).mean().item(),
            self._globalstep_last_logged,
            self._total_loss_scalar,
            self.throughput.epoch_seconds(),
            *self._place(),
        )

    def _place(self) -> tuple[int, int]:
        """The epoch that goes on, and its batches so far."""
        if self.throughput.epoch_began is None:  # the epoch has just ended
            return self._epoch + 1, 0
        return self._epoch, round(((self.state.epoch or 0) - self._epoch) * self._steps_in_epoch)

    def _count_in(self, unlogged: Unlogged | None) -> None:
        """Let the next entry of the log be about all its steps, those before the checkpoint included."""
        if unlogged is not None:
            self._tr_loss += unlogged.loss
            self._globalstep_last_logged, self._total_loss_scalar = unlogged.since, unlogged.total
            self.throughput.epoch_before = unlogged.epoch_time

    def _finalize_training(self, trial, num_train_samples, start_time):
        # Trainer divides all losses by the steps of this call, which may have begun at a checkpoint
        steps, own = self.state.global_step, self.state.global_step - self._initial_global_step
        if own:
            self._total_loss_scalar *= own / steps
            self._tr_loss *= own / steps
        return super()._finalize_training(trial, num_train_samples, start_time)

    def _init_training_state(
        self, max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
    ):
        """Where the loop begins: after the last epoch when the training had ended, also in the midst of an epoch or by
        its evaluations, and in a stream where the checkpoint says."""
        begin = super()._init_training_state(
            max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
        )
        stopping = [item for item in self.callback_handler.callbacks if isinstance(item, EarlyStoppingCallback)]
        if self.state.global_step >= max_steps or any(
            item.early_stopping_patience_counter >= item.early_stopping_patience for item in stopping
        ):
            return num_train_epochs, 0
        if resume_from_checkpoint is not None and not has_length(self.train_dataset):
            unlogged = Unlogged.read(resume_from_checkpoint)
            if unlogged is not None and unlogged.epoch is not None and unlogged.batches is not None:
                return unlogged.epoch, 0 if self.args.ignore_data_skip else unlogged.batches
        return begin

    def _get_output_dir(self, trial=None) -> str:
        run_dir = super()._get_output_dir(trial)
        return str(Path(run_dir) / UNFINISHED) if self._saving else run_dir

    def _save_checkpoint(self, model, trial=None):
        """Save a checkpoint that appears complete or not at all: renamed when every process has written its files."""
        self._check_weights()
        run_dir = Path(self._get_output_dir(trial))
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        with self.throughput.paused(), explained_writing(run_dir):
            self._saving = True
            try:
                super()._save_checkpoint(model, trial)
                self._save_origin(run_dir / UNFINISHED / name)
            finally:
                self._saving = False
            if self.state.best_global_step == self.state.global_step:
                # the state has the path aside
                self.state.best_model_checkpoint = str(run_dir / name)
                if self.args.should_save:
                    self.state.save_to_json(str(run_dir / UNFINISHED / name / TRAINER_STATE_NAME))
            # the first machine, and then the others, when they have a file system of their own
            for turn in (self.is_world_process_zero(), self.is_local_process_zero()):
                self.accelerator.wait_for_everyone()
                if turn:
                    publish(run_dir / UNFINISHED / name, run_dir / name)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                best = self.state.best_model_checkpoint
                rotate_checkpoints(str(run_dir), self.args.save_total_limit, best, use_mtime=True)

    def _save_origin(self, folder: Path) -> None:
        unlogged = self._unlogged()  # asks all processes
        if self.args.should_save:
            unlogged.write(folder)
            if self.origin is not None:
                write_json(self.origin, folder / ORIGIN_NAME)
