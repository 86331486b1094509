"""Contrastive fine-tuning of a dual encoder as a `transformers.Trainer`."""

import functools
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import IterableDataset
from transformers import (
    DataCollator,
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    ProcessorMixin,
    Trainer,
)

from ..data.text import DEFAULT_TEXT_FIELDS, article_texts
from ..errors import NewsMatchError, first_sentence
from ..metrics import score
from ..models.architectures import Architecture, architecture_of
from ..models.loading import load_model
from ..retrieval.ranking import rank
from .arguments import ContrastiveTrainingArguments, refuse_unlaunched_gpus
from .callbacks import (
    ClampTemperatureCallback,
    DisableInputGradsCallback,
    SaveAfterEvaluationCallback,
    ThroughputCallback,
)
from .checkpointing import UNFINISHED
from .collator import ContrastiveCollator
from .datasets import check_columns, check_distinct, choose_by_one, fit_the_only_batch, with_cached, with_files
from .finite import check_finite, check_weights
from .freezing import hold_statistics, parameter_groups
from .gradient_cache import backward_in_chunks
from .health import LearningCheck
from .lora import merged, trainable
from .losses import check_loss, contrastive_loss, sigmoid_loss
from .publishing import PublishingMixin, named_base_model
from .resuming import ResumingMixin
from .sampler import DistinctBatchSampler
from .search import SearchMixin
from .streams import PairStream, prepare_streams

# The validation loss is the mean over blocks of this many pairs in order: the batch size of the recipe, but fixed, so
# that it depends neither on the batch size of evaluation nor on the number of processes.
VALIDATION_BLOCK = 64


