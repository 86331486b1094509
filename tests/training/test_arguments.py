import dataclasses
import importlib.util
import subprocess
import sys

import pytest
import torch
from transformers import TrainingArguments

from hf_newsmatch import ContrastiveTrainingArguments, NewsMatchError
from hf_newsmatch.configs import ContrastiveOptions
from hf_newsmatch.training.arguments import refuse_unlaunched_gpus


def test_the_options_are_readable_without_torch_and_transformers():
    code = (
        "import sys, hf_newsmatch.configs as c; c.ContrastiveOptions();"
        "print(sorted({'torch', 'transformers', 'datasets', 'numpy'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_arguments_are_transformers_own_under_these_options():
    fields = {item.name: item for item in dataclasses.fields(ContrastiveTrainingArguments)}
    own = {item.name: item for item in dataclasses.fields(ContrastiveOptions)}
    theirs = {item.name: item for item in dataclasses.fields(TrainingArguments)}
    assert fields.keys() == own.keys() | theirs.keys()
    for name, item in fields.items():
        expected = own.get(name, theirs.get(name))
        assert (item.default, item.default_factory) == (expected.default, expected.default_factory), name
        assert item.metadata["help"] == expected.metadata["help"] if name in own else True, name
    assert next(iter(fields)) == "output_dir", "it may be given without its name"


def test_the_recipe_holds_what_the_weights_depend_on():
    recipe = ContrastiveTrainingArguments("x", use_cpu=True, early_stopping_patience=3).recipe()
    assert recipe["early_stopping_patience"] == 3
    assert recipe["learning_rate"] == 1e-5
    assert recipe["train_batch_size"] == 64
    for name in ("output_dir", "cache_images", "contrastive_chunk_size", "hub_token", "dataloader_num_workers"):
        assert name not in recipe


def test_a_record_from_before_early_stopping_has_the_same_recipe():
    """The names that it lacks are those of options that are off, which a missing entry means as well."""
    recipe = ContrastiveTrainingArguments("x", use_cpu=True).recipe()
    new = {name for name in recipe if name.startswith("early_stopping")}
    assert len(new) == 2
    assert {recipe[name] for name in new} == {None}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train_sampling_strategy", "sequential"),
        ("eval_delay", 2),
        ("bf16_full_eval", True),
        ("fp16_full_eval", True),
        ("ignore_data_skip", True),
        ("accelerator_config", {"use_seedable_sampler": False}),
    ],
)
def test_what_older_recipes_lack_counts_where_it_is_given(name, value):
    options = {"output_dir": "x", "use_cpu": True}
    plain, other = ContrastiveTrainingArguments(**options), ContrastiveTrainingArguments(**options, **{name: value})
    assert name not in plain.recipe()
    assert other.recipe().keys() - plain.recipe().keys() == {name}


