"""Searching options: each trial is the training that its options alone would give."""

import pytest
import torch
from transformers import TrainerCallback

from hf_newsmatch import ContrastiveTrainer, ContrastiveTrainingArguments, NewsMatchError
from tests.utils import fake_optuna
from tests.utils.news import make_model


class Results(TrainerCallback):
    """Keeps the weights, the steps and the last metrics of each training."""

    def __init__(self):
        self.weights, self.steps, self.metrics = [], [], []

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        self.last = metrics

    def on_train_end(self, args, state, control, model=None, **kwargs):
        self.weights.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        self.steps.append(state.global_step)
        self.metrics.append(self.last)


@pytest.fixture
def make_trainer(tmp_path, processor, pairs):
    def make(results=None, evaluation=pairs, **options) -> ContrastiveTrainer:
        args = ContrastiveTrainingArguments(
            str(tmp_path / "run"),
            **{
                "num_train_epochs": 2,
                "per_device_train_batch_size": 4,
                "learning_rate": 3e-3,
                "use_cpu": True,
                "report_to": "none",
                "disable_tqdm": True,
                **options,
            },
        )
        return ContrastiveTrainer(
            None,
            args,
            processor,
            train_dataset=pairs,
            eval_dataset=evaluation,
            model_init=lambda: make_model(processor),
            callbacks=[results] if results else None,
        )

    return make


def space(trial):
    return {name: trial.suggest(name) for name in trial.params}


def search(trainer, monkeypatch, trials, **kwargs):
    fake_optuna.install(monkeypatch, trials)
    return trainer.hyperparameter_search(space, n_trials=len(trials), **kwargs)


TRIALS = [
    {"train_towers": "text", "per_device_train_batch_size": 4, "seed": 1},
    {"train_towers": "vision", "per_device_train_batch_size": 64, "seed": 2},
    {"train_towers": "both", "per_device_train_batch_size": 4, "seed": 3},
]


def test_each_trial_is_the_training_of_its_options(make_trainer, monkeypatch):
    """From the weights that train to the size of the only batch, whatever the trial before had."""
    found, alone = Results(), Results()
    best = search(make_trainer(found), monkeypatch, TRIALS)
    for options in TRIALS:
        make_trainer(alone, **options).train()
    assert found.steps == alone.steps == [6, 2, 6]
    for tensors, expected in zip(found.weights, alone.weights, strict=True):
        assert all(torch.equal(tensor, expected[name]) for name, tensor in tensors.items())
    losses = [metrics["eval_loss"] for metrics in alone.metrics]
    assert best.objective == pytest.approx(min(losses))
    assert int(best.run_id) == losses.index(min(losses))


@pytest.mark.thorough
def test_patience_counts_anew_in_each_trial(make_trainer, monkeypatch):
    """A rate that makes every evaluation worse ends the first trial early, and the second begins all the same."""
    found = Results()
    trials = [{"learning_rate": 1.0}, {"learning_rate": 1e-3}]
    search(make_trainer(found, num_train_epochs=4, early_stopping_patience=1), monkeypatch, trials)
    assert found.steps[0] < 12
    assert found.steps[1] > 3


def test_a_trainer_that_has_stopped_early_trains_again(make_trainer):
    results = Results()
    trainer = make_trainer(results, num_train_epochs=4, early_stopping_patience=1, learning_rate=1.0)
    trainer.train()
    trainer.train()
    assert results.steps[0] == results.steps[1] > 0


@pytest.mark.thorough
def test_the_search_goes_by_the_metric_of_the_best_epoch(make_trainer, monkeypatch):
    found = Results()
    best = search(make_trainer(found, metric_for_best_model="mrr@100"), monkeypatch, TRIALS)
    values = [metrics["eval_mrr@100"] for metrics in found.metrics]
    assert (best.objective, int(best.run_id)) == (max(values), values.index(max(values)))
    own = search(make_trainer(), monkeypatch, TRIALS[:1], compute_objective=lambda metrics: metrics["eval_recall@5"])
    assert 0 < own.objective <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per_device_train_batch_size": 1}, "--per_device_train_batch_size 1 leaves a pair no other"),
        ({"learning_rate": -1.0}, r"--learning_rate must be at least 0, not -1\.0"),
        ({"train_towers": "audio"}, "--train_towers is both, vision or text, not audio"),
    ],
)
def test_a_trial_that_cannot_be_trained_is_one_sentence(make_trainer, monkeypatch, options, message):
    with pytest.raises(NewsMatchError, match=message):
        search(make_trainer(), monkeypatch, [options])


def test_what_a_search_needs(make_trainer, monkeypatch, tmp_path, processor, pairs):
    trainer = make_trainer()
    with pytest.raises(NewsMatchError, match="would minimize eval_loss, not maximize it; leave direction out"):
        search(trainer, monkeypatch, TRIALS, direction="maximize")
    with pytest.raises(NewsMatchError, match="There is no eval_loss to compare trials by"):
        search(
            make_trainer(evaluation={"a": pairs}, save_strategy="no", load_best_model_at_end=False), monkeypatch, []
        )
    with pytest.raises(NewsMatchError, match="not a valid HPSearchBackend"):
        trainer.hyperparameter_search(backend="grid")
    for name in ("optuna", "ray_tune", "wandb"):
        monkeypatch.setattr(f"transformers.hyperparameter_search.is_{name}_available", lambda: False)
    for backend in (None, "optuna"):
        with pytest.raises(NewsMatchError, match=r"; pip install optuna, or name another backend\.$"):
            trainer.hyperparameter_search(backend=backend)
    trainer.model_init = None
    with pytest.raises(NewsMatchError, match="give model_init in place of a model"):
        trainer.hyperparameter_search()
