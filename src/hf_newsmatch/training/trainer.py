"""Contrastive fine-tuning of CLIP as a `transformers.Trainer`."""

import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    CLIPModel,
    DataCollator,
    EarlyStoppingCallback,
    EvalPrediction,
    ProcessorMixin,
    Trainer,
    set_seed,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from ..data.image_cache import cache_pictures
from ..data.text import DEFAULT_TEXT_FIELDS, article_texts
from ..errors import NewsMatchError, first_sentence
from ..metrics import score
from ..models.loading import load_clip
from ..retrieval.ranking import rank
from ..utils.files import write_json
from .arguments import ContrastiveTrainingArguments, refuse_unlaunched_gpus
from .callbacks import (
    ClampLogitScaleCallback,
    DisableInputGradsCallback,
    SaveAfterEvaluationCallback,
    ThroughputCallback,
)
from .checkpointing import ORIGIN_NAME, UNFINISHED, Unlogged, explained_writing, publish
from .collator import ContrastiveCollator
from .datasets import check_distinct, fit_the_only_batch, with_files
from .finite import check_finite, check_weights
from .freezing import freeze, parameter_groups
from .gradient_cache import backward_in_chunks
from .health import LearningCheck
from .lora import add_lora, merged
from .losses import contrastive_loss
from .publishing import PublishingMixin, named_base_model
from .sampler import DistinctBatchSampler, set_sampler_epoch

# The validation loss is the mean over blocks of this many pairs in order: the batch size of the recipe, but fixed, so
# that it depends neither on the batch size of evaluation nor on the number of processes.
VALIDATION_BLOCK = 64


