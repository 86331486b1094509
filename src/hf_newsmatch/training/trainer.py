"""Contrastive fine-tuning of CLIP as a `transformers.Trainer`."""

import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import (
    CLIPModel,
    EvalPrediction,
    ProcessorMixin,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from ..data.image_cache import cache_pictures
from ..data.images import undecoded
from ..data.text import DEFAULT_TEXT_FIELDS, article_texts
from ..errors import NewsMatchError
from ..metrics import score
from ..metrics.scoring import metric_names
from ..retrieval.ranking import rank
from ..utils.machine import usable_cores
from .checkpointing import UNFINISHED, SaveAfterEvaluation, check_finite, check_weights, explained_writing, publish
from .collator import ContrastiveCollator
from .freezing import NoGraphBelow, check_options, freeze, parameter_groups
from .gradient_cache import backward_in_chunks
from .lora import add_lora, merged
from .losses import MAX_LOGIT_SCALE, contrastive_loss
from .sampler import DistinctBatchSampler

# The validation loss is the mean over blocks of this many pairs in order: the batch size of the recipe, but fixed, so
# that it depends neither on the batch size of evaluation nor on the number of processes.
VALIDATION_BLOCK = 64
# Of transformers' own arguments, those that a training's result depends on
_RECIPE = {
    *("num_train_epochs", "max_steps", "gradient_accumulation_steps", "dataloader_drop_last", "seed", "data_seed"),
    *("learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "weight_decay", "max_grad_norm"),
    *("optim", "optim_args", "adam_beta1", "adam_beta2", "adam_epsilon", "bf16", "fp16", "tf32"),
    *("eval_strategy", "eval_steps", "load_best_model_at_end", "metric_for_best_model", "greater_is_better"),
}


@dataclass
class ContrastiveTrainingArguments(TrainingArguments):
    """`TrainingArguments` whose defaults are the recipe of the paper's reference 8 (PubMedCLIP, Eslami et al. 2021).

    Batches of 64 pairs, Adam with coupled weight decay 5e-4, a constant learning rate of 1e-5 without warm-up and
    without clipping, 50 epochs, and in the end the epoch with the lowest validation loss.
    """

    output_dir: str = field(default="outputs/demo", metadata={"help": "Folder of the run; holds all later steps too."})
    per_device_train_batch_size: int = field(
        default=64, metadata={"help": "Pairs a step; each is a negative to all others. (Recipe: 64.)"}
    )
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Pairs a step of evaluation."})
    num_train_epochs: float = field(default=50.0, metadata={"help": "Passes over the training part. (Recipe: 50.)"})
    learning_rate: float = field(default=1e-5, metadata={"help": "Peak learning rate. (Recipe: 1e-5.)"})
    lr_scheduler_type: str = field(
        default="constant", metadata={"help": "Learning rate schedule. (Recipe: constant.)"}
    )
    weight_decay: float = field(default=5e-4, metadata={"help": "Weight decay. (Recipe: 5e-4.)"})
    max_grad_norm: float = field(default=0.0, metadata={"help": "Gradient clipping; 0 for none. (Recipe: none.)"})
    coupled_weight_decay: bool = field(
        default=True,
        metadata={
            "help": "torch.optim.Adam over all parameters with weight decay added to the gradient (L2), as in the "
            "recipe; when false, the optimizer of --optim."
        },
    )
    decay_biases_and_norms: bool | None = field(
        default=None,
        metadata={
            "help": "Whether biases, norms and logit_scale have weight decay, too. By default with"
            " --coupled_weight_decay, as in the recipe, and not without."
        },
    )
    train_towers: str = field(
        default="both", metadata={"help": "both, or vision or text: the other tower is frozen. (Recipe: both.)"}
    )
    unfreeze_last_layers: int | None = field(
        default=None,
        metadata={
            "help": "Train only the last so many layers of each trained tower, its final norm and its projection; with"
            " 0 the latter alone. By default all. logit_scale always trains."
        },
    )
    layerwise_lr_decay: float = field(
        default=1.0,
        metadata={
            "help": "Each layer learns at this share of the rate of the one above it, the embeddings most slowly."
            " (Recipe: 1, all alike.)"
        },
    )
    lora_rank: int | None = field(
        default=None,
        metadata={
            "help": "Train low-rank adapters (LoRA) of this rank on all linear modules of the trained layers, and"
            " nothing else, neither projections nor logit_scale. They want a higher --learning_rate, like 1e-4."
        },
    )
    lora_alpha: float | None = field(
        default=None, metadata={"help": "The adapters count alpha / rank times. By default as much as the rank."}
    )
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout before the adapters."})
    logits_factor: float = field(
        default=1.0,
        metadata={
            "help": "A fixed factor on the logits in training and validation loss. The recipe's published code "
            "multiplies by exp(0.01)/exp(0.07) = 0.942; off (1.0) by default."
        },
    )
    contrastive_chunk_size: int | None = field(
        default=None,
        metadata={
            "help": "Pairs in memory at a time, for batches that do not fit: gradient caching, exact, at the price of"
            " a second forward pass."
        },
    )
    distinct_batches: bool = field(
        default=True,
        metadata={"help": "Form batches without the same picture or text twice, while others are left."},
    )
    cache_images: bool = field(
        default=False,
        metadata={
            "help": "Decode and resize each picture once and keep it (150 KB of disk at 224 x 224, read as needed)"
            " instead of in every epoch; the numbers are the same bit for bit."
        },
    )
    dataloader_drop_last: bool = field(
        default=True,
        metadata={"help": "Drop an incomplete last batch (unless it is the only one). (Recipe: dropped.)"},
    )
    dataloader_num_workers: int | None = field(
        default=None,
        metadata={
            "help": "Processes that decode pictures, for each training process; by default its share of the cores, at"
            " most 8, with an accelerator, and none without one, where the cores train."
        },
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate: no, steps or epoch."})
    save_strategy: str = field(
        default="epoch", metadata={"help": "When to save a checkpoint: no, steps, epoch, best."}
    )
    logging_strategy: str = field(default="epoch", metadata={"help": "When to log: no, steps or epoch."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints kept beside the best one."})
    load_best_model_at_end: bool = field(
        default=True, metadata={"help": "Keep the best epoch's weights, not the last's."}
    )
    metric_for_best_model: str = field(
        default="loss", metadata={"help": "What makes an epoch the best. (Recipe: loss.)"}
    )
    ddp_find_unused_parameters: bool | None = field(
        default=False, metadata={"help": "All trained weights of CLIP are used in every step: no need to look."}
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "The collator reads the data set's own columns."}
    )
    hub_strategy: str = field(
        default="end",
        metadata={"help": "When to push: at the end, the checkpoint, its card and its provenance alone."},
    )

    def __post_init__(self):
        if self.logits_factor <= 0:
            raise ValueError(f"--logits_factor must be positive, not {self.logits_factor}.")
        if self.contrastive_chunk_size is not None and not (
            1 <= self.contrastive_chunk_size <= self.per_device_train_batch_size
        ):
            raise ValueError(
                f"--contrastive_chunk_size must lie between 1 and --per_device_train_batch_size"
                f" ({self.per_device_train_batch_size}), not {self.contrastive_chunk_size}."
            )
        for name, least in (
            ("per_device_train_batch_size", 1),
            ("per_device_eval_batch_size", 1),
            ("gradient_accumulation_steps", 1),
            ("dataloader_num_workers", 0),
            ("seed", 0),
        ):
            if getattr(self, name) is not None and getattr(self, name) < least:
                raise ValueError(f"--{name} must be at least {least}, not {getattr(self, name)}.")
        metrics = ["loss", *metric_names()]
        if self.metric_for_best_model and self.metric_for_best_model.removeprefix("eval_") not in metrics:
            raise ValueError(
                f"--metric_for_best_model is one of {', '.join(metrics)}, not {self.metric_for_best_model}."
            )
        if self.hub_strategy != "end" or self.hub_always_push:
            flag = "--hub_always_push" if self.hub_strategy == "end" else f"--hub_strategy {self.hub_strategy}"
            raise ValueError(
                f"{flag} pushes while training, but only the model it ends with is published; leave it out."
            )
        # what Trainer offers and this loss, or this evaluation, has no use for: better refused than ignored
        for name in ("remove_unused_columns", "batch_eval_metrics", "label_smoothing_factor", "neftune_noise_alpha"):
            if getattr(self, name, None):
                raise ValueError(f"--{name} does not go with contrastive training; leave it out.")
        if self.coupled_weight_decay and self.optim != TrainingArguments.default_optim:
            raise ValueError(f"--optim {self.optim} takes effect with --coupled_weight_decay false only; add that.")
        if self.dataloader_num_workers is None:
            self.dataloader_num_workers = _workers() if torch.accelerator.is_available() and not self.use_cpu else 0
        super().__post_init__()
        check_options(self)
        # pinned pages only speed up the way to an accelerator; without one, every data loader would warn
        self.dataloader_pin_memory = self.dataloader_pin_memory and torch.accelerator.is_available()

    def recipe(self) -> dict[str, Any]:
        """What the final weights depend on: a training that goes on with other values would be another one."""
        own = {item.name for item in fields(self)} - {item.name for item in fields(TrainingArguments)}
        own -= {"cache_images", "contrastive_chunk_size"}  # these change how it is computed, not what
        values = {name: value for name, value in self.to_dict().items() if name in own | _RECIPE}
        # two processes with half the batch are one with the whole
        return {**values, "train_batch_size": self.per_device_train_batch_size * self.world_size}


class ContrastiveTrainer(Trainer):
    """Fine-tunes CLIP with [`contrastive_loss`] and evaluates it as what it is for, retrieval.

    Every evaluation embeds the whole validation part and gives `eval_loss` (mean contrastive loss over blocks of 64
    pairs in order) and `eval_mrr@100`, `eval_recall@1/5/10/50/100` among the part's distinct pictures.

    Args:
        model (`CLIPModel`):
            The model to fine-tune, in float32. What `args` freezes is frozen in place, and adapters are put into it.
        args ([`ContrastiveTrainingArguments`]):
            The recipe.
        processing_class (`ProcessorMixin`):
            The checkpoint's processor; saved with every checkpoint.
        text_fields (`Sequence[str]`, *optional*, defaults to `("title", "text")`):
            The columns that make up what CLIP reads.
        train_dataset, eval_dataset (`datasets.Dataset`):
            Pairs with the columns `image`, `image_id` and the text fields; no row without a picture.
        kwargs:
            Passed on to `transformers.Trainer`.

    Raises:
        [`NewsMatchError`]: with several GPUs in one process (each would see its own negatives only), or fewer than two
            pairs a process.
    """

    # compute_loss is a mean over one batch: Trainer itself divides by the steps of gradient accumulation
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: CLIPModel,
        args: ContrastiveTrainingArguments,
        processing_class: ProcessorMixin,
        train_dataset=None,
        eval_dataset=None,
        text_fields: Sequence[str] = DEFAULT_TEXT_FIELDS,
        **kwargs,
    ):
        refuse_unlaunched_gpus(args)
        if train_dataset is not None:
            _fit_the_only_batch(len(train_dataset), args)
        if args.cache_images:
            with args.main_process_first(desc="caching pictures"):
                train_dataset, eval_dataset = (
                    part if part is None else cache_pictures(part, processing_class.image_processor)
                    for part in (train_dataset, eval_dataset)
                )
        # The processor does not go to Trainer, which would rewrite the configuration's eos token to the tokenizer's: a
        # checkpoint whose two differ would pool its text elsewhere once reloaded.
        self.processor = processing_class
        freeze(model, args.train_towers, args.unfreeze_last_layers)
        if args.lora_rank is not None:
            set_seed(args.seed)  # of the adapters' first values; Trainer does the same next
            model = add_lora(model, args.lora_rank, args.lora_alpha, args.lora_dropout)
        super().__init__(
            model=model,
            args=args,
            data_collator=ContrastiveCollator(processing_class, text_fields),
            train_dataset=_undecoded(train_dataset),
            eval_dataset=_undecoded(eval_dataset),
            compute_metrics=self._retrieval_metrics,
            **kwargs,
        )
        self.can_return_loss = True
        self._pairs, self._since, self._epoch_time = 0, 0.0, None
        self._saving = False
        self.add_callback(ClampLogitScale())
        self.add_callback(NoGraphBelow())
        self.add_callback(EpochClock(self))
        self.add_callback(SaveAfterEvaluation())

    @staticmethod
    def get_optimizer_cls_and_kwargs(args, model=None):
        if args.coupled_weight_decay:
            kwargs = {"betas": (args.adam_beta1, args.adam_beta2), "eps": args.adam_epsilon}
            optimizer = torch.optim.Adam
        else:
            optimizer, kwargs = Trainer.get_optimizer_cls_and_kwargs(args, model)
        # Trainer takes `params` from here in place of its own groups; some optimizers bring theirs, or the whole model
        if model is not None and not {"params", "model", "optimizer_dict"} & kwargs.keys():
            decay_all = args.decay_biases_and_norms
            kwargs["params"] = parameter_groups(
                model,
                args.learning_rate,
                args.weight_decay,
                args.layerwise_lr_decay,
                decay_biases_and_norms=args.coupled_weight_decay if decay_all is None else decay_all,
            )
        return optimizer, kwargs

    def finished_model(self) -> CLIPModel:
        """The model as trained, an ordinary CLIP: with LoRA a copy into which the adapters are merged."""
        return merged(self.accelerator.unwrap_model(self.model))

    def get_eval_dataloader(self, eval_dataset=None):
        with self._keeping_the_last_batch():
            return super().get_eval_dataloader(eval_dataset)

    def get_test_dataloader(self, test_dataset):
        with self._keeping_the_last_batch():
            return super().get_test_dataloader(test_dataset)

    @contextmanager
    def _keeping_the_last_batch(self) -> Iterator[None]:
        """Trainer drops the last batch of an evaluation too: its rows would be missing from every metric."""
        drop_last = self.args.dataloader_drop_last
        self.args.dataloader_drop_last = False
        try:
            yield
        finally:
            self.args.dataloader_drop_last = drop_last

    def _get_train_sampler(self, train_dataset=None):
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if not self.args.distinct_batches or self.args.train_sampling_strategy != "random":
            return super()._get_train_sampler(dataset)
        names = list(self.data_collator.text_fields)
        texts = article_texts(dataset, names)
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        batch_size = self.args.train_batch_size * self.args.world_size
        return DistinctBatchSampler(dataset["image_id"][:], texts, batch_size, seed)

    def training_step(self, model, inputs, num_items_in_batch=None):
        chunk_size = self.args.contrastive_chunk_size
        if chunk_size is None or chunk_size >= len(inputs["image_ids"]):
            return super().training_step(model, inputs, num_items_in_batch)
        model.train()
        inputs, ids = self._apart(self._prepare_inputs(inputs))
        steps = self.current_gradient_accumulation_steps
        loss = backward_in_chunks(
            model,
            inputs,
            lambda image_embeds, text_embeds: self._training_loss(image_embeds, text_embeds, ids),
            self.accelerator.unwrap_model(model).logit_scale,
            chunk_size,
            backward=lambda scalar: self.accelerator.backward(scalar / steps),
            no_sync=lambda: self.accelerator.no_sync(model),
        )
        return loss / steps

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        inputs, ids = self._apart(inputs)
        outputs = model(**inputs)
        loss = self._training_loss(outputs.image_embeds, outputs.text_embeds, ids)
        return (loss, outputs) if return_outputs else loss

    @staticmethod
    def _apart(inputs) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor | list[str]]]:
        """What the model reads, and who is in the batch."""
        inputs = dict(inputs)
        return inputs, {name: inputs.pop(name) for name in ("image_ids", "text_ids", "article_ids")}

    def _training_loss(self, image_embeds, text_embeds, ids) -> torch.Tensor:
        self._pairs += len(ids["article_ids"])
        loss = self._loss(image_embeds, text_embeds, ids["image_ids"], ids["text_ids"], across_processes=True)
        check_finite(loss, self.state.global_step + 1, ids["article_ids"], image_embeds, text_embeds)
        return loss

    def _loss(self, image_embeds, text_embeds, image_ids, text_ids, across_processes=False) -> torch.Tensor:
        logit_scale = self.accelerator.unwrap_model(self.model).logit_scale.to(image_embeds.device)
        logit_scale = logit_scale + math.log(self.args.logits_factor)
        return contrastive_loss(image_embeds, text_embeds, logit_scale, image_ids, text_ids, across_processes)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Returns no loss but both embeddings and, as labels, who shares a picture or a text: the metrics need all."""
        inputs, ids = self._apart(self._prepare_inputs(inputs))
        labels = torch.stack((ids["image_ids"], ids["text_ids"]), dim=1)
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(**inputs)
        return None, (outputs.image_embeds.float(), outputs.text_embeds.float()), labels

    def _retrieval_metrics(self, evaluation: EvalPrediction) -> dict[str, float]:
        image_embeds, text_embeds = (torch.from_numpy(embeds) for embeds in evaluation.predictions)
        image_ids, text_ids = torch.from_numpy(evaluation.label_ids).T

        losses = [
            (len(block), self._loss(image_embeds[block], text_embeds[block], image_ids[block], text_ids[block]).item())
            for block in torch.arange(len(image_ids)).split(VALIDATION_BLOCK)
        ]
        loss = sum(size * value for size, value in losses) / len(image_ids)

        # the first row of each distinct picture, in the order of the data
        first = np.sort(np.unique(image_ids.numpy(), return_index=True)[1])
        names = [str(image_id) for image_id in image_ids.tolist()]
        rows = [str(row) for row in range(len(names))]
        ranking = rank(text_embeds, image_embeds[first], rows, [names[row] for row in first])
        scores = score(ranking, dict(zip(rows, names)))
        return {"loss": loss, **{name: value for name, value in scores.items() if "@" in name}}

    def evaluate(self, *args, **kwargs):
        if self.is_in_train:
            self._check_weights()
        with self._not_training():
            return super().evaluate(*args, **kwargs)

    def log(self, logs, start_time=None):
        """Adds `logit_scale` (as stored, a logarithm), `pictures_per_second` of all processes, loading included and
        evaluation and saving left out, and once an epoch `epoch_time` in seconds, all of it included."""
        if "loss" in logs:
            now = time.perf_counter()
            logs["logit_scale"] = self.accelerator.unwrap_model(self.model).logit_scale.item()
            logs["pictures_per_second"] = round(self._pairs * self.args.world_size / (now - self._since), 3)
            self._pairs, self._since = 0, now
            if self._epoch_time is not None:
                logs["epoch_time"], self._epoch_time = round(self._epoch_time, 3), None
        super().log(logs, start_time)

    @contextmanager
    def _not_training(self) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self._since += time.perf_counter() - begin

    def _check_weights(self) -> None:
        check_weights(self.accelerator.unwrap_model(self.model).named_parameters(), self.state.global_step)

    def train(self, *args, **kwargs):
        if self.args.should_save:  # what a process that was killed while saving has left
            shutil.rmtree(Path(self.args.output_dir) / UNFINISHED, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        return super().train(*args, **kwargs)

    def _get_output_dir(self, trial=None) -> str:
        run_dir = super()._get_output_dir(trial)
        return str(Path(run_dir) / UNFINISHED) if self._saving else run_dir

    def _save_checkpoint(self, model, trial=None):
        """Complete or absent: written aside, and renamed when every process has written its part."""
        self._check_weights()
        run_dir = Path(self._get_output_dir(trial))
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        with self._not_training(), explained_writing(run_dir):
            self._saving = True
            try:
                super()._save_checkpoint(model, trial)
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

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            self.processor.save_pretrained(output_dir or self.args.output_dir)


def _workers() -> int:
    return min(8, max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) - 1))


def refuse_unlaunched_gpus(args: TrainingArguments) -> None:
    """Refuse several GPUs in one process, where Trainer would fall back on `DataParallel`."""
    if args.n_gpu > 1:
        raise NewsMatchError(
            f"There are {args.n_gpu} GPUs in one process, where each would see only its own negatives;"
            " start one process a GPU with accelerate launch --config_file accelerate_configs/multi_gpu.yaml, or show"
            " one GPU only."
        )


def _fit_the_only_batch(size: int, args: ContrastiveTrainingArguments) -> None:
    """Make a batch out of `size` pairs that are fewer than one: an incomplete last batch is dropped, but not the only.

    Several processes then get as many pairs each as go; never are there repeats.
    """
    if size < 2 * args.world_size:
        raise NewsMatchError(
            f"Contrastive training needs at least two pairs in each process, {2 * args.world_size} in all, not"
            f" {size}; give more training data."
        )
    args.per_device_train_batch_size = min(args.per_device_train_batch_size, size // args.world_size)


class ClampLogitScale(TrainerCallback):
    """Keeps the stored `logit_scale` at most ln 100, as CLIP's own training did, unless it is frozen."""

    def on_optimizer_step(self, args, state, control, model: nn.Module | None = None, **kwargs):
        with torch.no_grad():
            if model.logit_scale.requires_grad:
                model.logit_scale.clamp_(max=MAX_LOGIT_SCALE)


class EpochClock(TrainerCallback):
    """Tells the trainer how long its epochs take."""

    def __init__(self, trainer: ContrastiveTrainer):
        self.trainer, self.began = trainer, 0.0

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.began = self.trainer._since = time.perf_counter()
        self.trainer._pairs = 0

    def on_epoch_end(self, args, state, control, **kwargs):
        self.trainer._epoch_time = time.perf_counter() - self.began


def _undecoded(dataset):
    """The same data with pictures left as files: the collator decodes them itself, in the workers, and safely."""
    return dataset if dataset is None or "image" not in dataset.column_names else undecoded(dataset)
