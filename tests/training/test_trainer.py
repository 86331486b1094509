import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPModel, CLIPProcessor, TrainerCallback

from hf_newsmatch import (
    ContrastiveCollator,
    ContrastiveTrainer,
    ContrastiveTrainingArguments,
    NewsMatchError,
    contrastive_loss,
    embed_images,
    embed_texts,
    score,
)
from hf_newsmatch.retrieval.ranking import Ranking
from hf_newsmatch.training.collator import DEFAULT_TEXT_FIELDS, join_text
from hf_newsmatch.training.losses import MAX_LOGIT_SCALE
from tests.utils.news import make_model, make_pairs


def make_trainer(
    tmp_path, model, processor, train=None, evaluation=None, text_fields=DEFAULT_TEXT_FIELDS, **kwargs
) -> ContrastiveTrainer:
    settings = {"num_train_epochs": 1, "per_device_train_batch_size": 4, "use_cpu": True, "report_to": "none"}
    args = ContrastiveTrainingArguments(output_dir=str(tmp_path / "run"), **{**settings, **kwargs})
    return ContrastiveTrainer(
        model, args, processor, train_dataset=train, eval_dataset=evaluation, text_fields=text_fields
    )


def test_the_defaults_are_the_recipe(tmp_path):
    args = ContrastiveTrainingArguments(output_dir=str(tmp_path))
    recipe = {
        "per_device_train_batch_size": 64,
        "dataloader_drop_last": True,
        "num_train_epochs": 50,
        "learning_rate": 1e-5,
        "weight_decay": 5e-4,
        "warmup_steps": 0,
        "max_grad_norm": 0.0,
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "coupled_weight_decay": True,
        "logits_factor": 1.0,
        "load_best_model_at_end": True,
        "greater_is_better": False,
    }
    assert {name: getattr(args, name) for name in recipe} == recipe
    assert args.lr_scheduler_type == "constant"
    assert args.metric_for_best_model == "loss"


@pytest.mark.parametrize(("steps", "accumulation"), [(1, 1), (1, 3), (3, 1)])
def test_a_step_is_adam_with_coupled_weight_decay(tmp_path, processor, pairs, monkeypatch, steps, accumulation):
    """Optimizer steps equal a bare loop over transformers' own loss and torch.optim.Adam, and several accumulated
    batches weigh as their mean. (The first step alone does not depend on Adam's betas.)"""
    batches = []

    def recording(self, model, inputs, **kwargs):
        batches.append(dict(inputs))
        return compute_loss(self, model, inputs, **kwargs)

    compute_loss = ContrastiveTrainer.compute_loss
    monkeypatch.setattr(ContrastiveTrainer, "compute_loss", recording)
    settings = {"weight_decay": 0.1, "learning_rate": 1e-3, "max_steps": steps, "eval_strategy": "no"}
    trainer = make_trainer(
        tmp_path,
        make_model(processor),
        processor,
        pairs,
        load_best_model_at_end=False,
        gradient_accumulation_steps=accumulation,
        **settings,
    )
    trainer.train()

    reference = make_model(processor).train()
    optimizer = torch.optim.Adam(reference.parameters(), lr=1e-3, weight_decay=0.1)
    assert len(batches) == steps * accumulation
    for number, batch in enumerate(batches, start=1):
        del batch["image_ids"], batch["text_ids"]
        (reference(**batch, return_loss=True).loss / accumulation).backward()
        if number % accumulation == 0:
            optimizer.step()
            optimizer.zero_grad()
    for (name, ours), theirs in zip(trainer.model.named_parameters(), reference.parameters()):
        # Adam turns the noise of a true zero gradient (the keys' bias) into a whole step
        assert torch.allclose(ours, theirs, atol=2.1e-3 * steps if name.endswith("k_proj.bias") else 2e-6), name


