"""As much of optuna as transformers' search calls, where each trial takes the next values of a list."""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class Trial:
    """A trial, or one with fixed values: what is suggested for a name is the same each time."""

    def __init__(self, params: dict[str, Any], number: int = 0):
        self.params, self.number = params, number

    def suggest(self, name: str) -> Any:
        return self.params[name]


class Study:
    def __init__(self, direction: str, trials: Sequence[dict[str, Any]]):
        self.direction, self.trials = direction, trials
        self.values: list[float] = []

    def optimize(self, objective, n_trials, **kwargs):
        self.values = [objective(Trial(self.trials[number], number)) for number in range(n_trials)]

    def _is_multi_objective(self) -> bool:
        return False

    @property
    def best_trial(self) -> Trial:
        value = {"minimize": min, "maximize": max}[self.direction](self.values)
        trial = Trial(self.trials[self.values.index(value)], self.values.index(value))
        trial.value = value
        return trial


def install(monkeypatch, trials: Sequence[dict[str, Any]]) -> None:
    """Let `import optuna` find this, and let its trials take these values."""
    module = ModuleType("optuna")
    module.__spec__ = ModuleSpec("optuna", None)
    module.Trial, module.TrialPruned = Trial, type("TrialPruned", (Exception,), {})
    module.trial = ModuleType("optuna.trial")
    module.trial.FixedTrial = module.trial.BaseTrial = Trial
    module.create_study = lambda direction, directions=None: Study(direction, trials)
    monkeypatch.setitem(sys.modules, "optuna", module)
    monkeypatch.setattr("transformers.hyperparameter_search.is_optuna_available", lambda: True)
