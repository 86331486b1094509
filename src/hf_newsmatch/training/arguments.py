"""The arguments of a contrastive training, checked before anything is loaded."""

import math
import os
from dataclasses import dataclass, fields
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.trainer_pt_utils import AcceleratorConfig

from ..configs import ContrastiveOptions
from ..errors import NewsMatchError, first_sentence
from ..metrics.scoring import metric_names
from ..models.architectures import LOSSES
from ..utils.machine import usable_cores

# Of transformers' own arguments, those that a training's result depends on.
_RECIPE = {
    *("num_train_epochs", "max_steps", "gradient_accumulation_steps", "dataloader_drop_last", "seed", "data_seed"),
    *("learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "weight_decay", "max_grad_norm"),
    *("optim", "optim_args", "adam_beta1", "adam_beta2", "adam_epsilon", "bf16", "fp16", "tf32"),
    *("eval_strategy", "eval_steps", "load_best_model_at_end", "metric_for_best_model", "greater_is_better"),
}
_LOADING = "accelerator_config"
# More of them, which older records lack: they are left out while they have their default.
_LATER_RECIPE = {
    *("train_sampling_strategy", "eval_delay", "bf16_full_eval", "fp16_full_eval", "ignore_data_skip"),
    *("eval_on_start", "full_determinism", _LOADING, "optim_target_modules"),
}
# Optimizers of transformers that group the weights themselves, from the whole model.
_OWN_GROUPS = ("galore", "apollo", "lomo", "adalomo")
_LEAST = {
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "dataloader_num_workers": 0,
    "seed": 0,
    "unfreeze_last_layers": 0,
    "early_stopping_patience": 1,
    "early_stopping_threshold": 0,
    "learning_rate": 0,
    "weight_decay": 0,
    "max_grad_norm": 0,
    "warmup_steps": 0,
    "data_seed": 0,
    "eval_delay": 0,
}
# Options of Trainer that cannot be used here, and what does what they are for.
_REFUSED = {
    "auto_find_batch_size": "the batch size decides what the loss compares: where memory is short, keep it and give"
    " --contrastive_chunk_size",
    "use_liger_kernel": "there are no Liger kernels for CLIP; leave it out",
    "debug": "a loss or weights that are no numbers are reported without it; leave it out",
    "parallelism_config": "only data are shared among processes here; leave it out",
}


@dataclass
class ContrastiveTrainingArguments(ContrastiveOptions, TrainingArguments):
    """`TrainingArguments` with the options of [`ContrastiveOptions`], whose defaults are the recipe of the paper.

    Raises:
        `ValueError`: one sentence that names the option and the remedy.
    """

    def __post_init__(self):
        self._check_given()
        if self.dataloader_num_workers is None:
            self.dataloader_num_workers = _workers() if torch.accelerator.is_available() and not self.use_cpu else 0
        try:
            super().__post_init__()
        except ImportError as error:
            package = "deepspeed" if self.deepspeed else "the package that it needs"
            raise ValueError(f"An option needs what is not installed ({_line(error)}); install {package}.") from error
        self._check_made()
        # pinned pages only speed up the way to an accelerator; without one, every data loader would warn
        if not torch.accelerator.is_available():
            self.dataloader_pin_memory = False
        # a resumed training must count on from the evaluations before it
        self.restore_callback_states_from_checkpoint |= self.early_stopping_patience is not None

    def check(self) -> None:
        """Check the options once more, after some of them were changed.

        Raises:
            `ValueError`: one sentence that names the option and the remedy.
        """
        self._check_given()
        self._check_made()

    def _check_given(self) -> None:
        if self.loss not in (None, *LOSSES):
            raise ValueError(f"--loss is {' or '.join(LOSSES)}, not {self.loss}.")
        if self.logits_factor <= 0:
            raise ValueError(f"--logits_factor must be positive, not {self.logits_factor}.")
        if self.contrastive_chunk_size is not None and not (
            1 <= self.contrastive_chunk_size <= self.per_device_train_batch_size
        ):
            raise ValueError(
                f"--contrastive_chunk_size must lie between 1 and --per_device_train_batch_size"
                f" ({self.per_device_train_batch_size}), not {self.contrastive_chunk_size}."
            )
        for name, least in _LEAST.items():
            # written so that it refuses NaN too
            value = getattr(self, name)
            if value is not None and not least <= float(value) < math.inf:
                raise ValueError(f"--{name} must be at least {least}, not {value}.")
        _check_amount(self)
        metrics = ["loss", *metric_names()]
        # with a validation set's name before it where there are several
        metric = self.metric_for_best_model
        if metric and not f"_{metric}".endswith(tuple(f"_{name}" for name in metrics)):
            raise ValueError(
                f"--metric_for_best_model is one of {', '.join(metrics)}, not {self.metric_for_best_model}."
            )
        if self.hub_strategy != "end" or self.hub_always_push:
            flag = "--hub_always_push" if self.hub_strategy == "end" else f"--hub_strategy {self.hub_strategy}"
            raise ValueError(
                f"{flag} pushes while training, but only the model it ends with is published; leave it out."
            )
        # options of Trainer that neither this loss nor this evaluation can use: better refused than ignored
        for name in ("remove_unused_columns", "batch_eval_metrics", "label_smoothing_factor", "neftune_noise_alpha"):
            if getattr(self, name, None):
                raise ValueError(f"--{name} does not go with contrastive training; leave it out.")
        for name, remedy in _REFUSED.items():
            if getattr(self, name, None):
                raise ValueError(f"--{name} does not go with contrastive training: {remedy}.")
        if str(self.train_sampling_strategy) == "group_by_length":
            raise ValueError("--train_sampling_strategy is random or sequential here, not group_by_length.")
        _check_precision(self)
        _check_sharding(self)
        if any("=" not in item for item in (self.optim_args or "").replace(" ", "").strip(",").split(",") if item):
            raise ValueError(f"--optim_args holds name=value, several by commas, not {self.optim_args}.")
        if self.coupled_weight_decay and self.optim != TrainingArguments.default_optim:
            raise ValueError(f"--optim {self.optim} takes effect with --coupled_weight_decay false only; add that.")
        _check_early_stopping(self)

    def _check_made(self) -> None:
        _check_processes(self)
        _check_loading(self)
        _check_trained_weights(self)
        _check_lora(self)

    def recipe(self) -> dict[str, Any]:
        """The options that the final weights depend on, by name; a resumed training must have the same."""
        own = {item.name for item in fields(self)} - {item.name for item in fields(TrainingArguments)}
        own -= {"cache_images", "contrastive_chunk_size"}  # these change how it is computed, not what
        given = self.to_dict()
        values = {name: value for name, value in given.items() if name in own | _RECIPE}
        loading = {name: value for name, value in AcceleratorConfig().to_dict().items() if name in given[_LOADING]}
        plain = {**recipe_defaults(), _LOADING: loading}
        values |= {name: given[name] for name in sorted(_LATER_RECIPE) if given.get(name) != plain[name]}
        # two processes with half the batch are one with the whole
        return {**values, "train_batch_size": self.per_device_train_batch_size * self.world_size}


def recipe_defaults() -> dict[str, Any]:
    """The default of every training argument; a model card names the settings that differ."""
    return {item.name: item.default for item in fields(ContrastiveTrainingArguments)}


def refuse_unlaunched_gpus(args: TrainingArguments) -> None:
    """Refuse several GPUs in one process, where Trainer would fall back on `DataParallel`.

    Raises:
        [`NewsMatchError`]: naming the command that starts one process a GPU.
    """
    if args.n_gpu > 1:
        raise NewsMatchError(
            f"There are {args.n_gpu} GPUs in one process, where each would see only its own negatives;"
            " start one process a GPU with accelerate launch --config_file accelerate_configs/multi_gpu.yaml, or show"
            " one GPU only."
        )


def _workers() -> int:
    return min(8, max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) - 1))


