import hashlib
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_newsmatch import NewsMatchError, interpolate, load_clip
from hf_newsmatch.models.weights import copy_settings, open_weights, save_checkpoint, weights_sha256

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)


@pytest.fixture
def mixed(tmp_path):
    """A folder with weights of many dtypes."""
    tensors = {str(dtype): torch.arange(6).reshape(2, 3).to(dtype) for dtype in DTYPES}
    tensors |= {"logit_scale": torch.tensor(2.5), "empty": torch.zeros(0, 4)}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def test_weights_are_what_safetensors_loads(mixed):
    expected = load_file(mixed / "model.safetensors")
    before = (mixed / "model.safetensors").read_bytes()
    with open_weights(mixed) as weights:
        assert set(weights.names) == set(expected)
        for name, tensor in expected.items():
            assert weights[name].dtype == tensor.dtype
            assert torch.equal(weights[name], tensor)
        # what is done with them does not reach the file
        weights["logit_scale"].zero_()
    assert (mixed / "model.safetensors").read_bytes() == before


def test_a_type_that_no_clip_has(mixed):
    tensors = {"logit_scale": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    save_file(tensors, mixed / "model.safetensors")
    with (
        pytest.raises(NewsMatchError, match=r"'logit_scale' in .*is of type F8_E4M3, which no checkpoint here has"),
        open_weights(mixed),
    ):
        pass


def test_pickled_bfloat16(checkpoints, tmp_path):
    folder = tmp_path / "pickled"
    shutil.copytree(checkpoints / "zero_shot", folder)
    (folder / "model.safetensors").unlink()
    model, _ = load_clip(checkpoints / "zero_shot", dtype=torch.bfloat16)
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with open_weights(folder) as weights:
        for name, tensor in model.state_dict().items():
            assert weights[name].dtype == torch.bfloat16
            assert torch.equal(weights[name], tensor)


def test_settings_go_along_as_they_are(checkpoints, tmp_path):
    with open_weights(checkpoints / "fine_tuned") as weights:
        copy_settings(weights, tmp_path)
        for file in tmp_path.iterdir():
            assert file.read_bytes() == (checkpoints / "fine_tuned" / file.name).read_bytes()
        copied = {file.name for file in tmp_path.iterdir()}
        assert copied == {file.name for file in (checkpoints / "fine_tuned").iterdir()} - {"model.safetensors"}
        copy_settings(weights, tmp_path, "float16")
    config = json.loads((tmp_path / "config.json").read_text())
    assert config == json.loads((checkpoints / "fine_tuned" / "config.json").read_text()) | {"dtype": "float16"}


def test_refuses_a_checkpoint_without_image_settings(checkpoints, tmp_path):
    shutil.copytree(checkpoints / "fine_tuned", tmp_path / "bare")
    (tmp_path / "bare" / "processor_config.json").unlink()
    with (
        open_weights(tmp_path / "bare") as weights,
        pytest.raises(NewsMatchError, match=r"bare' has no processor_config\.json or preprocessor_config\.json"),
    ):
        copy_settings(weights, tmp_path)


@pytest.mark.parametrize("bare", ["zero_shot", "fine_tuned"])
@pytest.mark.parametrize("missing", ["processor_config.json", "tokenizer*", "*[rz]*_config.json tokenizer.json"])
def test_an_end_without_processor_files_gets_those_of_the_other(checkpoints, tmp_path, bare, missing):
    for name in ("zero_shot", "fine_tuned"):
        shutil.copytree(checkpoints / name, tmp_path / name)
    for pattern in missing.split():
        for file in (tmp_path / bare).glob(pattern):
            file.unlink()
    folder = interpolate(tmp_path / "zero_shot", tmp_path / "fine_tuned", 0.5, tmp_path / "out")
    whole = interpolate(checkpoints / "zero_shot", checkpoints / "fine_tuned", 0.5, tmp_path / "whole")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {
        file.name: file.read_bytes() for file in whole.iterdir()
    }
    load_clip(folder)


@pytest.mark.parametrize("index", ["[" * 100_000, '{"weight_map": {"a": 5}}', '{"weight_map": {"a": "../x"}}', "\xe4"])
def test_an_index_of_shards_names_files_beside_it(checkpoints, tmp_path, index):
    shutil.copytree(checkpoints / "fine_tuned", tmp_path / "sharded")
    (tmp_path / "sharded" / "model.safetensors").rename(tmp_path / "x")
    (tmp_path / "sharded" / "model.safetensors.index.json").write_bytes(index.encode("latin-1"))
    with pytest.raises(NewsMatchError, match=r"index\.json is damaged"), open_weights(tmp_path / "sharded"):
        pass


def test_a_vocabulary_and_its_merges_are_a_tokenizer(checkpoints, tmp_path):
    """As OpenAI's own checkpoints have it beside, or in place of, tokenizer.json."""
    for name in ("zero_shot", "fine_tuned"):
        shutil.copytree(checkpoints / name, tmp_path / name)
        content = json.loads((tmp_path / name / "tokenizer.json").read_text())
        (tmp_path / name / "vocab.json").write_text(json.dumps(content["model"]["vocab"]))
        (tmp_path / name / "merges.txt").write_text("#version: 0.2\n")
        (tmp_path / name / "tokenizer.json").unlink()
    folder = interpolate(tmp_path / "zero_shot", tmp_path / "fine_tuned", 0.5, tmp_path / "out")
    assert {"vocab.json", "merges.txt"} <= {file.name for file in folder.iterdir()}
    (tmp_path / "zero_shot" / "merges.txt").unlink()
    (tmp_path / "fine_tuned" / "merges.txt").unlink()
    with pytest.raises(NewsMatchError, match="tokenizer"):
        interpolate(tmp_path / "zero_shot", tmp_path / "fine_tuned", 0.5, tmp_path / "other")


def test_a_tokenizer_is_saved_as_it_was_read_whatever_it_has_cut(checkpoints, tmp_path):
    for name, texts in (("unused", []), ("used", ["a b", "c"])):
        model, processor = load_clip(checkpoints / "zero_shot")
        if texts:
            processor.tokenizer(texts, padding=True, truncation=True)
        save_checkpoint(model, processor, tmp_path / name)
    assert (tmp_path / "used" / "tokenizer.json").read_bytes() == (tmp_path / "unused" / "tokenizer.json").read_bytes()


# ---- identity -------------------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(checkpoints, tmp_path):
    shutil.copytree(checkpoints / "fine_tuned", tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_an_adapter_belongs_to_the_weights(checkpoint):
    """Transformers applies it in silence, so it makes another model."""
    alone = weights_sha256(checkpoint)
    (checkpoint / "adapter_model.safetensors").write_bytes(b"never read without its configuration")
    assert weights_sha256(checkpoint) == alone
    (checkpoint / "adapter_config.json").write_text("{}")
    found = {weights_sha256(checkpoint)}
    (checkpoint / "adapter_model.safetensors").write_bytes(b"another")
    found.add(weights_sha256(checkpoint))
    (checkpoint / "adapter_config.json").write_text('{"r": 4}')
    found.add(weights_sha256(checkpoint))
    (checkpoint / "adapter_model.safetensors").rename(checkpoint / "adapter_model.bin")
    assert len(found | {alone, weights_sha256(checkpoint)} - {None}) == 4


def test_a_change_of_any_shard_is_one_of_the_weights(checkpoints, tmp_path):
    folder = interpolate(
        checkpoints / "zero_shot", checkpoints / "fine_tuned", 0.5, tmp_path / "x", max_shard_size="9KB"
    )
    before, shards = weights_sha256(folder), sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 2
    for shard in shards:
        content = shard.read_bytes()
        shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert weights_sha256(folder) != before
        shard.write_bytes(content)
    assert weights_sha256(folder) == before


def test_pickled_weights_are_known_too(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    assert weights_sha256(checkpoint) is None
    (checkpoint / "pytorch_model.bin").write_bytes(b"a pickle")
    assert weights_sha256(checkpoint) == hashlib.sha256(b"a pickle").hexdigest()


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", 7, None, ["x"]])
def test_an_index_names_files_beside_it_and_no_others(checkpoint, name):
    (checkpoint / "model.safetensors").rename(checkpoint.parent / "secret.safetensors")
    index = {"weight_map": {"logit_scale": name}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(NewsMatchError, match=r"index\.json (names the shard .* beside it|is damaged)"):
        weights_sha256(checkpoint)
