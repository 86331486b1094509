"""Training of every architecture: what trains, gradient caching, adapters, cached pictures, batch norms."""

import pytest
import torch
from datasets import Dataset

from hf_newsmatch import ContrastiveTrainer, ContrastiveTrainingArguments, NewsMatchError
from hf_newsmatch.data.image_cache import PIXELS, PREPARED, cache_pictures, cached_inputs
from hf_newsmatch.data.images import undecoded
from hf_newsmatch.models.architectures import ARCHITECTURES, architecture_of, layer_of
from hf_newsmatch.models.inputs import image_inputs
from hf_newsmatch.training.freezing import freeze, parameter_groups
from tests.utils.architectures import MAKERS, make_tiny
from tests.utils.news import make_pairs

SGD = {"optim": "sgd", "coupled_weight_decay": False, "learning_rate": 0.05, "weight_decay": 0.0}


@pytest.fixture
def pairs(tmp_path) -> Dataset:
    return make_pairs(tmp_path, 12)


def make_trainer(folder, name, pairs, seed=0, **options) -> ContrastiveTrainer:
    defaults = {
        "max_steps": 2,
        "per_device_train_batch_size": 6,
        "use_cpu": True,
        "disable_tqdm": True,
        "report_to": "none",
        "save_strategy": "no",
        "eval_strategy": "no",
        "load_best_model_at_end": False,
    }
    args = ContrastiveTrainingArguments(str(folder / "out"), **{**defaults, **SGD, **options})
    model, processor = make_tiny(name, seed)
    return ContrastiveTrainer(model, args, processor, train_dataset=pairs)


def trained(trainer) -> dict[str, torch.Tensor]:
    trainer.train()
    return {key: value.clone() for key, value in trainer.finished_model().state_dict().items()}


@pytest.mark.parametrize("name", MAKERS)
def test_chunks_change_nothing(name, pairs, tmp_path):
    """Gradient caching, with the bias where there is one, is one pass over the whole batch."""
    trainers = [make_trainer(tmp_path, name, pairs, **options) for options in ({}, {"contrastive_chunk_size": 2})]
    for module in (module for trainer in trainers for module in trainer.model.modules()):
        if isinstance(module, torch.nn.Dropout):  # chunks draw in another order
            module.p = 0.0
        for attribute in ("dropout_prob", "attention_dropout", "dropout", "attention_probs_dropout_prob"):
            if isinstance(getattr(module, attribute, None), float):
                setattr(module, attribute, 0.0)
        if hasattr(module, "config") and hasattr(module.config, "attention_probs_dropout_prob"):
            module.config.attention_probs_dropout_prob = 0.0
    whole, chunked = map(trained, trainers)
    start = make_tiny(name)[0].state_dict()
    for key, value in whole.items():
        assert (value - chunked[key]).abs().max() < 2e-6, key
    for scalar in ARCHITECTURES[name].scalars:
        assert not torch.equal(whole[scalar], start[scalar]), f"{scalar} trains"


@pytest.mark.parametrize("name", MAKERS)
def test_all_that_trains_gets_a_gradient(name, pairs, tmp_path):
    """Processes that exchange gradients would wait for a weight without one."""
    trainer = make_trainer(tmp_path, name, pairs, max_steps=1)
    batch = trainer.data_collator([undecoded(pairs)[row] for row in range(6)])
    trainer.compute_loss(trainer.model.train(), batch).backward()
    without = [key for key, value in trainer.model.named_parameters() if value.requires_grad and value.grad is None]
    assert without == []


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("last_layers", [0, 1])
def test_last_layers_and_rates(name, last_layers):
    model, _ = make_tiny(name)
    architecture = architecture_of(model.config)
    places = architecture.places(key for key, _ in model.named_parameters())
    freeze(model, "both", last_layers)
    training = {key for key, value in model.named_parameters() if value.requires_grad}
    assert set(architecture.scalars) <= training
    layers = {layer_of(key) for key in training} - {None}
    assert len(layers) == 2 * last_layers
    assert {places[key][1] for key in training} == {*range(last_layers + 1)}
    groups = parameter_groups(model, 0.1, 0.0, layerwise_lr_decay=0.5)
    assert [group["lr"] for group in groups] == [0.1 * 0.5**depth for depth in range(last_layers + 1)]


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "align"])
def test_adapters_end_in_an_ordinary_checkpoint(name, pairs, tmp_path):
    pytest.importorskip("peft")
    trainer = make_trainer(tmp_path, name, pairs, lora_rank=2, learning_rate=0.5)
    after, before = trained(trainer), make_tiny(name)[0].state_dict()
    assert after.keys() == before.keys()
    changed = {key for key in after if not torch.equal(after[key], before[key])}
    architecture = ARCHITECTURES[name]
    assert {architecture.tower(key) for key in changed} == {"vision", "text"}
    assert all(layer_of(key) for key in changed)


@pytest.mark.parametrize("name", MAKERS)
def test_cached_pictures_are_the_same_bit_for_bit(name, pairs, tmp_path):
    _, processor = make_tiny(name)
    architecture = ARCHITECTURES[name]
    cached = cache_pictures(pairs, processor.image_processor, architecture.image_inputs)
    rows = list(cached)
    assert (PREPARED if name in ("siglip2", "align") else PIXELS) in rows[0] or PREPARED in rows[0]
    found = cached_inputs(rows, processor, architecture)
    expected = image_inputs(processor, [row["image"] for row in pairs], architecture)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) and found[key].dtype == expected[key].dtype for key in found)
    assert trained(make_trainer(tmp_path, name, pairs, cache_images=True)).keys()


def test_batch_norms_keep_their_statistics(pairs, tmp_path):
    """A batch's own would change with its chunks, and with frozen weights too."""
    before = make_tiny("align")[0].state_dict()
    after = trained(make_trainer(tmp_path, "align", pairs))
    statistics = [key for key in after if "running_" in key or "num_batches" in key]
    assert len(statistics) > 10
    assert all(torch.equal(after[key], before[key]) for key in statistics)
    assert not torch.equal(
        after["vision_model.embeddings.convolution.weight"], before["vision_model.embeddings.convolution.weight"]
    )


@pytest.mark.parametrize("name", ["siglip", "siglip2"])
def test_softmax_on_a_model_of_the_sigmoid_leaves_its_bias(name, pairs, tmp_path):
    before = make_tiny(name)[0].state_dict()
    after = trained(make_trainer(tmp_path, name, pairs, loss="softmax"))
    assert torch.equal(after["logit_bias"], before["logit_bias"])
    assert not torch.equal(after["logit_scale"], before["logit_scale"])


def test_what_divides_stays_positive(pairs, tmp_path):
    trainer = make_trainer(tmp_path, "tipsv2", pairs, learning_rate=1e3, max_grad_norm=1.0)
    assert 0 < trained(trainer)["temperature"] < 1e4


@pytest.mark.parametrize("name", ["clip", "align", "vision-text-dual-encoder"])
def test_the_sigmoid_needs_a_bias(name, pairs, tmp_path):
    with pytest.raises(NewsMatchError, match="--loss sigmoid needs a model with a logit_bias, such as SigLIP"):
        make_trainer(tmp_path, name, pairs, loss="sigmoid")


def test_an_unknown_loss_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--loss is softmax or sigmoid, not hinge"):
        ContrastiveTrainingArguments(str(tmp_path), loss="hinge")
