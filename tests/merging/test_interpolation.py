import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, CLIPProcessor

from hf_newsmatch import NewsMatchError, interpolate, load_clip
from hf_newsmatch.merging.interpolation import interpolate_tensor, read_alphas
from tests.utils.news import make_model


def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def bits(tensors: dict[str, torch.Tensor]) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def with_weights(original, folder, **tensors):
    """A copy of a checkpoint, other weights in place of its own, a `__` in their names for a dot."""
    shutil.copytree(original, folder)
    changed = weights(folder) | {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def last_places(values: np.ndarray, exact: np.ndarray) -> float:
    """The largest error in units in the last place of float32."""
    return (np.abs(values - exact) / np.spacing(np.abs(exact).astype(np.float32))).max()


@pytest.mark.parametrize("alpha", [0.1, 0.4, 0.5, 0.9])
def test_is_equation_1(checkpoints, tmp_path, alpha):
    interpolate(checkpoints / "zero_shot", checkpoints / "fine_tuned", alpha, tmp_path / "out")
    theta_0, theta_1 = weights(checkpoints / "zero_shot"), weights(checkpoints / "fine_tuned")
    ours = weights(tmp_path / "out")
    assert ours.keys() == theta_1.keys()
    for name, tensor in ours.items():
        formula = (1 - alpha) * theta_0[name].double().numpy() + alpha * theta_1[name].double().numpy()
        np.testing.assert_array_equal(tensor.numpy(), formula.astype(np.float32), err_msg=name)


def test_is_right_to_the_last_place_where_the_two_nearly_cancel():
    torch.manual_seed(0)
    zero_shot = torch.randn(10_000)
    fine_tuned = zero_shot * -1.5 * (1 + 1e-5 * torch.randn(10_000))
    formula = 0.6 * zero_shot.double() + 0.4 * fine_tuned.double()
    assert last_places((0.6 * zero_shot + 0.4 * fine_tuned).numpy(), formula.numpy()) > 100  # float32 is not enough
    assert torch.equal(interpolate_tensor(zero_shot, fine_tuned, 0.4), formula.float())


def test_the_inputs_stay_as_they_are():
    for dtype in (torch.float64, torch.float32):
        ends = torch.ones(3, dtype=dtype), torch.zeros(3, dtype=dtype)
        assert interpolate_tensor(*ends, 0.25).tolist() == [0.75] * 3
        assert [end.tolist() for end in ends] == [[1] * 3, [0] * 3]


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


def test_half_precision_is_rounded_once():
    torch.manual_seed(0)
    zero_shot, fine_tuned = torch.randn(1000).half(), torch.randn(1000).half()
    exact = 0.7 * zero_shot.double() + 0.3 * fine_tuned.double()
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


def test_the_file_is_the_one_that_safetensors_writes(checkpoints, tmp_path):
    """Byte for byte, whatever the mixture of dtypes."""
    mixed = {
        "visual_projection__weight": torch.randn(8, 16).bfloat16(),
        "text_projection__weight": torch.randn(8, 16).half(),
        "some__count": torch.arange(3),
        "some__flag": torch.tensor([True, False, True]),
        "logit_scale": torch.tensor(2.0, dtype=torch.float64),
    }
    for number, tensors in enumerate(({}, mixed)):
        fine_tuned = with_weights(checkpoints / "fine_tuned", tmp_path / f"ft{number}", **tensors)
        zero_shot = with_weights(checkpoints / "zero_shot", tmp_path / f"zs{number}", **tensors)
        folder = interpolate(zero_shot, fine_tuned, 0.3, tmp_path / "out")
        save_file(load_file(folder / "model.safetensors"), tmp_path / "again", metadata={"format": "pt"})
        assert (folder / "model.safetensors").read_bytes() == (tmp_path / "again").read_bytes()


def test_a_tensor_of_many_pieces(checkpoints, tmp_path, monkeypatch):
    ends = checkpoints / "zero_shot", checkpoints / "fine_tuned"
    whole = interpolate(*ends, 0.3, tmp_path / "whole") / "model.safetensors"
    monkeypatch.setattr("hf_newsmatch.merging.interpolation._PIECE", 7)
    assert (interpolate(*ends, 0.3, tmp_path / "parts") / "model.safetensors").read_bytes() == whole.read_bytes()


def test_shards(checkpoints, tmp_path):
    ends = checkpoints / "zero_shot", checkpoints / "fine_tuned"
    whole = interpolate(*ends, 0.3, tmp_path / "whole")
    folder = interpolate(*ends, 0.3, tmp_path / "sharded", max_shard_size="20KB")
    files = sorted(folder.glob("*.safetensors"))
    assert len(files) > 2
    assert all(file.stat().st_size < 25_000 for file in files)
    assert files[0].name == f"model-00001-of-{len(files):05}.safetensors"
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    parts = {name: tensor for file in files for name, tensor in load_file(file).items()}
    assert index["weight_map"].keys() == parts.keys()
    assert bits(parts) == bits(weights(whole))
    loaded = CLIPModel.from_pretrained(folder).state_dict()
    assert bits({name: loaded[name] for name in parts}) == bits(parts)
    # and they are input again
    assert bits(weights(interpolate(folder, folder, 0.0, tmp_path / "out"))) == bits(parts)
    assert (interpolate(*ends, 0.3, tmp_path / "one", max_shard_size="1GB") / "model.safetensors").is_file()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_another_dtype(checkpoints, tmp_path, dtype):
    ends = checkpoints / "zero_shot", checkpoints / "fine_tuned"
    torch_dtype = getattr(torch, dtype)
    for alpha, end in enumerate(ends):
        folder = interpolate(*ends, alpha, tmp_path / "out", dtype=dtype)
        cast = {name: tensor.to(torch_dtype).float() for name, tensor in weights(end).items()}
        assert bits({name: tensor.float() for name, tensor in weights(folder).items()}) == bits(cast)
    assert {tensor.dtype for tensor in weights(folder).values()} == {torch_dtype}
    assert CLIPModel.from_pretrained(folder).dtype == torch_dtype
    # and back
    folder = interpolate(folder, folder, 0.5, tmp_path / "back", dtype="float32")
    assert CLIPModel.from_pretrained(folder).dtype == torch.float32


def test_an_alpha_for_each_tower(checkpoints, tmp_path):
    ends = checkpoints / "zero_shot", checkpoints / "fine_tuned"

    def side(tensors, folder, *prefixes) -> bool:
        expected = weights(folder)
        chosen = [name for name in expected if name.startswith(prefixes)]
        assert chosen
        return all(torch.equal(tensors[name], expected[name]) for name in chosen)

    towers = ("vision_model", "visual_projection"), ("text_model", "text_projection")
    both = weights(interpolate(*ends, None, tmp_path / "a", alpha_vision=1, alpha_text=0))
    assert side(both, ends[1], *towers[0])
    assert side(both, ends[0], *towers[1], "logit_scale")
    both = weights(interpolate(*ends, None, tmp_path / "a", alpha_vision=1, alpha_text=0, logit_scale_with="vision"))
    assert side(both, ends[1], *towers[0], "logit_scale")
    one = weights(interpolate(*ends, 0, tmp_path / "a", alpha_vision=1))
    assert side(one, ends[1], *towers[0])
    assert side(one, ends[0], *towers[1], "logit_scale")


def test_an_alpha_for_each_layer(checkpoints, tmp_path):
    ends = checkpoints / "zero_shot", checkpoints / "fine_tuned"
    file = tmp_path / "alphas.yaml"
    file.write_text("'*': 0\ntext_model.encoder.layers.*: 1.0\n'*.layers.1.mlp.*': 0.5\n")
    tensors = weights(interpolate(*ends, None, tmp_path / "a", alphas=read_alphas(file)))
    halves = weights(interpolate(*ends, 0.5, tmp_path / "b"))
    for name, tensor in tensors.items():
        whole = weights(ends[name.startswith("text_model.encoder.layers")])
        assert torch.equal(tensor, (halves if ".layers.1.mlp." in name else whole)[name]), name


def test_extrapolation(checkpoints, tmp_path):
    ends = checkpoints / "zero_shot", checkpoints / "fine_tuned"
    ours = weights(interpolate(*ends, 1.5, tmp_path / "a", extrapolate=True))
    for name, tensor in ours.items():
        formula = -0.5 * weights(ends[0])[name].double() + 1.5 * weights(ends[1])[name].double()
        assert torch.equal(tensor, formula.float())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": None}, "No alpha is given"),
        ({"alpha": None, "alpha_vision": 0.5}, r"No alpha is given for .*and \d+ more; name one with --alpha"),
        ({"alpha": 0.5, "alpha_text": 2.0}, "must lie between 0 .* not at 2.0; --extrapolate allows it"),
        ({"alpha": 0.5, "alphas": {"vison_model.*": 0.5}}, r"'vison_model\.\*' matches no weight"),
        ({"alpha": 0.5, "alphas": {"text_model.*": "much"}}, "must be a number between 0 .*, not 'much'"),
        ({"alpha": float("nan"), "extrapolate": True}, "must be a number"),
        ({"alpha": 0.5, "logit_scale_with": "sound"}, "goes with vision or text, not with 'sound'"),
        ({"alpha": 0.5, "logit_scale_with": "text"}, "text tower, which has no alpha of its own"),
        ({"alpha": 0.5, "dtype": "int8"}, "no dtype 'int8' for weights; take one of float32"),
        ({"alpha": 0.5, "max_shard_size": "big"}, "such as 500MB or 2GB, not 'big'"),
        ({"alpha": 0.5, "max_shard_size": "-1GB"}, "such as 500MB or 2GB, not '-1GB'"),
    ],
)
def test_refuses_options(checkpoints, tmp_path, options, message):
    with pytest.raises(NewsMatchError, match=message):
        interpolate(checkpoints / "zero_shot", checkpoints / "fine_tuned", output_dir=tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("a: [", "is not YAML"),
        ("- 0.4", "hold lines"),
        ("", "hold lines"),
        ("1: 0.4", "hold lines"),
    ],
)
def test_refuses_a_file_of_alphas(tmp_path, content, message):
    file = tmp_path / "alphas.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(NewsMatchError, match=message):
        read_alphas(file)