def test_other_optimizers_by_their_transformers_name(tmp_path, model, processor, pairs):
    trainer = make_trainer(
        tmp_path, model, processor, pairs, coupled_weight_decay=False, eval_strategy="no", load_best_model_at_end=False
    )
    assert isinstance(trainer.create_optimizer(), torch.optim.AdamW)
    assert len(trainer.optimizer.param_groups) == 2


def test_training_fits_the_pairs(tmp_path, model, processor, pairs):
    trainer = make_trainer(
        tmp_path,
        model,
        processor,
        pairs,
        pairs,
        num_train_epochs=30,
        learning_rate=3e-3,
        per_device_train_batch_size=12,
    )
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert after["eval_loss"] < before["eval_loss"] / 2
    assert after["eval_mrr@100"] > before["eval_mrr@100"]
    best = min(row["eval_loss"] for row in trainer.state.log_history if "eval_loss" in row)
    assert after["eval_loss"] == pytest.approx(best)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_evaluation_is_of_the_whole_set(tmp_path, model, processor, batch_size):
    """Loss over blocks of 64 in order and retrieval among the distinct pictures, whatever the batch size."""
    count = 70
    image_ids = [f"p{number % 60}" for number in range(count)]
    pairs = make_pairs(tmp_path, count, image_ids)
    trainer = make_trainer(tmp_path, model, processor, None, pairs, per_device_eval_batch_size=batch_size)
    metrics = trainer.evaluate()

    texts = [join_text(row) for row in pairs]
    text_embeds = embed_texts(model, processor, texts, progress=False)
    image_embeds = embed_images(model, processor, pairs["image"][:], progress=False)
    numbers = torch.tensor([number % 60 for number in range(count)])
    losses = [
        len(block)
        * contrastive_loss(image_embeds[block], text_embeds[block], model.logit_scale, numbers[block]).item()
        for block in (torch.arange(64), torch.arange(64, count))
    ]
    assert metrics["eval_loss"] == pytest.approx(sum(losses) / count, abs=1e-5)

    order = np.argsort(-(text_embeds @ image_embeds[:60].T).numpy(), axis=1)
    ranking = Ranking(pairs["article_id"][:], [[f"p{index}" for index in row] for row in order])
    expected = score(ranking, dict(zip(pairs["article_id"], image_ids)))
    for name in ("mrr@100", "recall@1", "recall@5", "recall@10", "recall@50", "recall@100"):
        assert metrics[f"eval_{name}"] == pytest.approx(expected[name])


def test_logit_scale_is_clamped(tmp_path, model, processor, pairs):
    with torch.no_grad():
        model.logit_scale.fill_(MAX_LOGIT_SCALE)
    trainer = make_trainer(tmp_path, model, processor, pairs, pairs, learning_rate=0.5, num_train_epochs=3)
    trainer.train()
    assert trainer.model.logit_scale <= MAX_LOGIT_SCALE


def test_a_logit_scale_above_the_maximum_comes_down_at_once(tmp_path, model, processor, pairs):
    with torch.no_grad():
        model.logit_scale.fill_(MAX_LOGIT_SCALE + 1)
    trainer = make_trainer(
        tmp_path, model, processor, pairs, max_steps=1, eval_strategy="no", load_best_model_at_end=False
    )
    trainer.train()
    assert trainer.model.logit_scale <= MAX_LOGIT_SCALE


@pytest.mark.parametrize("shared", ["image_ids", "text_ids"])
def test_the_training_loss_knows_who_shares_a_picture_or_a_text(tmp_path, model, processor, shared):
    if shared == "image_ids":
        pairs = make_pairs(tmp_path, 4, image_ids=["p0", "p1", "p0", "p2"])
    else:
        pairs = make_pairs(tmp_path, 4, titles=["one", "two", "one", "three"])
    trainer = make_trainer(tmp_path, model, processor, pairs, pairs, text_fields=["title"])
    batch = trainer.data_collator([pairs[row] for row in range(4)])
    with torch.no_grad():
        loss = trainer.compute_loss(model, batch)
        outputs = model(**{name: batch[name] for name in ("pixel_values", "input_ids", "attention_mask")})
    embeds = outputs.image_embeds, outputs.text_embeds, model.logit_scale
    ids = torch.tensor([0, 1, 0, 2])
    assert loss.item() == pytest.approx(contrastive_loss(*embeds, **{shared: ids}).item())
    assert loss.item() != pytest.approx(contrastive_loss(*embeds).item(), rel=1e-3)


