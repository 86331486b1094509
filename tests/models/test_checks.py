import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_newsmatch import ContrastiveTrainingArguments, NewsMatchError, embed_texts, interpolate, load_clip
from hf_newsmatch.models.weights import open_weights
from hf_newsmatch.training.building import build_trainer
from tests.utils.news import make_model


@pytest.fixture
def checkpoint(checkpoints, tmp_path):
    """A copy of the zero-shot checkpoint."""
    return shutil.copytree(checkpoints / "zero_shot", tmp_path / "base")


def change(folder, do) -> None:
    tensors = do(load_file(folder / "model.safetensors"))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def build(folder, tmp_path, pairs):
    args = ContrastiveTrainingArguments(str(tmp_path / "run"), use_cpu=True, report_to="none")
    return build_trainer(folder, None, pairs, pairs, args)


@pytest.mark.parametrize("prefix", ["clip.", "module.", "_orig_mod.", "module._orig_mod."])
def test_a_prefix_is_understood(checkpoints, checkpoint, tmp_path, pairs, prefix):
    """By loading, by training, and by interpolation, whose result has the plain names."""
    change(checkpoint, lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()})
    plain = load_file(checkpoints / "zero_shot" / "model.safetensors")
    for model in (load_clip(checkpoint)[0], build(checkpoint, tmp_path, pairs).model):
        assert all(torch.equal(tensor, plain[name]) for name, tensor in model.state_dict().items())
    results = [
        load_file(interpolate(base, checkpoints / "fine_tuned", 0.3, tmp_path / name) / "model.safetensors")
        for name, base in (("a", checkpoint), ("b", checkpoints / "zero_shot"))
    ]
    assert results[0].keys() == results[1].keys() == plain.keys()
    assert all(torch.equal(tensor, results[1][name]) for name, tensor in results[0].items())


def test_a_logit_scale_of_one_value_is_a_scalar(checkpoints, checkpoint, tmp_path, pairs):
    change(checkpoint, lambda tensors: {**tensors, "logit_scale": torch.tensor([1.75])})
    model, _ = load_clip(checkpoint)
    assert model.logit_scale.shape == ()
    assert model.logit_scale.item() == 1.75
    assert build(checkpoint, tmp_path, pairs).model.logit_scale.item() == 1.75
    out = interpolate(checkpoint, checkpoints / "fine_tuned", 0.0, tmp_path / "out")
    assert load_file(out / "model.safetensors")["logit_scale"].tolist() == 1.75

    # beside it, a weight of another size is still one
    change(checkpoint, lambda tensors: {**tensors, "text_projection.weight": torch.zeros(3, 16)})
    with pytest.raises(NewsMatchError, match=r"text_projection\.weight of .* is of another size"):
        load_clip(checkpoint)


def test_a_weight_too_many_is_found_before_training(checkpoints, checkpoint, tmp_path, pairs):
    change(checkpoint, lambda tensors: {**tensors, "logit_bias": torch.zeros(())})
    load_clip(checkpoint)  # to rank with, it is as good as any
    with pytest.raises(NewsMatchError, match="has 1 weights that CLIP has not, first logit_bias"):
        build(checkpoint, tmp_path, pairs)
    with pytest.raises(NewsMatchError, match="logit_bias"):
        interpolate(checkpoint, checkpoints / "fine_tuned", 0.5, tmp_path / "out")


def test_an_old_buffer_is_no_weight_too_many(checkpoint, tmp_path, pairs):
    name = "text_model.embeddings.position_ids"
    change(checkpoint, lambda tensors: {**tensors, name: torch.arange(24)[None]})
    build(checkpoint, tmp_path, pairs)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("end", [0, 1])
def test_weights_that_are_no_numbers_are_named(checkpoints, checkpoint, tmp_path, value, dtype, end):
    name = "vision_model.encoder.layers.1.mlp.fc2.weight"

    def spoil(tensors):
        tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
        tensors[name][3, 5] = value
        return tensors

    change(checkpoint, spoil)
    with pytest.raises(NewsMatchError, match=rf"The weight {name} of .*base.* no finite numbers"):
        load_clip(checkpoint)
    ends = [checkpoint, checkpoints / "fine_tuned"]
    for alpha in (0.0, 0.5, 1.0):
        with pytest.raises(NewsMatchError, match=rf"The weight {name} of .*base has values that are no finite"):
            interpolate(*(ends if end == 0 else ends[::-1]), alpha, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("eos", [0, 5, None])
def test_a_text_must_end_where_the_model_reads_it(checkpoint, processor, eos):
    """Otherwise all texts have the embedding of their first token."""
    config = json.loads((checkpoint / "config.json").read_text())
    own = config["text_config"]["eos_token_id"]
    config["text_config"]["eos_token_id"] = processor.tokenizer.bos_token_id if eos is None else eos
    (checkpoint / "config.json").write_text(json.dumps(config))
    message = rf"at its token \d+ .* and the tokenizer ends it with {own}, so that all texts would be the same"
    with pytest.raises(NewsMatchError, match=message):
        load_clip(checkpoint)


def test_openais_configurations_name_another_token(checkpoint):
    """Their 2 stands for the highest token; texts are told apart."""
    config = json.loads((checkpoint / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 2
    (checkpoint / "config.json").write_text(json.dumps(config))
    model, processor = load_clip(checkpoint)
    embeds = embed_texts(model, processor, ["one", "two"], progress=False)
    embeds = torch.as_tensor(np.asarray(getattr(embeds, "embeds", embeds)))
    assert not torch.allclose(embeds[0], embeds[1], atol=1e-3)


def test_an_adapter_is_refused(checkpoints, checkpoint, tmp_path):
    (checkpoint / "adapter_config.json").write_text("{}")
    for alone in (False, True):
        if alone:
            (checkpoint / "model.safetensors").rename(checkpoint / "adapter_model.safetensors")
        with pytest.raises(NewsMatchError, match=r"holds an adapter .* \(peft's merge_and_unload\)"):
            load_clip(checkpoint)
        with pytest.raises(NewsMatchError, match="holds an adapter"):
            interpolate(checkpoints / "zero_shot", checkpoint, 0.5, tmp_path / "out")
        with pytest.raises(NewsMatchError, match="holds an adapter"), open_weights(checkpoint):
            pass


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("modules.json", "is laid out by sentence-transformers; name the CLIP inside it"),
        ("open_clip_model.safetensors", "has weights of open_clip without their open_clip_config.json; put it beside"),
    ],
)
def test_other_layouts_are_named(checkpoint, tmp_path, name, message):
    (checkpoint / name).write_text("{}")
    load_clip(checkpoint)  # where CLIP's own files lie beside, that is all one
    (checkpoint / "config.json").unlink()
    with pytest.raises(NewsMatchError, match=message):
        load_clip(checkpoint)
    (checkpoint / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(NewsMatchError, match=message):
        load_clip(checkpoint)


def test_the_tiny_model_is_none_of_these(tmp_path, processor):
    make_model(processor).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    load_clip(tmp_path, strict=True)
