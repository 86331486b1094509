"""Early stopping, also of trainings that are killed, against the rule applied by hand to a training without it."""

import os
import signal

import pytest

from hf_newsmatch.training.callbacks import SaveOnSignalCallback, TrainingStopped
from hf_newsmatch.training.checkpointing import last_checkpoint
from tests.utils.news import make_pairs

from .test_checkpointing import STEPS_AN_EPOCH, At, in_child, kill, make_trainer, weights

PATIENCE = 2
# a metric that goes up and down
ALL = {"metric_for_best_model": "mrr@100", "lr_scheduler_type": "constant", "num_train_epochs": 8}
STOPPING = {**ALL, "early_stopping_patience": PATIENCE}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_pairs(tmp_path_factory.mktemp("pictures"), 22, [f"p{number % 20}" for number in range(22)])


@pytest.fixture(scope="module")
def unstopped(tmp_path_factory, processor, data):
    """A training of all epochs: the metric and the weights of each."""
    folder = tmp_path_factory.mktemp("unstopped")
    trainer = make_trainer(folder, processor, data, **ALL, save_total_limit=None)
    trainer.train()
    values = [row["eval_mrr@100"] for row in trainer.state.log_history if "eval_loss" in row]
    checkpoints = [folder / "run" / f"checkpoint-{STEPS_AN_EPOCH * epoch}" for epoch in range(1, len(values) + 1)]
    return values, [weights(checkpoint) for checkpoint in checkpoints]


def start(folder, processor, data, *callbacks, **settings):
    """Train, from the last checkpoint when there is one, and save the weights that are kept."""
    trainer = make_trainer(folder, processor, data, *callbacks, **settings)
    checkpoint = last_checkpoint(folder / "run")
    trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    trainer.model.save_pretrained(folder / "final")
    return trainer.state


def rule(values: list[float], threshold: float = 0.0) -> tuple[int, int]:
    """The last epoch and the best one, from 1, when two evaluations in a row without a better value end it."""
    best, without = 1, 0
    for epoch, value in enumerate(values[1:], start=2):
        without = 0 if value - values[best - 1] > threshold else without + 1
        if value > values[best - 1]:
            best = epoch
        if without == PATIENCE:
            return epoch, best
    raise AssertionError(f"these values never stop it: {values}")


@pytest.fixture(scope="module")
def stopped(unstopped):
    """The epoch after which early stopping ends the training, and the weights of the best one."""
    values, all_weights = unstopped
    last, best = rule(values)
    assert 1 < best < last < len(values), "the case is worth testing"
    return last, all_weights[best - 1]


def test_it_stops_after_so_many_evaluations_without_a_better_one(tmp_path, processor, data, stopped):
    last, best_weights = stopped
    assert start(tmp_path, processor, data, **STOPPING).global_step == last * STEPS_AN_EPOCH
    assert weights(tmp_path / "final") == best_weights


def test_an_improvement_below_the_threshold_does_not_count(tmp_path, processor, data, unstopped):
    values, _ = unstopped
    threshold = 1.01 * (max(values) - values[0])
    assert rule(values, threshold)[0] == PATIENCE + 1 != rule(values)[0]
    assert start(tmp_path, processor, data, **STOPPING, early_stopping_threshold=threshold).epoch == PATIENCE + 1


def test_the_count_survives_a_kill(tmp_path, processor, data, stopped):
    """Killed in the last epoch, after an evaluation without a better value has been counted."""
    last, best_weights = stopped
    killer = At((last - 1) * STEPS_AN_EPOCH + 2, kill)
    assert in_child(start, tmp_path, processor, data, killer, **STOPPING) == -signal.SIGKILL
    assert start(tmp_path, processor, data, **STOPPING).global_step == last * STEPS_AN_EPOCH
    assert weights(tmp_path / "final") == best_weights


def test_a_training_that_had_ended_is_not_continued(tmp_path, processor, data, stopped):
    """Told to stop at the very evaluation that ends it: the checkpoint is saved, the best weights are not yet."""
    last, best_weights = stopped
    terminate = At(last * STEPS_AN_EPOCH, lambda model: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(TrainingStopped, match=rf"checkpoint-{last * STEPS_AN_EPOCH}$"):
        start(tmp_path, processor, data, terminate, SaveOnSignalCallback(), **STOPPING)
    assert start(tmp_path, processor, data, **STOPPING).global_step == last * STEPS_AN_EPOCH
    assert weights(tmp_path / "final") == best_weights
