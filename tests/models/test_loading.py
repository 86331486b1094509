import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_newsmatch import NewsMatchError, interpolate, load_clip
from hf_newsmatch.models.weights import weights_sha256
from tests.utils.news import make_model


def test_weights_come_in_float32_whatever_the_file_holds(checkpoints, tmp_path):
    half = tmp_path / "half"
    model, processor = load_clip(checkpoints / "zero_shot")
    model.half().save_pretrained(half)
    processor.save_pretrained(half)
    loaded, _ = load_clip(half)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert not loaded.training


def test_texts_are_cut_at_the_models_context(checkpoints, tmp_path):
    """Also when the tokenizer's own files allow more than the model has positions for."""
    folder = tmp_path / "long"
    shutil.copytree(checkpoints / "zero_shot", folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["model_max_length"] = 10**30
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    model, processor = load_clip(folder)
    assert processor.tokenizer.model_max_length == model.config.text_config.max_position_embeddings
    inputs = processor.tokenizer("x" * 500, truncation=True, return_tensors="pt")
    model.get_text_features(**inputs)


def test_refuses(checkpoints, tmp_path):
    with pytest.raises(NewsMatchError, match="absent"):
        load_clip(tmp_path / "absent")
    with pytest.raises(NewsMatchError, match="somebody/some-clip"):
        load_clip("somebody/some-clip")

    bert = tmp_path / "bert"
    bert.mkdir()
    (bert / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(NewsMatchError, match="'bert' checkpoint, not CLIP"):
        load_clip(bert)
    (bert / "config.json").write_text("{")
    with pytest.raises(NewsMatchError, match="bert"):
        load_clip(bert)

    damaged = tmp_path / "damaged"
    shutil.copytree(checkpoints / "zero_shot", damaged)
    tensors = load_file(damaged / "model.safetensors")
    del tensors["logit_scale"]
    save_file(tensors, damaged / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(NewsMatchError, match="lacks 1 weights of its own configuration, first logit_scale"):
        load_clip(damaged)
    (damaged / "model.safetensors").write_bytes(b"short")
    with pytest.raises(NewsMatchError, match="damaged"):
        load_clip(damaged)


def test_refuses_a_checkpoint_without_its_own_tokenizer(checkpoints, tmp_path):
    """transformers makes up a tokenizer of two tokens when the files are missing."""
    bare = tmp_path / "bare"
    shutil.copytree(checkpoints / "zero_shot", bare)
    for file in bare.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(NewsMatchError, match=r"bare' knows 2 tokens and the model \d+; put the model's own tokenizer"):
        load_clip(bare)
    with pytest.raises(NewsMatchError, match="bare' has no tokenizer"):
        interpolate(checkpoints / "zero_shot", bare, 0.5, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("rows", "fits"), [(-1, False), (0, True), (20, True), (200, False)])
def test_the_tokenizer_must_be_the_models(tmp_path, processor, rows, fits):
    """A table of embeddings may be padded, but no token may lie outside."""
    model = make_model(processor)
    model.text_model.resize_token_embeddings(len(processor.tokenizer) + rows)
    model.config.text_config.vocab_size = len(processor.tokenizer) + rows
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    if fits:
        load_clip(tmp_path)
    else:
        with pytest.raises(NewsMatchError, match="The tokenizer of"):
            load_clip(tmp_path)


def test_sha256_identifies_the_weights(checkpoints, tmp_path):
    digests = {weights_sha256(checkpoints / name) for name in ("zero_shot", "fine_tuned")}
    assert len(digests) == 2
    model, _ = load_clip(checkpoints / "zero_shot")
    for size in ("10KB", "20KB"):
        model.save_pretrained(tmp_path / size, max_shard_size=size)
    digests |= {weights_sha256(tmp_path / "10KB"), weights_sha256(tmp_path / "20KB")}
    assert len(digests) == 4
