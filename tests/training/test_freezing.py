import re

import pytest
import torch
from torch import nn
from transformers import TrainerCallback

from hf_newsmatch import ContrastiveTrainingArguments, NewsMatchError
from tests.utils.news import make_model

from .test_trainer import make_trainer

VISION_HEADS = ["vision_model.post_layernorm", "visual_projection"]
TEXT_HEADS = ["text_model.final_layer_norm", "text_projection"]
VISION_BODY = ["vision_model.embeddings", "vision_model.pre_layrnorm", "vision_model.encoder.layers.0"]
TEXT_BODY = ["text_model.embeddings", "text_model.encoder.layers.0"]
LAST = ["vision_model.encoder.layers.1", "text_model.encoder.layers.1"]
FREEZING = {
    ("both", None): ["logit_scale", "vis", "text"],
    ("both", 2): ["logit_scale", *VISION_HEADS, *TEXT_HEADS, "vision_model.encoder", "text_model.encoder"],
    ("both", 1): ["logit_scale", *VISION_HEADS, *TEXT_HEADS, *LAST],
    ("both", 0): ["logit_scale", *VISION_HEADS, *TEXT_HEADS],
    ("vision", None): ["logit_scale", *VISION_HEADS, *VISION_BODY, LAST[0], "visual_projection"],
    ("text", None): ["logit_scale", *TEXT_HEADS, *TEXT_BODY, LAST[1], "text_projection"],
    ("vision", 1): ["logit_scale", *VISION_HEADS, LAST[0]],
    ("text", 0): ["logit_scale", *TEXT_HEADS],
}
STEP = {"max_steps": 1, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
SGD = {"optim": "sgd", "coupled_weight_decay": False, "weight_decay": 0.0, "learning_rate": 0.1}


def weights(model) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def changed(before, after) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def rate(name: str) -> float:
    """The rates of a decay of 0.5 in towers of two layers, written out."""
    for part, expected in {"layers.1.": 0.5, "layers.0.": 0.25, "embeddings.": 0.125, "pre_layrnorm.": 0.125}.items():
        if part in name:
            return expected
    return 1.0


class Watch(TrainerCallback):
    """Weights and gradients before each optimizer step, and weights after it."""

    def __init__(self):
        self.before, self.gradients, self.after = [], [], []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.before.append(weights(model))
        self.gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})

    def on_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.after.append(weights(model))


@pytest.mark.parametrize(
    ("towers", "layers", "optimizer"),
    [*((*case, SGD) for case in FREEZING), ("both", 1, {"learning_rate": 1e-3, "weight_decay": 0.1})],
)
def test_only_the_named_parts_change(tmp_path, model, processor, pairs, towers, layers, optimizer):
    options = {"train_towers": towers, "unfreeze_last_layers": layers, "contrastive_chunk_size": 2}
    before = weights(model)
    make_trainer(tmp_path, model, processor, pairs, **STEP, **optimizer, **options).train()
    expected = {name for name in before if name.startswith(tuple(FREEZING[towers, layers]))}
    learned = changed(before, weights(model))
    assert learned <= expected
    # the true gradient of the keys' bias is zero
    assert {name for name in expected - learned if not name.endswith("k_proj.bias")} == set()


def test_a_model_that_is_frozen_already_stays_so(tmp_path, model, processor, pairs):
    model.text_projection.weight.requires_grad_(False)
    before = weights(model)
    make_trainer(tmp_path, model, processor, pairs, **STEP, **SGD).train()
    assert torch.equal(before["text_projection.weight"], model.text_projection.weight)
    assert not torch.equal(before["visual_projection.weight"], model.visual_projection.weight)


def test_the_default_is_one_group_of_all_weights(tmp_path, model, processor, pairs):
    optimizer = make_trainer(tmp_path, model, processor, pairs, pairs).create_optimizer()
    assert type(optimizer) is torch.optim.Adam
    (group,) = optimizer.param_groups
    assert [id(parameter) for parameter in group["params"]] == [id(parameter) for parameter in model.parameters()]
    assert (group["lr"], group["weight_decay"], group["betas"], group["eps"]) == (1e-5, 5e-4, (0.9, 0.999), 1e-8)


