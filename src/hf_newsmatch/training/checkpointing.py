"""Training that survives: checkpoints complete or absent, saving on SIGTERM, stopping on a loss that is no number."""

import json
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from transformers import TrainerCallback, TrainerState
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, sort_checkpoints

from ..errors import NewsMatchError, first_sentence

logger = logging.getLogger(__name__)

# Where a checkpoint is written until all of it is there; what a killed process leaves here is never taken for one.
UNFINISHED = ".unfinished"
# What a shell reports of a process that SIGTERM ended: schedulers start such a job again.
STOPPED = 128 + signal.SIGTERM


def last_checkpoint(output_dir: str | Path) -> Path | None:
    """The checkpoint of the latest step that a training can go on from; `None` when there is none.

    Damaged ones, of a disk that failed, say, are passed over with a warning.
    """
    for folder in reversed(sort_checkpoints(str(output_dir), PREFIX_CHECKPOINT_DIR, use_mtime=False)):
        missing = what_is_missing(folder)
        if missing is None:
            return Path(folder)
        logger.warning("%s is passed over, it is not complete: %s.", folder, missing)
    return None


def what_is_missing(folder: str | Path) -> str | None:
    """Why a training cannot go on from a folder; `None` when it can."""
    folder = Path(folder)
    try:
        json.loads((folder / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return f"{TRAINER_STATE_NAME} cannot be read"
    weights = list(folder.glob("*.safetensors"))
    for file in weights:
        try:
            with safe_open(file, framework="pt"):
                pass
        except (OSError, SafetensorError):
            return f"{file.name} is damaged"
    if not weights:
        return "it holds no weights in safetensors"
    for name in (OPTIMIZER_NAME, SCHEDULER_NAME, "rng_state*.pth"):
        # DeepSpeed keeps its optimizer's state in a folder of its own
        if not list(folder.glob(name)) and not list(folder.glob("global_step*")):
            return f"there is no {name} in it"
    return None


def publish(unfinished: Path, checkpoint: Path) -> None:
    """Give a checkpoint that is all written its place. For one process at a time."""
    if not unfinished.exists():  # another machine on the same file system has done it
        return
    replaced = unfinished.with_name("replaced")
    if checkpoint.exists():  # saved at the same step before
        os.replace(checkpoint, replaced)
    os.replace(unfinished, checkpoint)
    shutil.rmtree(replaced, ignore_errors=True)
    with suppress(OSError):  # another process may still write its part
        unfinished.parent.rmdir()


@contextmanager
def explained_writing(folder: str | Path) -> Iterator[None]:
    """Turn a disk that cannot be written to into one sentence. What was being written is removed."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        # PyTorch's own way to say it, and no other of its errors
        if isinstance(error, RuntimeError) and "PytorchStreamWriter" not in str(error):
            raise
        shutil.rmtree(Path(folder) / UNFINISHED, ignore_errors=True)
        before = last_checkpoint(folder)
        remedy = f"the same command goes on from {before}" if before else "the same command starts again"
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_sentence(error)
        raise NewsMatchError(
            f"A checkpoint could not be written to {folder} ({reason}): make room there, then {remedy}."
        ) from error


def check_finite(
    loss: torch.Tensor, step: int, article_ids: Sequence[str], image_embeds: torch.Tensor, text_embeds: torch.Tensor
) -> None:
    """Stop before a loss that is no number spoils the weights.

    Args:
        loss (`torch.Tensor`, scalar): The loss of a batch.
        step (`int`): The optimizer step it belongs to, from 1.
        article_ids (`Sequence[str]`): The batch's articles.
        image_embeds, text_embeds (`torch.Tensor` of shape `(batch, d)`): Their embeddings.

    Raises:
        [`NewsMatchError`]: when the loss is NaN or infinite. It names the articles whose embeddings are, or all.
    """
    if torch.isfinite(loss):
        return
    finite = torch.isfinite(image_embeds).all(dim=1) & torch.isfinite(text_embeds).all(dim=1)
    spoilt = [article_id for article_id, fine in zip(article_ids, finite.tolist()) if not fine]
    where = "whose embeddings are not finite either" if spoilt else "of its batch"
    named = spoilt or list(article_ids)
    raise NewsMatchError(
        f"The loss became {loss.item()} at step {step}; the articles {where}: {', '.join(named[:10])}"
        f"{f' and {len(named) - 10} more' if len(named) > 10 else ''}. Start over (--overwrite) with a lower"
        " --learning_rate or with gradient clipping (--max_grad_norm 1), and with --bf16 in place of --fp16."
    )


def check_weights(named_parameters: Iterator[tuple[str, torch.nn.Parameter]], step: int) -> None:
    """Refuse weights that are no numbers, with a [`NewsMatchError`], before anything is made of them."""
    for name, parameter in named_parameters:
        if parameter.requires_grad and not torch.isfinite(parameter).all():
            raise NewsMatchError(
                f"After step {step} the weight {name} is not finite, so no checkpoint is made of it; start over"
                " (--overwrite) with a lower --learning_rate or with gradient clipping (--max_grad_norm 1)."
            )


class SaveAfterEvaluation(TrainerCallback):
    """Lets a checkpoint of an epoch's last step wait for what the end of the epoch does.

    A training that goes on from a checkpoint begins with the next epoch: an evaluation between the two would be left
    out, with what it says of the best epoch and what it draws from the random generators.
    """

    waiting = False

    def on_step_end(self, args, state, control, **kwargs):
        if control.should_save and ends_epoch(state):
            self.waiting, control.should_save = True, False

    def on_epoch_end(self, args, state, control, **kwargs):
        control.should_save, self.waiting = control.should_save or self.waiting, False


def ends_epoch(state: TrainerState) -> bool:
    """Whether the step that has just ended is its epoch's last."""
    return state.epoch == int(state.epoch)


class TrainingStopped(Exception):
    """SIGTERM came during a training, and a checkpoint was saved.

    Args:
        checkpoint (`str`): The checkpoint.
    """

    def __init__(self, checkpoint: str):
        super().__init__(checkpoint)
        self.checkpoint = checkpoint


class SaveOnSigterm(TrainerCallback):
    """On SIGTERM, lets the step that runs end, saves a checkpoint, and raises [`TrainingStopped`].

    The end of an epoch waits for its evaluation, which a resumed training would not make up for. All processes stop
    at the same step, whichever of them was told to. A second SIGTERM ends the process at once.

    transformers' own `enable_jit_checkpoint` waits three seconds, marks its folder incomplete where a kill can leave
    it, and lets each process stop at a step of its own.
    """

    def __init__(self) -> None:
        self.asked, self.stopping = False, False
        self._before = None
        self._group = None

    def on_train_begin(self, args, state, control, **kwargs):
        if threading.current_thread() is threading.main_thread():
            owner = os.getpid()

            def note(*_: object) -> None:
                # a worker of the data loader has inherited this handler: it just ends
                if self.asked or os.getpid() != owner:
                    sys.exit(STOPPED)
                self.asked = True

            self._before = signal.signal(signal.SIGTERM, note)
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            # a group of its own on the CPU, so that asking does not wait for the accelerator
            self._group = dist.new_group(backend="gloo")

    def on_step_end(self, args, state, control, **kwargs):
        # the last step of an epoch waits for on_epoch_end; until then, processes must not ask each other twice
        if not ends_epoch(state):
            self._save_if_asked(control)

    def on_epoch_end(self, args, state, control, **kwargs):
        if not self.stopping:
            self._save_if_asked(control)

    def on_save(self, args, state, control, **kwargs):
        if self.stopping:
            self._restore()
            raise TrainingStopped(str(Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"))

    def on_train_end(self, args, state, control, **kwargs):
        self._restore()

    def _save_if_asked(self, control) -> None:
        asked = torch.tensor(int(self.asked))
        if self._group is not None:
            dist.all_reduce(asked, group=self._group)
        if asked:
            self.stopping = control.should_save = True

    def _restore(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None
