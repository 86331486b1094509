import shutil

import numpy as np
import pytest
import torch
from conftest import make_model
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, CLIPProcessor

from hf_newsmatch import (
    NewsMatchError,
    interpolate,
    load_clip,
)
from hf_newsmatch.wise_ft.interpolation import interpolate_tensor


def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def bits(tensors: dict[str, torch.Tensor]) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


@pytest.mark.parametrize("alpha", [0.1, 0.4, 0.5, 0.9])
def test_is_equation_1(checkpoints, tmp_path, alpha):
    interpolate(checkpoints / "zero_shot", checkpoints / "fine_tuned", alpha, tmp_path / "out")
    theta_0, theta_1 = weights(checkpoints / "zero_shot"), weights(checkpoints / "fine_tuned")
    ours = weights(tmp_path / "out")
    assert ours.keys() == theta_1.keys()
    for name, tensor in ours.items():
        formula = (1 - alpha) * theta_0[name].double().numpy() + alpha * theta_1[name].double().numpy()
        np.testing.assert_allclose(tensor.numpy(), formula, rtol=3e-7, atol=1e-7, err_msg=name)


@pytest.mark.parametrize(("alpha", "name"), [(0.0, "zero_shot"), (1.0, "fine_tuned")])
def test_endpoints_are_their_inputs_bit_for_bit(checkpoints, tmp_path, alpha, name):
    interpolate(checkpoints / "zero_shot", checkpoints / "fine_tuned", alpha, tmp_path / "out")
    assert bits(weights(tmp_path / "out")) == bits(weights(checkpoints / name))


def test_the_dtype_is_the_fine_tuned_ones(checkpoints, tmp_path):
    half = tmp_path / "half"
    shutil.copytree(checkpoints / "zero_shot", half)
    theta_0 = {name: tensor.half() for name, tensor in weights(half).items()}
    save_file(theta_0, half / "model.safetensors", metadata={"format": "pt"})

    at_zero = weights(interpolate(half, checkpoints / "fine_tuned", 0, tmp_path / "zero"))
    assert bits(at_zero) == bits({name: tensor.float() for name, tensor in theta_0.items()})

    theta_1 = weights(checkpoints / "fine_tuned")
    between = weights(interpolate(half, checkpoints / "fine_tuned", 0.5, tmp_path / "between"))
    for name, tensor in between.items():
        assert torch.allclose(tensor, (theta_0[name].float() + theta_1[name]) / 2, atol=1e-6)


def test_half_precision_is_interpolated_in_float32():
    torch.manual_seed(0)
    zero_shot, fine_tuned = torch.randn(1000).half(), torch.randn(1000).half()
    exact = 0.7 * zero_shot.float() + 0.3 * fine_tuned.float()
    assert torch.equal(interpolate_tensor(zero_shot, fine_tuned, 0.3), exact.half())


@pytest.mark.parametrize("alpha", [0, 1])
def test_endpoints_are_copied_and_not_computed(alpha):
    """The formula would turn the other side's infinity into NaN, and -0.0 into 0.0."""
    ends = torch.tensor([-0.0, 1.0]), torch.tensor([-0.0, 2.0])
    ends[1 - alpha][1] = torch.inf
    result = interpolate_tensor(*ends, alpha)
    assert result.numpy().tobytes() == ends[alpha].numpy().tobytes()
    zeros = torch.tensor([-0.0]), torch.tensor([0.0])
    for pair in (zeros, zeros[::-1]):
        assert interpolate_tensor(*pair, alpha).numpy().tobytes() == pair[alpha].numpy().tobytes()


def test_the_result_is_an_ordinary_checkpoint(checkpoints, tmp_path, pairs):
    folder = interpolate(checkpoints / "zero_shot", checkpoints / "fine_tuned", 0.4, tmp_path / "out")
    model, processor = CLIPModel.from_pretrained(folder), CLIPProcessor.from_pretrained(folder, backend="pil")
    original = CLIPProcessor.from_pretrained(checkpoints / "fine_tuned", backend="pil")
    inputs = processor(text=pairs["title"][:], images=pairs["image"][:], padding=True, return_tensors="pt")
    expected = original(text=pairs["title"][:], images=pairs["image"][:], padding=True, return_tensors="pt")
    assert all(torch.equal(inputs[name], expected[name]) for name in expected)
    assert model(**inputs).logits_per_text.shape == (len(pairs), len(pairs))