def test_integers_must_agree(checkpoints, tmp_path):
    fine_tuned = with_weights(checkpoints / "fine_tuned", tmp_path / "ft", some__count=torch.tensor([1, 2]))
    same = with_weights(checkpoints / "zero_shot", tmp_path / "same", some__count=torch.tensor([1, 2]))
    result = weights(interpolate(same, fine_tuned, 0.5, tmp_path / "out", dtype="float16"))
    assert result["some.count"].tolist() == [1, 2]
    assert result["some.count"].dtype == torch.int64
    other = with_weights(checkpoints / "zero_shot", tmp_path / "other", some__count=torch.tensor([1, 3]))
    with pytest.raises(NewsMatchError, match=r"'some\.count' holds integers that differ"):
        interpolate(other, fine_tuned, 0.5, tmp_path / "out")


def test_refuses_a_configuration_that_means_something_else(checkpoints, tmp_path):
    """Nothing of it shows in the weights' names and shapes."""
    other = tmp_path / "other"
    shutil.copytree(checkpoints / "zero_shot", other)
    config = json.loads((other / "config.json").read_text())
    config["vision_config"]["hidden_act"] = "gelu"
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(NewsMatchError, match="hidden_act in vision_config is gelu in the first and quick_gelu in the"):
        interpolate(other, checkpoints / "fine_tuned", 0.5, tmp_path / "out")