def test_a_resumed_training_counts_on_from_the_evaluations_before():
    assert ContrastiveTrainingArguments("x", early_stopping_patience=2).restore_callback_states_from_checkpoint
    assert not ContrastiveTrainingArguments("x").restore_callback_states_from_checkpoint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"early_stopping_patience": 0}, "--early_stopping_patience must be at least 1, not 0"),
        ({"early_stopping_patience": 1, "early_stopping_threshold": -0.1}, "_threshold must be at least 0, not -0.1"),
        ({"early_stopping_patience": 1, "early_stopping_threshold": float("nan")}, "must be at least 0, not nan"),
        ({"early_stopping_threshold": 0.1}, "takes effect with --early_stopping_patience only"),
        ({"early_stopping_patience": 1, "eval_strategy": "no"}, "--eval_strategy no makes none; give epoch or steps"),
        ({"early_stopping_patience": 1, "load_best_model_at_end": False}, "only --load_best_model_at_end true keeps"),
        ({"per_device_eval_batch_size": 0}, "--per_device_eval_batch_size must be at least 1"),
        ({"dataloader_num_workers": -1}, "--dataloader_num_workers must be at least 0"),
        ({"metric_for_best_model": "accuracy"}, "--metric_for_best_model is one of loss, mrr@100, .*, not accuracy"),
        ({"per_device_train_batch_size": 4, "contrastive_chunk_size": 5}, r"lie between 1 and .* \(4\), not 5"),
        ({"optim": "sgd"}, "--coupled_weight_decay false only"),
        ({"logits_factor": 0.0}, "--logits_factor must be positive"),
        ({"learning_rate": -1e-5}, "--learning_rate must be at least 0, not -1e-05"),
        ({"learning_rate": float("inf")}, "--learning_rate must be at least 0, not inf"),
        ({"weight_decay": -0.1}, "--weight_decay must be at least 0"),
        ({"max_grad_norm": float("nan")}, "--max_grad_norm must be at least 0, not nan"),
        ({"adam_beta1": 1.0}, "--adam_beta1 must be at least 0 and below 1"),
        ({"adam_epsilon": 0.0}, "--adam_epsilon must be positive"),
        ({"num_train_epochs": 0}, "--num_train_epochs must be above 0, not 0"),
        ({"num_train_epochs": -1}, "--num_train_epochs must be above 0, not -1"),
        ({"num_train_epochs": float("nan")}, "--num_train_epochs must be above 0, not nan"),
        ({"max_steps": 0}, "--max_steps must be at least 1, or -1"),
        ({"fp16": True}, "--fp16 needs an accelerator; on a CPU .* --bf16 --use_cpu"),
        ({"per_device_train_batch_size": 1}, "--per_device_train_batch_size 1 leaves a pair no other"),
        ({"auto_find_batch_size": True}, "--auto_find_batch_size does not go .* --contrastive_chunk_size"),
        ({"use_liger_kernel": True}, "--use_liger_kernel does not go .* leave it out"),
        ({"debug": "underflow_overflow"}, "--debug does not go .* leave it out"),
        ({"fsdp": True}, "leave --fsdp out"),
        ({"fsdp": "true"}, "leave --fsdp out"),
        ({"optim_args": "nesterov"}, "--optim_args holds name=value, several by commas, not nesterov"),
        ({"accelerator_config": {"split_batches": True}}, "with split_batches true does not go .* leave it out"),
        ({"accelerator_config": {"dispatch_batches": True}}, "with dispatch_batches true does not go"),
        ({"accelerator_config": {"even_batches": False}}, "with even_batches false does not go"),
        ({"train_sampling_strategy": "group_by_length"}, "is random or sequential here"),
    ],
)
def test_refuses(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        ContrastiveTrainingArguments(**{"output_dir": str(tmp_path), "use_cpu": True, **options})


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator")
@pytest.mark.parametrize("name", ["bf16", "bf16_full_eval"])
def test_half_precision_without_an_accelerator(tmp_path, name):
    with pytest.raises(ValueError, match=f"--{name} finds no accelerator here; add --use_cpu"):
        ContrastiveTrainingArguments(str(tmp_path), **{name: True})
    assert getattr(ContrastiveTrainingArguments(str(tmp_path), use_cpu=True, **{name: True}), name)


@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is not None, reason="DeepSpeed is installed")
def test_a_package_that_is_missing(tmp_path):
    with pytest.raises(ValueError, match=r"not installed .* install deepspeed\."):
        ContrastiveTrainingArguments(str(tmp_path), use_cpu=True, deepspeed="zero2.json")


def test_sharded_weights_of_a_launcher_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ValueError, match="FSDP shards the logit_scale"):
        ContrastiveTrainingArguments(str(tmp_path), use_cpu=True)


def test_several_gpus_in_one_process_are_refused(tmp_path, monkeypatch):
    args = ContrastiveTrainingArguments(tmp_path, use_cpu=True)
    refuse_unlaunched_gpus(args)
    monkeypatch.setattr(ContrastiveTrainingArguments, "n_gpu", 2)
    with pytest.raises(NewsMatchError, match=r"2 GPUs in one process.*accelerate launch"):
        refuse_unlaunched_gpus(args)