def _line(error: Exception) -> str:
    return first_sentence(error)[:200]


def _check_amount(args: ContrastiveTrainingArguments) -> None:
    """Refuse trainings of no step, and numbers that Adam cannot compute with."""
    if args.max_steps == 0 or args.max_steps < -1:
        raise ValueError(f"--max_steps must be at least 1, or -1 to go by --num_train_epochs, not {args.max_steps}.")
    if args.max_steps == -1 and not 0 < args.num_train_epochs < math.inf:
        raise ValueError(f"--num_train_epochs must be above 0, not {args.num_train_epochs}.")
    for name in ("adam_beta1", "adam_beta2"):
        if not 0 <= getattr(args, name) < 1:
            raise ValueError(f"--{name} must be at least 0 and below 1, not {getattr(args, name)}.")
    if not 0 < args.adam_epsilon < math.inf:
        raise ValueError(f"--adam_epsilon must be positive, not {args.adam_epsilon}.")


def _check_precision(args: ContrastiveTrainingArguments) -> None:
    """Refuse half precision that this machine does not have."""
    on_cpu = args.use_cpu or not torch.accelerator.is_available()
    if args.fp16 and on_cpu:
        raise ValueError("--fp16 needs an accelerator; on a CPU train without it, or with --bf16 --use_cpu.")
    for name in ("bf16", "bf16_full_eval"):
        if getattr(args, name) and on_cpu and not args.use_cpu:
            raise ValueError(f"--{name} finds no accelerator here; add --use_cpu to compute so on the CPU.")