class ContrastiveTrainer(PublishingMixin, Trainer):
    """Fine-tunes CLIP with [`contrastive_loss`] and evaluates it by retrieval.

    Every evaluation embeds the whole validation split and gives `eval_loss` (mean contrastive loss over blocks of 64
    pairs in order) and `eval_mrr@100`, `eval_recall@1/5/10/50/100` among the split's distinct pictures.

    Args:
        model (`CLIPModel`, `str` or `Path`):
            The model to fine-tune, in float32, or the Hub id or folder of a checkpoint, which [`load_clip`] loads.
            Freezing, as `args` says, is done in place, and adapters are put into the model.
        args ([`ContrastiveTrainingArguments`]):
            The recipe.
        processing_class (`ProcessorMixin`, *optional*):
            The checkpoint's processor; saved with every checkpoint. By default the own one of a checkpoint that
            `model` names.
        train_dataset, eval_dataset (`datasets.Dataset`, *optional*):
            Pairs with the columns `article_id`, `image`, `image_id` and the text fields; no row without a picture.
        text_fields (`Sequence[str]`, *optional*, defaults to `("title", "text")`):
            The columns that the text tower reads.
        data_collator (`DataCollator`, *optional*):
            What makes batches like those of [`ContrastiveCollator`], which is the default.
        kwargs:
            Passed on to `transformers.Trainer`.

    Raises:
        [`NewsMatchError`]: without a processor, with several GPUs in one process (each would see its own negatives
            only), or with fewer than two pairs a process.
    """

    # compute_loss is a mean over one batch: Trainer itself divides by the steps of gradient accumulation
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: CLIPModel | str | Path,
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
            fit_the_only_batch(len(train_dataset), args)
            check_distinct(train_dataset, text_fields)
        if isinstance(model, str | os.PathLike):
            self.base_model = named_base_model(str(model), None)
            model, own_processor = load_clip(model, strict=True)
            self.base_model.revision = getattr(model.config, "_commit_hash", None)
            processing_class = own_processor if processing_class is None else processing_class
        else:
            self.base_model = named_base_model(model.name_or_path, getattr(model.config, "_commit_hash", None))
        if processing_class is None and (data_collator is None or args.cache_images):
            raise NewsMatchError(
                "A model that is loaded already needs its processor too; give processing_class, or name the checkpoint"
                " as model."
            )
        if args.cache_images:
            with args.main_process_first(desc="caching pictures"):
                train_dataset, eval_dataset = (
                    dataset if dataset is None else cache_pictures(dataset, processing_class.image_processor)
                    for dataset in (train_dataset, eval_dataset)
                )
        freeze(model, args.train_towers, args.unfreeze_last_layers)
        if args.lora_rank is not None:
            set_seed(args.seed)  # of the adapters' first values; Trainer does the same next
            model = add_lora(model, args.lora_rank, args.lora_alpha, args.lora_dropout)
        super().__init__(
            model=model,
            args=args,
            data_collator=data_collator or ContrastiveCollator(processing_class, text_fields),
            train_dataset=with_files(train_dataset),
            eval_dataset=with_files(eval_dataset),
            processing_class=processing_class,
            compute_metrics=self._retrieval_metrics,
            **kwargs,
        )
        self.can_return_loss = True
        self.text_fields = list(text_fields)
        self.throughput = ThroughputCallback()
        self._saving = False
        self._learning: LearningCheck | None = None
        # the record of an experiment, for its checkpoints
        self.origin: Mapping[str, Any] | None = None
        self.add_callback(ClampLogitScaleCallback())
        self.add_callback(DisableInputGradsCallback())
        self.add_callback(self.throughput)
        self.add_callback(SaveAfterEvaluationCallback())
        if args.early_stopping_patience is not None:
            threshold = args.early_stopping_threshold or 0.0
            self.add_callback(EarlyStoppingCallback(args.early_stopping_patience, threshold))

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
                self.create_optimizer()
                self.create_scheduler(num_training_steps=max(self.args.max_steps, 1), optimizer=self.optimizer)
            except TypeError as error:  # of a keyword that it does not know
                raise NewsMatchError(
                    f"--lr_scheduler_kwargs or --optim_args name what --lr_scheduler_type"
                    f" {self.args.lr_scheduler_type.value} or --optim {self.args.optim.value} does not take"
                    f" ({first_sentence(error)})."
                ) from error
            finally:
                self.optimizer = self.lr_scheduler = None

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
        """Keep the last batch of an evaluation, which Trainer would drop too: its rows belong to every metric."""
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
        texts = article_texts(dataset, self.text_fields)
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        batch_size = self.args.train_batch_size * self.args.world_size
        return DistinctBatchSampler(dataset["image_id"][:], texts, batch_size, seed)

    def _run_epoch(self, model, epoch, train_dataloader, resume_from_checkpoint=None, epochs_trained=0, **kwargs):
        # accelerate's own set_epoch stops short of a sampler inside its wrappers for skipping and several processes
        set_sampler_epoch(train_dataloader, epoch)
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
        )

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
                    *(torch.zeros_like(embeds.detach()) for embeds in (image_embeds, text_embeds)),
                    image_ids,
                    text_ids,
                    across_processes=True,
                ),
            )
        return loss

    def _loss(self, image_embeds, text_embeds, image_ids, text_ids, across_processes=False) -> torch.Tensor:
        logit_scale = self.accelerator.unwrap_model(self.model).logit_scale.to(image_embeds.device)
        logit_scale = logit_scale + math.log(self.args.logits_factor)
        return contrastive_loss(image_embeds, text_embeds, logit_scale, image_ids, text_ids, across_processes)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """No loss, but both embeddings and, as labels, the ids of pictures and texts: the metrics need them all."""
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
        with self.throughput.paused():
            return super().evaluate(*args, **kwargs)

    def log(self, logs, start_time=None):
        """Adds `logit_scale` (as stored, a logarithm), `pictures_per_second` of all processes, loading included and
        evaluation and saving left out, and once an epoch `epoch_time` in seconds, all of it included."""
        if "loss" in logs:
            logs["logit_scale"] = self.accelerator.unwrap_model(self.model).logit_scale.item()
            logs.update(self.throughput.measure(self.args.world_size))
        super().log(logs, start_time)

    def _check_weights(self) -> None:
        check_weights(self.accelerator.unwrap_model(self.model).named_parameters(), self.state.global_step)

    def train(self, *args, **kwargs):
        self._learning = None
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

    def _init_training_state(self, max_steps, num_update_steps_per_epoch, num_train_epochs, *args, **kwargs):
        """Where the loop begins: after the last epoch when the checkpoint's evaluations have ended the training."""
        begin = super()._init_training_state(max_steps, num_update_steps_per_epoch, num_train_epochs, *args, **kwargs)
        stopping = [item for item in self.callback_handler.callbacks if isinstance(item, EarlyStoppingCallback)]
        ended = any(item.early_stopping_patience_counter >= item.early_stopping_patience for item in stopping)
        return (num_train_epochs, 0) if ended else begin

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