def test_each_layer_learns_at_its_rate(tmp_path, model, processor, pairs):
    """Every update divided by its gradient is the scheduled rate times the layer's share."""
    watch = Watch()
    settings = {**STEP, **SGD, "max_steps": 2, "lr_scheduler_type": "linear", "layerwise_lr_decay": 0.5}
    trainer = make_trainer(tmp_path, model, processor, pairs, **settings)
    trainer.add_callback(watch)
    trainer.train()
    assert len(watch.before) == 2
    for scheduled, before, gradients, after in zip((0.1, 0.05), watch.before, watch.gradients, watch.after):
        assert gradients.keys() == before.keys()
        for name, gradient in gradients.items():
            expected = before[name] - scheduled * rate(name) * gradient
            assert torch.allclose(after[name], expected, rtol=1e-5, atol=1e-7), name
        assert min(gradients[name].abs().max() for name in gradients if "k_proj.bias" not in name) > 1e-5


def test_layerwise_decay_with_the_recipes_adam(tmp_path, model, processor, pairs):
    """Against one torch.optim.Adam a weight, fed with the same gradients."""
    watch = Watch()
    settings = {**STEP, "max_steps": 2, "learning_rate": 1e-3, "weight_decay": 0.1, "layerwise_lr_decay": 0.5}
    trainer = make_trainer(tmp_path, model, processor, pairs, **settings)
    trainer.add_callback(watch)
    trainer.train()
    for name, start in watch.before[0].items():
        reference = nn.Parameter(start.clone())
        adam = torch.optim.Adam([reference], lr=1e-3 * rate(name), weight_decay=0.1)
        for gradients in watch.gradients:
            reference.grad = gradients[name]
            adam.step()
        assert torch.allclose(watch.after[1][name], reference, rtol=1e-5, atol=1e-7), name


@pytest.mark.parametrize("coupled", [True, False])
@pytest.mark.parametrize("decay_all", [None, True, False])
def test_what_decays_without_a_gradient(tmp_path, model, processor, pairs, coupled, decay_all):
    settings = {"weight_decay": 0.1, "learning_rate": 0.1, "coupled_weight_decay": coupled}
    trainer = make_trainer(tmp_path, model, processor, pairs, pairs, decay_biases_and_norms=decay_all, **settings)
    for parameter in model.parameters():
        nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    before = weights(model)
    trainer.create_optimizer().step()
    shrunk = {name for name, parameter in model.named_parameters() if (parameter < 1).all()}
    assert shrunk == changed(before, weights(model))
    spared = {name for name in before if re.search(r"bias$|norm\d?\.|logit_scale$", name)}
    assert len(spared) == 4 * 10 + 3 * 2 + 1
    everything = coupled if decay_all is None else decay_all
    assert shrunk == (set(before) if everything else set(before) - spared)


def test_other_optimizers_take_the_groups(tmp_path, model, processor, pairs):
    settings = {"coupled_weight_decay": False, "optim": "adafactor", "layerwise_lr_decay": 0.5}
    trainer = make_trainer(tmp_path, model, processor, pairs, unfreeze_last_layers=1, **STEP, **settings)
    groups = trainer.create_optimizer().param_groups
    found = [(group["lr"], group["weight_decay"]) for group in groups]
    assert found == [(1e-5, 5e-4), (1e-5, 0.0), (5e-6, 5e-4), (5e-6, 0.0)]
    trainer.train()
    assert trainer.state.global_step == 1