def _check_processes(args: ContrastiveTrainingArguments) -> None:
    """Refuse a batch of one pair."""
    if args.per_device_train_batch_size * args.world_size < 2:
        raise ValueError(
            "--per_device_train_batch_size 1 leaves a pair no other to be told from, and nothing would be learned;"
            " give at least 2."
        )


def _check_sharding(args: ContrastiveTrainingArguments) -> None:
    """Refuse sharded weights."""
    if args.fsdp or os.environ.get("ACCELERATE_USE_FSDP", "false").lower() in ("1", "true"):
        raise ValueError(
            "FSDP shards the logit_scale, which every process's loss needs; leave --fsdp out, and where memory is"
            " short give --contrastive_chunk_size or launch with accelerate_configs/deepspeed_zero2.yaml."
        )


def _check_loading(args: ContrastiveTrainingArguments) -> None:
    """Refuse ways of sharing batches among processes that give them other batches than the recipe says."""
    for name, value in (("split_batches", True), ("dispatch_batches", True), ("even_batches", False)):
        if getattr(args.accelerator_config, name, None) is value:
            raise ValueError(
                f"--accelerator_config with {name} {str(value).lower()} does not go with contrastive training, where"
                " every process reads its own pairs, as many as the others; leave it out."
            )


def _check_early_stopping(args: ContrastiveTrainingArguments) -> None:
    """Refuse early stopping without the evaluations, or the best epoch, that it goes by."""
    if args.early_stopping_patience is None:
        if args.early_stopping_threshold is not None:
            raise ValueError("--early_stopping_threshold takes effect with --early_stopping_patience only; add that.")
        return
    if args.eval_strategy == "no":
        raise ValueError(
            "--early_stopping_patience counts evaluations, but --eval_strategy no makes none; give epoch or steps."
        )
    if not args.load_best_model_at_end:
        raise ValueError(
            "--early_stopping_patience stops when the best epoch is past, whose weights only --load_best_model_at_end"
            " true keeps; add that."
        )


def _check_trained_weights(args: ContrastiveTrainingArguments) -> None:
    """Refuse options about the weights that train that are out of range or contradict each other."""
    if args.train_towers not in ("both", "vision", "text"):
        raise ValueError(f"--train_towers is both, vision or text, not {args.train_towers}.")
    if not 0 < args.layerwise_lr_decay <= 1:
        raise ValueError(
            f"--layerwise_lr_decay must lie above 0 and be at most 1 (none), not {args.layerwise_lr_decay}."
        )
    if not args.coupled_weight_decay and args.optim.startswith(_OWN_GROUPS):
        for name, default in (("layerwise_lr_decay", 1.0), ("decay_biases_and_norms", None)):
            if getattr(args, name) != default:
                raise ValueError(f"--optim {args.optim.value} forms its own groups of weights; leave out --{name}.")
    frozen = args.train_towers != "both" or args.unfreeze_last_layers is not None or args.lora_rank is not None
    # torch checkpoints reentrantly unless told otherwise; transformers tells it so only when no option is given
    checkpointing = args.activation_checkpointing_kwargs or {}
    checkpointing = {name: checkpointing[name] for name in checkpointing.keys() - {"every_n_layers", "offload"}}
    if frozen and checkpointing and checkpointing.get("use_reentrant", True):
        raise ValueError(
            "With frozen weights, activations must not be checkpointed the reentrant way; add use_reentrant false to"
            " --activation_checkpointing_kwargs."
        )


def _check_lora(args: ContrastiveTrainingArguments) -> None:
    """Refuse options of LoRA without it, or out of range."""
    if args.lora_rank is None:
        for name, default in (("lora_alpha", None), ("lora_dropout", 0.0)):
            if getattr(args, name) != default:
                raise ValueError(f"--{name} takes effect with --lora_rank only; add that.")
        return
    if args.lora_rank < 1:
        raise ValueError(f"--lora_rank must be at least 1, not {args.lora_rank}.")
    if args.lora_alpha is not None and args.lora_alpha <= 0:
        raise ValueError(f"--lora_alpha must be positive, not {args.lora_alpha}.")
    if not 0 <= args.lora_dropout < 1:
        raise ValueError(f"--lora_dropout must be at least 0 and below 1, not {args.lora_dropout}.")
    if args.unfreeze_last_layers == 0:
        raise ValueError("--lora_rank adapts layers and --unfreeze_last_layers 0 leaves none; give at least 1.")
    if args.decay_biases_and_norms is not None:
        raise ValueError("--lora_rank trains no biases and norms; leave out --decay_biases_and_norms.")
