import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPModel

from hf_newsmatch import NewsMatchError, interpolate
from hf_newsmatch.models.weights import save_checkpoint
from tests.utils.news import make_model

from .test_trainer import make_trainer

pytest.importorskip("peft", reason="the extra [peft] is not installed")

ONCE = {"max_steps": 3, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
LORA = {"lora_rank": 2, "lora_alpha": 4, "learning_rate": 1e-2, "weight_decay": 0.0}
LINEARS = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2"]


@pytest.fixture
def batch(processor, pairs):
    return dict(processor(text=pairs["title"][:], images=pairs["image"][:], padding=True, return_tensors="pt"))


def adapters(model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items() if "lora_" in name}


@pytest.mark.parametrize(
    ("options", "layers"),
    [
        ({}, ["vision_model.0", "vision_model.1", "text_model.0", "text_model.1"]),
        ({"train_towers": "text"}, ["text_model.0", "text_model.1"]),
        ({"unfreeze_last_layers": 1}, ["vision_model.1", "text_model.1"]),
        ({"train_towers": "vision", "unfreeze_last_layers": 1}, ["vision_model.1"]),
    ],
)
def test_adapters_of_the_trained_layers_learn_and_nothing_else(tmp_path, processor, pairs, options, layers):
    base = make_model(processor).state_dict()
    trainer = make_trainer(tmp_path, make_model(processor), processor, pairs, **ONCE, **LORA, **options)
    start = adapters(trainer.model)
    trainer.train()
    names = {
        f"{tower}.encoder.layers.{number}.{linear}"
        for tower, number in (layer.split(".") for layer in layers)
        for linear in LINEARS
    }
    assert {name.removeprefix("base_model.model.").split(".lora_")[0] for name in start} == names
    learned = {
        name.split(".lora_B")[0]
        for name, tensor in adapters(trainer.model).items()
        if "lora_B" in name and not torch.equal(tensor, start[name])
    }
    assert {name.removeprefix("base_model.model.") for name in learned} == names
    after = {
        name.removeprefix("base_model.model.").replace(".base_layer", ""): tensor
        for name, tensor in trainer.model.state_dict().items()
        if "lora_" not in name
    }
    assert after.keys() == base.keys()
    assert all(torch.equal(after[name], base[name]) for name in base)


def test_the_finished_model_is_an_ordinary_clip(tmp_path, processor, pairs, batch):
    base = make_model(processor)
    trainer = make_trainer(tmp_path, make_model(processor), processor, pairs, **ONCE, **LORA)
    trainer.train()
    trained, finished = trainer.model.eval(), trainer.finished_model().eval()
    assert type(finished) is CLIPModel
    with torch.no_grad():
        expected, found, before = trained(**batch), finished(**batch), base(**batch)
    for name in ("image_embeds", "text_embeds"):
        assert (found[name] - expected[name]).abs().max() < 1e-5
        assert (found[name] - before[name]).abs().max() > 1e-2

    # W + alpha / rank * B A, for the adapted weights alone
    change = {name.removeprefix("base_model.model."): tensor for name, tensor in adapters(trained).items()}
    for name, weight in finished.state_dict().items():
        expected, module = base.state_dict()[name], name.removesuffix(".weight")
        if f"{module}.lora_A.default.weight" in change:
            down, up = (change[f"{module}.lora_{letter}.default.weight"] for letter in "AB")
            assert torch.allclose(weight, expected + 4 / 2 * up @ down, atol=1e-6), name
        else:
            assert torch.equal(weight, expected), name
    assert adapters(trainer.model), "it could train on"

    base.save_pretrained(tmp_path / "base")
    processor.save_pretrained(tmp_path / "base")
    save_checkpoint(finished, processor, tmp_path / "merged")
    files = [{path.name for path in (tmp_path / name).iterdir()} for name in ("merged", "base")]
    assert files[0] == files[1]
    assert "peft" not in (tmp_path / "merged" / "config.json").read_text()
    interpolate(tmp_path / "base", tmp_path / "merged", 0.5, tmp_path / "half")
    half = load_file(tmp_path / "half" / "model.safetensors")
    assert half.keys() == base.state_dict().keys()
    for name, weight in finished.state_dict().items():
        assert torch.allclose(half[name], (base.state_dict()[name] + weight) / 2, atol=1e-6), name


def test_a_model_without_adapters_is_finished_as_it_is(tmp_path, model, processor, pairs):
    assert make_trainer(tmp_path, model, processor, pairs, pairs).finished_model() is model


def test_checkpoints_are_adapters_and_resume(tmp_path, processor, pairs):
    """Killed after the first of two epochs and resumed: the same adapters as in one go, dropout included."""
    settings = {**LORA, "lora_dropout": 0.3, "lr_scheduler_type": "cosine", "num_train_epochs": 2,
                "load_best_model_at_end": False, "save_total_limit": None, "layerwise_lr_decay": 0.5,
                "contrastive_chunk_size": 2}  # fmt: skip
    whole = make_trainer(tmp_path, make_model(processor), processor, pairs, pairs, **settings)
    whole.train()
    checkpoint = tmp_path / "run" / "checkpoint-3"
    assert not list(checkpoint.glob("model*"))
    saved = load_file(checkpoint / "adapter_model.safetensors")
    assert len(saved) == 2 * 2 * 2 * len(LINEARS)
    assert all(".lora_" in name for name in saved)

    resumed = make_trainer(tmp_path, make_model(processor), processor, pairs, pairs, **settings)
    assert {round(group["lr"], 6) for group in resumed.create_optimizer().param_groups} == {0.005, 0.0025}
    resumed.train(resume_from_checkpoint=str(checkpoint))
    expected, found = whole.finished_model().state_dict(), resumed.finished_model().state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    early = adapters(whole.model)
    assert any(not torch.equal(early[name], saved[name.replace(".default", "")]) for name in early)


def test_the_best_epochs_adapters_are_kept(tmp_path, processor, pairs):
    """The highest loss taken for the best, so that it is not the last epoch's."""
    settings = {**LORA, "num_train_epochs": 3, "save_total_limit": None, "greater_is_better": True}
    trainer = make_trainer(tmp_path, make_model(processor), processor, pairs, pairs, **settings)
    trainer.train()
    losses = [row["eval_loss"] for row in trainer.state.log_history if "eval_loss" in row]
    assert losses[-1] < max(losses) - 0.01
    assert trainer.evaluate()["eval_loss"] == pytest.approx(max(losses), abs=1e-5)
    finished = make_trainer(tmp_path, trainer.finished_model(), processor, pairs, pairs)
    assert finished.evaluate()["eval_loss"] == pytest.approx(max(losses), abs=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"contrastive_chunk_size": 3},
        {"activation_checkpointing": True, "unfreeze_last_layers": 1},
        {"per_device_train_batch_size": 4, "contrastive_chunk_size": 2, "activation_checkpointing": True},
    ],
)
def test_less_memory_is_the_same_training(tmp_path, processor, pairs, options):
    sgd = {"optim": "sgd", "coupled_weight_decay": False, "learning_rate": 0.1, "gradient_accumulation_steps": 2}
    finished = []
    plain = {name: value for name, value in options.items() if name in ("unfreeze_last_layers",)}
    for extra in (plain, options):
        trainer = make_trainer(tmp_path, make_model(processor), processor, pairs, **ONCE, **{**LORA, **sgd, **extra})
        trainer.train()
        finished.append(trainer.finished_model().state_dict())
    assert all((finished[0][name] - finished[1][name]).abs().max() < 2e-6 for name in finished[0])
    start = make_model(processor).state_dict()
    assert max((finished[0][name] - start[name]).abs().max() for name in start) > 1e-4


def test_the_same_seed_gives_the_same_adapters(tmp_path, processor, pairs):
    first, second = (
        adapters(make_trainer(tmp_path, make_model(processor, seed), processor, pairs, pairs, lora_rank=2).model)
        for seed in (0, 1)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_frozen_scale_above_the_maximum_is_left(tmp_path, model, processor, pairs):
    with torch.no_grad():
        model.logit_scale.fill_(5.0)
    trainer = make_trainer(tmp_path, model, processor, pairs, **ONCE, **LORA)
    trainer.train()
    assert trainer.finished_model().logit_scale == 5.0


def test_without_peft(tmp_path, model, processor, pairs, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(NewsMatchError, match=r"pip install 'hf-newsmatch\[peft\]'"):
        make_trainer(tmp_path, model, processor, pairs, pairs, lora_rank=2)


def test_a_model_without_layers_to_adapt(tmp_path, model, processor, pairs):
    model.requires_grad_(False)
    with pytest.raises(NewsMatchError, match="none of this model's trains"):
        make_trainer(tmp_path, model, processor, pairs, pairs, lora_rank=2)