def test_legacy_buffers_are_ignored(checkpoints, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(checkpoints / "zero_shot", old)
    tensors = weights(old)
    tensors["text_model.embeddings.position_ids"] = torch.arange(24)[None]
    save_file(tensors, old / "model.safetensors", metadata={"format": "pt"})
    folder = interpolate(old, checkpoints / "fine_tuned", 0.5, tmp_path / "out")
    assert weights(folder).keys() == weights(checkpoints / "fine_tuned").keys()


def test_sharded_and_pickled_checkpoints(checkpoints, tmp_path):
    """Shards, and a checkpoint that has only a `.bin`, give what the single file gives."""
    expected = bits(weights(interpolate(checkpoints / "zero_shot", checkpoints / "fine_tuned", 0.3, tmp_path / "a")))
    model, _ = load_clip(checkpoints / "zero_shot")
    model.save_pretrained(tmp_path / "sharded", max_shard_size="10KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    shutil.copytree(checkpoints / "zero_shot", tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pickled" / "pytorch_model.bin")
    for name in ("sharded", "pickled"):
        folder = interpolate(tmp_path / name, checkpoints / "fine_tuned", 0.3, tmp_path / "b")
        assert bits(weights(folder)) == expected


@pytest.mark.parametrize("alpha", [-0.1, 1.5, float("nan"), "0.4", None])
def test_refuses_an_alpha_outside(checkpoints, tmp_path, alpha):
    with pytest.raises(NewsMatchError, match="between 0"):
        interpolate(checkpoints / "zero_shot", checkpoints / "fine_tuned", alpha, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_refuses_another_architecture(checkpoints, tmp_path, processor):
    wider = tmp_path / "wider"
    make_model(processor, hidden_size=32).save_pretrained(wider)
    with pytest.raises(NewsMatchError, match=r"has shape \(.*\) in the first"):
        interpolate(wider, checkpoints / "fine_tuned", 0.5, tmp_path / "out")

    fewer = tmp_path / "fewer"
    shutil.copytree(checkpoints / "zero_shot", fewer)
    tensors = weights(fewer)
    del tensors["visual_projection.weight"]
    save_file(tensors, fewer / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(NewsMatchError, match=r"1 weights are in one only, first 'visual_projection\.weight'"):
        interpolate(fewer, checkpoints / "fine_tuned", 0.5, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_refuses_what_is_no_checkpoint(checkpoints, tmp_path):
    with pytest.raises(NewsMatchError, match="absent"):
        interpolate(tmp_path / "absent", checkpoints / "fine_tuned", 0.5, tmp_path / "out")
    damaged = tmp_path / "damaged"
    shutil.copytree(checkpoints / "zero_shot", damaged)
    (damaged / "model.safetensors").write_bytes((damaged / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(NewsMatchError, match="damaged"):
        interpolate(damaged, checkpoints / "fine_tuned", 0.5, tmp_path / "out")
    save_file({"weight": torch.zeros(1)}, damaged / "model.safetensors")
    with pytest.raises(NewsMatchError, match="no CLIP"):
        interpolate(damaged, checkpoints / "fine_tuned", 0.5, tmp_path / "out")


def test_an_existing_result_is_replaced_whole(checkpoints, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    ends = checkpoints / "zero_shot", checkpoints / "fine_tuned"
    interpolate(*ends, 0.5, out)
    (out / "left_over.txt").write_text("old")
    interpolate(*ends, 0.5, out)
    assert not (out / "left_over.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    # shards are a checkpoint too
    model, _ = load_clip(checkpoints / "zero_shot")
    model.save_pretrained(tmp_path / "sharded", max_shard_size="10KB")
    interpolate(*ends, 0.5, tmp_path / "sharded")
    assert [path.name for path in (tmp_path / "sharded").glob("*.safetensors")] == ["model.safetensors"]


@pytest.mark.parametrize("content", ["thesis.tex", "config.json", "model.safetensors"])
def test_what_is_no_checkpoint_is_not_replaced(checkpoints, tmp_path, content):
    ends = checkpoints / "zero_shot", checkpoints / "fine_tuned"
    (tmp_path / content).write_text("mine")
    for target in (tmp_path, tmp_path / content):
        with pytest.raises(NewsMatchError, match="is no checkpoint and is not replaced"):
            interpolate(*ends, 0.5, target)
    assert (tmp_path / content).read_text() == "mine"
