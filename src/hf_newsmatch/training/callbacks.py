"""The callbacks of a contrastive training: the temperature, the speed, and when checkpoints are saved."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..models.architectures import architecture_of

# Seconds within which several processes count two signals as one.
_SAME_SIGNAL = 2.0

# What `signal.signal` returns and takes.
_Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None


class ClampTemperatureCallback(TrainerCallback):
    """Keeps the stored temperature within the bounds of its architecture, such as `logit_scale` at most ln 100, as in
    CLIP's own training, unless it is frozen."""

    def on_optimizer_step(self, args, state, control, model: nn.Module, **kwargs):
        temperature = architecture_of(model.config).temperature
        parameter, (least, largest) = getattr(model, temperature.name), temperature.bounds()
        with torch.no_grad():
            if parameter.requires_grad and (least is not None or largest is not None):
                parameter.clamp_(min=least, max=largest)


class DisableInputGradsCallback(TrainerCallback):
    """Lets the outputs of frozen embeddings need no gradients, which transformers' activation checkpointing enforces.

    Only the older, reentrant checkpointing needs such gradients. With the kind used now they would send a backward
    pass through all frozen layers.
    """

    def on_train_begin(self, args, state, control, model: nn.Module, **kwargs):
        model.disable_input_require_grads()


class ThroughputCallback(TrainerCallback):
    """Measures the pictures a second of a training, and the seconds of its epochs."""

    def __init__(self) -> None:
        self.pairs, self.since = 0, 0.0
        self.epoch_began: float | None = None
        self.epoch_time: float | None = None
        self.epoch_before = 0.0  # of a resumed epoch, the seconds before

    def count(self, pairs: int) -> None:
        """Add the pairs of a batch of this process."""
        self.pairs += pairs

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time in the block, of an evaluation or of saving, out of the pictures a second."""
        begin = time.perf_counter()
        yield
        self.since += time.perf_counter() - begin

    def measure(self, world_size: int) -> dict[str, float]:
        """The measurements since the last call: `pictures_per_second` of all processes and, at the end of an epoch,
        `epoch_time`."""
        now = time.perf_counter()
        measured = {"pictures_per_second": round(self.pairs * world_size / (now - self.since), 3)}
        self.pairs, self.since = 0, now
        if self.epoch_time is not None:
            measured["epoch_time"], self.epoch_time = round(self.epoch_time, 3), None
        return measured

    def epoch_seconds(self) -> float:
        """The seconds of the epoch so far; 0 between two epochs."""
        return 0.0 if self.epoch_began is None else time.perf_counter() - self.epoch_began + self.epoch_before

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.epoch_began = self.since = time.perf_counter()
        self.pairs = 0

    def on_epoch_end(self, args, state, control, **kwargs):
        self.epoch_time, self.epoch_began, self.epoch_before = self.epoch_seconds(), None, 0.0


class SaveAfterEvaluationCallback(TrainerCallback):
    """Delays the checkpoint of an epoch's last step until the epoch's evaluation is done.

    A training that resumes from a checkpoint begins with the next epoch: an evaluation between the two would be left
    out, and with it the best epoch that it found and the random numbers that it drew.
    """

    waiting = False

    def on_step_end(self, args, state, control, **kwargs):
        if control.should_save and ends_epoch(state):
            self.waiting, control.should_save = True, False

    def on_epoch_end(self, args, state, control, **kwargs):
        control.should_save, self.waiting = control.should_save or self.waiting, False


def ends_epoch(state: TrainerState) -> bool:
    """Whether the step that has just ended is its epoch's last, or the training's."""
    return state.epoch == int(state.epoch) or state.global_step >= state.max_steps


class TrainingStopped(Exception):
    """Raised when SIGTERM or Ctrl-C stopped a training, after its checkpoint was saved.

    Args:
        checkpoint (`str`):
            The folder of the checkpoint.
        signal (`int`, *optional*):
            The number of the signal.
    """

    def __init__(self, checkpoint: str, signal: int = signal.SIGTERM):
        super().__init__(checkpoint)
        self.checkpoint, self.signal = checkpoint, signal


class SaveOnSignalCallback(TrainerCallback):
    """Saves a checkpoint on SIGTERM or Ctrl-C, when the running step has ended, and raises [`TrainingStopped`].

    At the end of an epoch the checkpoint waits for the evaluation, which a resumed training would not make up for. All
    processes stop at the same step, whichever of them received the signal. A second signal ends the process at once.

    transformers' own `enable_jit_checkpoint` waits three seconds, marks its folder incomplete where a kill can leave
    it, and lets each process stop at a step of its own.
    """

    def __init__(self) -> None:
        self.asked = 0  # the signal's number
        self.stopping = False
        self._asked_at = 0.0
        self._before: dict[int, _Handler] = {}
        self._group = None

    def on_train_begin(self, args, state, control, **kwargs):
        if threading.current_thread() is threading.main_thread():
            owner = os.getpid()

            def note(number: int, *_: object) -> None:
                # a worker of the data loader has inherited this: Ctrl-C reaches it too, but its batch is needed
                if os.getpid() != owner:
                    if number == signal.SIGINT:
                        return
                    sys.exit(128 + number)
                # a launcher passes on at once the Ctrl-C that the terminal has sent to all processes
                if self.asked and not (self._group is not None and time.monotonic() - self._asked_at < _SAME_SIGNAL):
                    sys.exit(128 + number)
                self.asked, self._asked_at = self.asked or number, time.monotonic()

            self._before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            # a group of its own on the CPU, so that asking does not wait for the accelerator
            self._group = dist.new_group(backend="gloo")

    def on_step_end(self, args, state, control, **kwargs):
        # the last step of an epoch waits for on_epoch_end; until then, processes must not ask each other twice
        if not ends_epoch(state):
            self._save_if_asked(args, control)

    def on_epoch_end(self, args, state, control, **kwargs):
        if not self.stopping:
            self._save_if_asked(args, control)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs):
        if self.stopping:
            self.restore()
            checkpoint = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            raise TrainingStopped(str(checkpoint), self.asked)

    def on_train_end(self, args, state, control, **kwargs):
        self.restore()

    def _save_if_asked(self, args: TrainingArguments, control: TrainerControl) -> None:
        asked = torch.tensor(self.asked)
        if self._group is not None:
            dist.all_reduce(asked, op=dist.ReduceOp.MAX, group=self._group)
        if asked:
            self.asked = int(asked)
            self.stopping = control.should_save = True
            args.save_only_model = False  # nothing could go on from weights alone

    def restore(self) -> None:
        """Give the signals back to who had them before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