class ContrastiveTrainer(SearchMixin, ResumingMixin, PublishingMixin, Trainer):
    """Fine-tunes a dual encoder with [`contrastive_loss`] or [`sigmoid_loss`] and evaluates it by retrieval.

    Every evaluation embeds the whole validation split and gives `eval_loss` (the mean loss over blocks of 64 pairs in
    order) and `eval_mrr@100`, `eval_recall@1/5/10/50/100` among the split's distinct pictures.

    Args:
        model (`PreTrainedModel`, `str` or `Path`):
            The model to fine-tune, in float32, or the Hub id or folder of a checkpoint, which [`load_model`] loads.
            Freezing, as `args` says, is done in place, and adapters are put into the model.
        args ([`ContrastiveTrainingArguments`]):
            The recipe.
        processing_class (`ProcessorMixin`, *optional*):
            The checkpoint's processor; saved with every checkpoint. By default the own one of a checkpoint that
            `model` names.
        train_dataset, eval_dataset (`datasets.Dataset`, *optional*):
            Pairs with the columns `image`, `image_id` and the text fields, and `article_id` for messages; no row
            without a picture. Other data sets that give such rows do as well, but their batches are not formed without
            doubles, and `eval_dataset` may be a dictionary of several.
        text_fields (`Sequence[str]`, *optional*, defaults to `("title", "text")`):
            The columns that the text tower reads.
        data_collator (`DataCollator`, *optional*):
            What makes batches like those of [`ContrastiveCollator`], which is the default.
        kwargs:
            Passed on to `transformers.Trainer`: `model_init` in place of `model` too, and `compute_metrics`, whose
            values join those above.

    Raises:
        [`NewsMatchError`]: without a processor, with several GPUs in one process (each would see its own negatives
            only), or with fewer than two pairs a process.
    """

    # compute_loss is a mean over one batch: Trainer itself divides by the steps of gradient accumulation
    loss_is_scaled_for_ga = False
    train_dataset: Any

    def __init__(
        self,
        model: PreTrainedModel | str | Path | None,
        args: ContrastiveTrainingArguments,
        processing_class: ProcessorMixin | None = None,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | None = None,
        text_fields: Sequence[str] = DEFAULT_TEXT_FIELDS,
        data_collator: DataCollator | None = None,
        **kwargs,
    ):
        refuse_unlaunched_gpus(args)
        # every checkpoint holds the arguments in clear
        self._hub_token, args.hub_token = args.hub_token, None
        if train_dataset is not None:
            if hasattr(train_dataset, "__len__"):
                fit_the_only_batch(len(train_dataset), args)
            if data_collator is None:
                check_columns(train_dataset, text_fields)
            check_distinct(train_dataset, text_fields)
        choose_by_one(eval_dataset, args)
        prepare_streams(train_dataset, eval_dataset, args)
        init = kwargs.get("model_init")
        if isinstance(model, str | os.PathLike):
            self.base_model = named_base_model(str(model), None)
            loaded, own_processor = load_model(str(model), strict=True)
            self.base_model.revision = getattr(loaded.config, "_commit_hash", None)
            model = loaded
            processing_class = own_processor if processing_class is None else processing_class
        elif model is None:
            if init is None:
                raise NewsMatchError("Neither a model nor model_init is given; name a checkpoint as model.")
            self.base_model = named_base_model("", None)
        else:
            self.base_model = named_base_model(model.name_or_path, getattr(model.config, "_commit_hash", None))
        if processing_class is None and (data_collator is None or args.cache_images):
            raise NewsMatchError(
                "A model that is loaded already needs its processor too; give processing_class, or name the checkpoint"
                " as model."
            )
        if args.cache_images and processing_class is not None:
            with args.main_process_first(desc="caching pictures"):
                image_processor = processing_class.image_processor
                train_dataset, eval_dataset = (
                    with_cached(dataset, image_processor, image_processor.model_input_names)
                    for dataset in (train_dataset, eval_dataset)
                )
        if isinstance(model, PreTrainedModel):
            check_loss(architecture_of(model.config, self.base_model.id or "The model"), args.loss)
            model = trainable(model, args)
        if init is not None:  # as for every model that it makes
            kwargs["model_init"] = functools.wraps(init)(lambda *trial: trainable(init(*trial), args))
        self._own_metrics = kwargs.pop("compute_metrics", None)
        super().__init__(
            model=model,
            args=args,
            data_collator=data_collator,
            train_dataset=with_files(train_dataset),
            eval_dataset=with_files(eval_dataset),
            processing_class=processing_class,
            compute_metrics=self._metrics,
            **kwargs,
        )
        self.can_return_loss = True
        self.architecture: Architecture = architecture_of(self.model.config)
        check_loss(self.architecture, args.loss)
        if data_collator is None:
            self.data_collator = ContrastiveCollator(processing_class, text_fields, self.architecture)
        self.text_fields = list(text_fields)
        self.throughput = ThroughputCallback()
        self._learning: LearningCheck | None = None
        self.add_callback(ClampTemperatureCallback())
        self.add_callback(DisableInputGradsCallback())
        self.add_callback(self.throughput)
        self.add_callback(SaveAfterEvaluationCallback())
        if args.early_stopping_patience is not None:
            threshold = args.early_stopping_threshold or 0.0
            self.add_callback(EarlyStoppingCallback(args.early_stopping_patience, threshold))

    @property
    def loss(self) -> str:
        """The loss that is trained with, `"softmax"` or `"sigmoid"`."""
        return check_loss(self.architecture, self.args.loss)

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

    def check_optimizer(self) -> None:
        """Make an optimizer and forget it: what stops that, such as a missing package, is better known early."""
        if not (self.is_deepspeed_enabled or self.is_fsdp_enabled):
            try:
                optimizer = self.create_optimizer()
                self.create_scheduler(num_training_steps=max(self.args.max_steps, 1), optimizer=optimizer)
            except TypeError as error:  # of a keyword that it does not know
                raise NewsMatchError(
                    f"--lr_scheduler_kwargs or --optim_args name what --lr_scheduler_type"
                    f" {self.args.lr_scheduler_type.value} or --optim {self.args.optim.value} does not take"
                    f" ({first_sentence(error)})."
                ) from error
            finally:
                self.optimizer = self.lr_scheduler = None

    def finished_model(self) -> PreTrainedModel:
        """The model as trained, an ordinary checkpoint's: with LoRA a copy into which the adapters are merged."""
        return merged(self.accelerator.unwrap_model(self.model))

    def get_train_dataloader(self):
        rows = self.train_dataset
        if not isinstance(rows, IterableDataset):
            return super().get_train_dataloader()
        step_size = self.args.train_batch_size * self.args.world_size * self.args.gradient_accumulation_steps
        self.train_dataset = PairStream(rows, step_size, self.args.dataloader_drop_last)
        try:
            return super().get_train_dataloader()
        finally:
            self.train_dataset = rows

    def get_eval_dataloader(self, eval_dataset=None):
        with self._keeping_the_last_batch():
            return super().get_eval_dataloader(eval_dataset)

    def get_test_dataloader(self, test_dataset):
        with self._keeping_the_last_batch():
            return super().get_test_dataloader(test_dataset)

    @contextmanager
    def _keeping_the_last_batch(self) -> Iterator[None]:
        """Keep the last batch of an evaluation, which Trainer would drop too: its rows belong to every metric."""
        drop_last = self.args.dataloader_drop_last
        self.args.dataloader_drop_last = False
        try:
            yield
        finally:
            self.args.dataloader_drop_last = drop_last

    def _get_train_sampler(self, train_dataset=None):
        dataset = self.train_dataset if train_dataset is None else train_dataset
        # of other kinds of data sets the pictures and texts are not known beforehand
        distinct = self.args.distinct_batches and self.args.train_sampling_strategy == "random"
        if not (distinct and isinstance(dataset, Dataset)):
            return super()._get_train_sampler(dataset)
        texts = article_texts(dataset, self.text_fields)
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        batch_size = self.args.train_batch_size * self.args.world_size
        return DistinctBatchSampler(dataset["image_id"][:], texts, batch_size, seed)

    def training_step(self, model, inputs, num_items_in_batch=None):
        chunk_size = self.args.contrastive_chunk_size
        if chunk_size is None or chunk_size >= len(inputs["image_ids"]):
            return super().training_step(model, inputs, num_items_in_batch)
        model.train()
        hold_statistics(model)
        inputs, ids = self._apart(self._prepare_inputs(inputs))
        steps = self.current_gradient_accumulation_steps
        loss = backward_in_chunks(
            model,
            inputs,
            lambda image_embeds, text_embeds: self._training_loss(image_embeds, text_embeds, ids),
            [self._scalar(name) for name in self.architecture.scalars],
            chunk_size,
            backward=lambda scalar: self.accelerator.backward(scalar / steps),
            no_sync=lambda: self.accelerator.no_sync(model),
        )
        return loss / steps

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        inputs, ids = self._apart(inputs)
        if model.training:
            hold_statistics(model)
        outputs = model(**inputs)
        loss = self._training_loss(outputs.image_embeds, outputs.text_embeds, ids)
        return (loss, outputs) if return_outputs else loss

    @staticmethod
    def _apart(inputs) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor | list[str]]]:
        """The batch in two: the inputs of the model, and the ids of its articles, pictures and texts."""
        inputs = dict(inputs)
        return inputs, {name: inputs.pop(name) for name in ("image_ids", "text_ids", "article_ids")}

    def _training_loss(self, image_embeds, text_embeds, ids) -> torch.Tensor:
        self.throughput.count(len(ids["article_ids"]))
        loss = self._loss(image_embeds, text_embeds, ids["image_ids"], ids["text_ids"], across_processes=True)
        step = self.state.global_step + 1
        check_finite(loss, step, ids["article_ids"], image_embeds, text_embeds)
        if self.is_in_train:
            if self._learning is None:
                self._learning = LearningCheck(self.state.max_steps)
            image_ids, text_ids = ids["image_ids"], ids["text_ids"]
            self._learning.check(
                step,
                loss,
                image_embeds,
                text_embeds,
                image_ids,
                text_ids,
                # where all logits are equal
                chance=lambda: self._loss(
                    torch.zeros_like(image_embeds, requires_grad=False),
                    torch.zeros_like(text_embeds, requires_grad=False),
                    image_ids,
                    text_ids,
                    across_processes=True,
                ),
            )
        return loss

    def _loss(self, image_embeds, text_embeds, image_ids, text_ids, across_processes=False) -> torch.Tensor:
        temperature, device = self.architecture.temperature, image_embeds.device
        logit_scale = temperature.logarithm(self._scalar(temperature.name).to(device))
        logit_scale = logit_scale + math.log(self.args.logits_factor)
        largest = None if temperature.largest is None else math.log(temperature.largest)
        shared = (image_ids, text_ids, across_processes, largest)
        if self.loss == "softmax":
            return contrastive_loss(image_embeds, text_embeds, logit_scale, *shared)
        bias = self._scalar(str(self.architecture.bias)).to(device)
        return sigmoid_loss(image_embeds, text_embeds, logit_scale, bias, *shared)

    def _scalar(self, name: str) -> torch.nn.Parameter:
        """A parameter of the loss, such as `logit_scale`."""
        return getattr(self.accelerator.unwrap_model(self.model), name)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """No loss, but both embeddings and, as labels, the ids of pictures and texts: the metrics need them all."""
        inputs, ids = self._apart(self._prepare_inputs(inputs))
        labels = torch.stack((ids["image_ids"], ids["text_ids"]), dim=1)
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(**inputs)
        return None, (outputs.image_embeds.float(), outputs.text_embeds.float()), labels

    def _metrics(self, evaluation: EvalPrediction) -> dict[str, float]:
        own = self._own_metrics(evaluation) if self._own_metrics is not None else {}
        return {**self._retrieval_metrics(evaluation), **own}

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
        with self.throughput.paused():
            return super().evaluate(*args, **kwargs)

    def log(self, logs, start_time=None):
        """Adds `logit_scale` as stored, a logarithm, or what the model has in its place; `pictures_per_second` of all
        processes, loading included and evaluation and saving left out; and once an epoch `epoch_time` in seconds, all
        of it included."""
        if "loss" in logs:
            logs |= {name: self._scalar(name).item() for name in self.architecture.scalars}
            logs.update(self.throughput.measure(self.args.world_size))
        super().log(logs, start_time)

    def _check_weights(self) -> None:
        check_weights(self.accelerator.unwrap_model(self.model).named_parameters(), self.state.global_step)

    def train(self, *args, **kwargs):
        self._learning = None
        self._begin_patience()
        if self.args.should_save:  # what a process that was killed while saving has left
            shutil.rmtree(Path(self.args.output_dir) / UNFINISHED, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        # Where it sees a processor, Trainer.train overwrites the configuration's special tokens with the tokenizer's,
        # before anything else: a checkpoint whose two differ, as OpenAI's own do, would pool its texts at another
        # token once reloaded. It offers no other way to leave them, so it sees none until the training loop begins.
        processing_class, self.processing_class = self.processing_class, None
        try:
            return super().train(*args, **kwargs)
        finally:
            self.processing_class = processing_class

    def _inner_training_loop(self, *args, **kwargs):
        self.processing_class = self.callback_handler.processing_class
        return super()._inner_training_loop(*args, **kwargs)