def test_only_the_named_text_fields_are_read(tmp_path, model, processor, pairs):
    trainer = make_trainer(tmp_path, model, processor, pairs, pairs, text_fields=["title"])
    for batch in (next(iter(trainer.get_train_dataloader())), next(iter(trainer.get_eval_dataloader()))):
        texts = processor.tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True)
        assert {text.replace(" ", "") for text in texts} <= {title.replace(" ", "") for title in pairs["title"][:]}


def test_mixed_precision(tmp_path, processor, pairs):
    """bfloat16 is the forward pass's alone: the weights stay float32, and the loss is nearly the same."""
    plain = make_trainer(tmp_path, make_model(processor), processor, pairs, pairs).evaluate()
    trainer = make_trainer(tmp_path, make_model(processor), processor, pairs, pairs, bf16=True)
    mixed = trainer.evaluate()
    assert mixed["eval_loss"] == pytest.approx(plain["eval_loss"], rel=0.05)
    assert mixed["eval_loss"] != plain["eval_loss"]
    trainer.train()
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}


def test_logits_factor(tmp_path, model, processor, pairs):
    plain = make_trainer(tmp_path, model, processor, None, pairs).evaluate()["eval_loss"]
    factor = math.exp(0.01) / math.exp(0.07)
    scaled = make_trainer(tmp_path, model, processor, None, pairs, logits_factor=factor).evaluate()["eval_loss"]
    with torch.no_grad():
        model.logit_scale += math.log(factor)
    assert scaled == pytest.approx(make_trainer(tmp_path, model, processor, None, pairs).evaluate()["eval_loss"])
    assert scaled != plain


def test_an_incomplete_last_batch_is_dropped_unless_it_is_the_only_one(tmp_path, model, processor, pairs):
    assert (
        len(
            make_trainer(
                tmp_path, model, processor, pairs, pairs, per_device_train_batch_size=5
            ).get_train_dataloader()
        )
        == 2
    )
    only = make_trainer(tmp_path, model, processor, pairs, pairs, per_device_train_batch_size=64)
    assert len(only.get_train_dataloader()) == 1


def test_checkpoints_hold_the_processor(tmp_path, model, processor, pairs):
    seen = []

    class Watch(TrainerCallback):
        def on_step_end(self, args, state, control, processing_class=None, **kwargs):
            seen.append((processing_class, trainer.processing_class))

    trainer = make_trainer(tmp_path, model, processor, pairs, pairs)
    trainer.add_callback(Watch())
    trainer.train()
    assert trainer.processing_class is processor
    assert set(seen) == {(processor, processor)}
    (checkpoint,) = (tmp_path / "run").glob("checkpoint-*")
    saved = CLIPProcessor.from_pretrained(checkpoint, backend="pil")
    assert saved.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    assert saved.image_processor.to_dict() == processor.image_processor.to_dict()