@pytest.mark.parametrize("where", ["run", "card", "config", None])
def test_says_which_base_the_fine_tuned_model_came_from(checkpoints, tmp_path, processor, where):
    wider, fine_tuned = tmp_path / "wider", tmp_path / "run" / "fine_tuned"
    make_model(processor, hidden_size=32).save_pretrained(wider)
    shutil.copytree(checkpoints / "fine_tuned", fine_tuned)
    if where == "run":
        (fine_tuned.parent / "newsmatch.json").write_text('{"base_model": {"id": "somebody/clip"}}')
    elif where == "card":
        (fine_tuned / "README.md").write_text("---\nbase_model: [somebody/clip]\n---\n# Card\n")
    elif where == "config":
        config = json.loads((fine_tuned / "config.json").read_text()) | {"_name_or_path": "somebody/clip"}
        (fine_tuned / "config.json").write_text(json.dumps(config))
    else:
        (fine_tuned / "README.md").write_text("No metadata.")
    with pytest.raises(NewsMatchError, match=r"do not fit together: of another shape are .* and 70 more") as caught:
        interpolate(wider, fine_tuned, 0.5, tmp_path / "out")
    assert ("was fine-tuned from somebody/clip." in str(caught.value)) == (where is not None)


def test_a_full_disk_leaves_nothing(checkpoints, tmp_path):
    """Shown by a limit on the size of files, which the operating system keeps as it keeps that of the disk."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(NewsMatchError, match=r"model\.safetensors cannot be written: File too large"):
            interpolate(checkpoints / "zero_shot", checkpoints / "fine_tuned", 0.5, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("alpha", [-0.1, 1.5, float("nan"), float("inf"), "0.4"])
def test_refuses_an_alpha_outside(checkpoints, tmp_path, alpha):
    with pytest.raises(NewsMatchError, match="between 0"):
        interpolate(checkpoints / "zero_shot", checkpoints / "fine_tuned", alpha, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_refuses_another_architecture(checkpoints, tmp_path, processor):
    wider = tmp_path / "wider"
    make_model(processor, hidden_size=32).save_pretrained(wider)
    with pytest.raises(NewsMatchError, match=r"of another shape are .* and 70 more"):
        interpolate(wider, checkpoints / "fine_tuned", 0.5, tmp_path / "out")

    fewer = tmp_path / "fewer"
    shutil.copytree(checkpoints / "zero_shot", fewer)
    tensors = weights(fewer)
    del tensors["visual_projection.weight"]
    save_file(tensors, fewer / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(NewsMatchError, match=r"only .*fine_tuned has visual_projection\.weight"):
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
    with pytest.raises(NewsMatchError, match="no checkpoint of a dual encoder"):
        interpolate(damaged, checkpoints / "fine_tuned", 0.5, tmp_path / "out")


def test_refuses_shards_that_are_not_all_there(checkpoints, tmp_path):
    model, _ = load_clip(checkpoints / "zero_shot")
    sharded = tmp_path / "sharded"
    model.save_pretrained(sharded, max_shard_size="10KB")
    next(sharded.glob("model-00002-of-*.safetensors")).unlink()
    with pytest.raises(NewsMatchError, match=r"names the shard model-00002-of-\d+\.safetensors, which is not there"):
        interpolate(sharded, checkpoints / "fine_tuned", 0.5, tmp_path / "out")
    for index in ("{", "[]", '{"weight_map": 3}', "{}"):
        (sharded / "model.safetensors.index.json").write_text(index)
        with pytest.raises(NewsMatchError, match=r"index\.json is damaged"):
            interpolate(sharded, checkpoints / "fine_tuned", 0.5, tmp_path / "out")


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


def test_a_setting_that_one_file_leaves_out_is_no_difference(checkpoints, tmp_path):
    for name in ("zero_shot", "fine_tuned"):
        shutil.copytree(checkpoints / name, tmp_path / name)
    file = tmp_path / "zero_shot" / "config.json"
    config = json.loads(file.read_text())
    for tower in ("text_config", "vision_config"):
        del config[tower]["model_type"]
    file.write_text(json.dumps(config))
    interpolate(tmp_path / "zero_shot", tmp_path / "fine_tuned", 0.5, tmp_path / "out")