def test_resuming_goes_on_with_the_same_groups(tmp_path, processor, pairs):
    settings = {
        "num_train_epochs": 2,
        "learning_rate": 1e-3,
        "layerwise_lr_decay": 0.7,
        "decay_biases_and_norms": False,
        "train_towers": "text",
        "lr_scheduler_type": "cosine",
        "load_best_model_at_end": False,
        "save_total_limit": None,
    }
    whole = make_model(processor)
    make_trainer(tmp_path, whole, processor, pairs, pairs, **settings).train()
    resumed = make_model(processor)
    trainer = make_trainer(tmp_path, resumed, processor, pairs, pairs, **settings)
    trainer.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-3"))
    assert changed(weights(whole), weights(resumed)) == set()
    assert changed(weights(make_model(processor)), weights(resumed))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_no_graph_below_the_first_trained_layer(tmp_path, model, processor, pairs, checkpointing):
    entering = {}

    def record(name):
        def hook(module, arguments):
            if torch.is_grad_enabled():
                entering.setdefault(name, set()).add(arguments[0].requires_grad)

        return hook

    for name, module in model.named_modules():
        if re.search(r"layers\.\d$|(post_layernorm|final_layer_norm|_projection)$", name):
            module.register_forward_pre_hook(record(name))
    options = {"train_towers": "vision", "unfreeze_last_layers": 1, "activation_checkpointing": checkpointing}
    make_trainer(tmp_path, model, processor, pairs, **STEP, **SGD, **options).train()
    assert len(entering) == 8
    needing = {name for name, needs in entering.items() if True in needs}
    assert needing == {"vision_model.post_layernorm", "visual_projection"}, "what comes after the trained layer"


def test_checkpointing_changes_no_update(tmp_path, processor, pairs):
    results = []
    for checkpointing in (False, True):
        model = make_model(processor)
        options = {"unfreeze_last_layers": 1, "activation_checkpointing": checkpointing}
        make_trainer(tmp_path, model, processor, pairs, **STEP, **SGD, **options).train()
        results.append(weights(model))
    for name, plain in results[0].items():
        assert torch.allclose(plain, results[1][name], atol=1e-7), name


def test_refuses_more_layers_than_there_are(tmp_path, model, processor, pairs):
    with pytest.raises(NewsMatchError, match=r"--unfreeze_last_layers 3 is more .* 2 in the text tower"):
        make_trainer(tmp_path, model, processor, pairs, unfreeze_last_layers=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_towers": "image"}, "--train_towers is both, vision or text, not image"),
        ({"unfreeze_last_layers": -1}, "--unfreeze_last_layers must be at least 0"),
        ({"layerwise_lr_decay": 0.0}, "--layerwise_lr_decay must lie above 0"),
        ({"layerwise_lr_decay": 1.1}, "--layerwise_lr_decay .* not 1.1"),
        ({"layerwise_lr_decay": 0.9, "optim": "galore_adamw", "coupled_weight_decay": False}, "galore_adamw forms"),
        ({"decay_biases_and_norms": True, "optim": "lomo", "coupled_weight_decay": False}, "leave out --decay_biases"),
        ({"train_towers": "text", "activation_checkpointing_kwargs": {"use_reentrant": True}}, "use_reentrant false"),
        ({"lora_rank": 2, "activation_checkpointing_kwargs": {"preserve_rng_state": False}}, "use_reentrant false"),
        ({"lora_rank": 0}, "--lora_rank must be at least 1"),
        ({"lora_alpha": 8}, "--lora_alpha takes effect with --lora_rank only"),
        ({"lora_dropout": 0.1}, "--lora_dropout takes effect with --lora_rank only"),
        ({"lora_rank": 2, "lora_alpha": 0}, "--lora_alpha must be positive"),
        ({"lora_rank": 2, "lora_dropout": 1.0}, "--lora_dropout must be at least 0 and below 1"),
        ({"lora_rank": 2, "unfreeze_last_layers": 0}, "leaves none; give at least 1"),
        ({"lora_rank": 2, "decay_biases_and_norms": False}, "trains no biases and norms"),
    ],
)
def test_refuses_odd_options(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        ContrastiveTrainingArguments(output_dir=str(tmp_path), **options)