@pytest.mark.parametrize("eos", ["e</w>", "e"], ids=["a letter", "2, as in OpenAI's own"])
def test_a_checkpoint_with_its_own_special_tokens_embeds_the_same_after_training(tmp_path, processor, pairs, eos):
    """Trainer would overwrite the configuration's tokens with the tokenizer's: the text would be pooled elsewhere."""
    model = make_model(processor)
    config = model.config.text_config
    config.eos_token_id = 2 if eos == "e" else processor.tokenizer.convert_tokens_to_ids(eos)
    config.bos_token_id, config.pad_token_id = 5, 6
    tokens = {name: getattr(config, name) for name in ("eos_token_id", "bos_token_id", "pad_token_id")}
    model.save_pretrained(tmp_path / "base")
    texts = [f"{title} here" for title in pairs["title"]]
    model = CLIPModel.from_pretrained(tmp_path / "base")
    expected = embed_texts(model, processor, texts, progress=False)

    trainer = make_trainer(tmp_path, model, processor, pairs, pairs, learning_rate=0.0, weight_decay=0.0)
    trainer.train()
    (checkpoint,) = (tmp_path / "run").glob("checkpoint-*")
    reloaded = CLIPModel.from_pretrained(checkpoint)
    assert {name: getattr(reloaded.config.text_config, name) for name in tokens} == tokens
    assert torch.equal(embed_texts(reloaded, processor, texts, progress=False), expected)
    trainer.save_model(str(tmp_path / "saved"))
    assert torch.equal(
        embed_texts(CLIPModel.from_pretrained(tmp_path / "saved"), processor, texts, progress=False), expected
    )


def test_the_processor_is_back_when_a_training_could_not_begin(tmp_path, model, processor, pairs):
    trainer = make_trainer(tmp_path, model, processor, pairs, pairs)
    with pytest.raises(ValueError, match="checkpoint"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "nowhere"))
    assert trainer.processing_class is processor


@pytest.mark.parametrize("kind", [str, Path])
def test_a_checkpoint_by_its_name(tmp_path, checkpoints, processor, pairs, kind):
    """Loaded in float32, whatever it is saved in, with its own processor."""
    half = CLIPModel.from_pretrained(checkpoints / "fine_tuned", dtype=torch.float16)
    half.save_pretrained(tmp_path / "half")
    processor.save_pretrained(tmp_path / "half")
    trainer = make_trainer(tmp_path, kind(tmp_path / "half"), None, pairs, pairs)
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, half.state_dict()[name].float()), name
    assert trainer.processing_class.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    assert trainer.data_collator.processor is trainer.processing_class


def test_a_processor_that_is_given_goes_before_the_checkpoints_own(tmp_path, checkpoints, processor, pairs):
    trainer = make_trainer(tmp_path, checkpoints / "fine_tuned", processor, pairs, pairs)
    assert trainer.processing_class is processor


def test_a_model_without_processor_is_refused(tmp_path, model, pairs):
    with pytest.raises(NewsMatchError, match="give processing_class, or name the checkpoint"):
        make_trainer(tmp_path, model, None, pairs, pairs)


def test_another_collator_needs_no_processor(tmp_path, model, processor, pairs):
    collator = ContrastiveCollator(processor)
    args = ContrastiveTrainingArguments(str(tmp_path), use_cpu=True, report_to="none")
    trainer = ContrastiveTrainer(model, args, train_dataset=pairs, eval_dataset=pairs, data_collator=collator)
    assert trainer.data_collator is collator
    assert next(iter(trainer.get_train_dataloader()))["pixel_values"].shape[0] == len(pairs)
    # but a checkpoint without one cannot be loaded, so it is not published
    for publish in (trainer.create_model_card, trainer.push_to_hub, trainer.init_hf_repo):
        trainer.args.hub_model_id = "ann/news"
        with pytest.raises(NewsMatchError, match=r"published with its processor; give the trainer a processing_class"):
            publish()


def test_refuses_one_pair(tmp_path, model, processor, pairs):
    with pytest.raises(NewsMatchError, match="at least two pairs"):
        make_trainer(tmp_path, model, processor, pairs.select([0]), pairs)


def test_refuses_several_gpus_in_one_process(tmp_path, model, processor, pairs, monkeypatch):
    monkeypatch.setattr(ContrastiveTrainingArguments, "n_gpu", 2)
    with pytest.raises(NewsMatchError, match="2 GPUs in one process"):
        make_trainer(tmp_path, model, processor, pairs, pairs)
