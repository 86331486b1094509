"""Searching the options of a training, each trial with a model, batches and weights of its own."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from transformers import EarlyStoppingCallback, Trainer, set_seed
from transformers.hyperparameter_search import ALL_HYPERPARAMETER_SEARCH_BACKENDS, default_hp_search_backend
from transformers.trainer_utils import BestRun, HPSearchBackend

from ..errors import NewsMatchError, explain, first_sentence
from .arguments import ContrastiveTrainingArguments
from .datasets import fit_the_only_batch

_Objective = Callable[[dict[str, float]], float]


class SearchMixin(Trainer):
    """The search of [`ContrastiveTrainer`], in which every option of a trial holds from the making of its model on."""

    def hyperparameter_search(
        self,
        hp_space: Callable[[Any], dict[str, Any]] | None = None,
        compute_objective: _Objective | None = None,
        n_trials: int = 20,
        direction: str | list[str] | None = None,
        backend: str | HPSearchBackend | None = None,
        hp_name: Callable[[Any], str] | None = None,
        **kwargs: Any,
    ) -> BestRun | list[BestRun]:
        """Search as `Trainer` does, by default for the best `args.metric_for_best_model`, or the lowest `eval_loss`.

        `Trainer`'s own default is the sum of all metrics, and the lowest of it.

        Args:
            direction (`str` or `list[str]`, *optional*):
                `"minimize"` or `"maximize"`; by default what the metric asks for, and `"minimize"` with
                `compute_objective`.
            hp_space, compute_objective, n_trials, backend, hp_name, kwargs:
                As for `Trainer`.

        Raises:
            [`NewsMatchError`]: without `model_init` or a backend, on a direction that the metric contradicts, and on
                options of a trial that cannot be used.
        """
        if self.model_init is None:
            raise NewsMatchError("Each trial of a search trains a new model; give model_init in place of a model.")
        if compute_objective is None:
            compute_objective, asked = self._objective()
            if direction not in (None, asked):
                raise NewsMatchError(
                    f"The search would {asked} {self._metric()}, not {direction} it; leave direction out, or give"
                    " compute_objective."
                )
            direction = asked
        with explain(RuntimeError, ValueError, sentence=_no_backend):
            name = HPSearchBackend(default_hp_search_backend() if backend is None else backend)
            ALL_HYPERPARAMETER_SEARCH_BACKENDS[name]().ensure_available()
        try:
            return super().hyperparameter_search(
                hp_space, compute_objective, n_trials, direction or "minimize", name, hp_name, **kwargs
            )
        finally:
            self.hp_search_backend = None

    def _metric(self) -> str:
        name = self.args.metric_for_best_model or "loss"
        return name if name.startswith("eval_") else f"eval_{name}"

    def _objective(self) -> tuple[_Objective, str]:
        """What a search goes by when it is not told, and where to."""
        metric = self._metric()
        if self.eval_dataset is None or (
            isinstance(self.eval_dataset, dict)
            and not any(metric.startswith(f"eval_{name}_") for name in self.eval_dataset)
        ):
            raise NewsMatchError(
                f"There is no {metric} to compare trials by; give one eval_dataset, or compute_objective for several."
            )

        def objective(metrics: Mapping[str, float]) -> float:
            return metrics[metric]

        return objective, "maximize" if self.args.greater_is_better else "minimize"

    def call_model_init(self, trial: Any = None) -> Any:
        # Trainer takes over the options of a trial when its model is made already, frozen as the trial before said
        if trial is not None and self.hp_search_backend is not None:
            self._hp_search_setup(trial)
            set_seed(self.args.seed)
        return super().call_model_init(trial)

    def _hp_search_setup(self, trial: Any) -> None:
        super()._hp_search_setup(trial)
        if self.hp_search_backend is None or trial is None:
            return
        args = cast(ContrastiveTrainingArguments, self.args)
        with explain(ValueError, sentence=lambda error: f"{first_sentence(error)}."):
            args.check()
        if hasattr(self.train_dataset, "__len__"):
            fit_the_only_batch(len(self.train_dataset), args)
        self._train_batch_size = self.args.train_batch_size

    def _begin_patience(self) -> None:
        """Let early stopping count anew: what an earlier training has counted is not this one's."""
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, EarlyStoppingCallback):
                callback.early_stopping_patience_counter = 0


def _no_backend(error: Exception) -> str:
    remedy = "; pip install optuna, or name another backend" if isinstance(error, RuntimeError) else ""
    return f"{first_sentence(error)}{remedy}."
