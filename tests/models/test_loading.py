import json
import shutil
from pathlib import Path

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
    with pytest.raises(NewsMatchError, match=r"'bert' checkpoint, not a dual encoder.*these are clip, siglip"):
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
    shutil.copytree(bare, tmp_path / "bare too")
    with pytest.raises(NewsMatchError, match=r"Neither '.*bare' nor '.*bare too' has a tokenizer"):
        interpolate(tmp_path / "bare too", bare, 0.5, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def edited(checkpoints, tmp_path, file, path, value):
    """A checkpoint of which one setting is another."""
    folder = tmp_path / "edited"
    shutil.copytree(checkpoints / "zero_shot", folder)
    if not path:
        (folder / file).write_text(value)
        return folder
    settings = json.loads((folder / file).read_text())
    section = settings
    for name in path[:-1]:
        section = section[name]
    section[path[-1]] = value
    (folder / file).write_text(json.dumps(settings))
    return folder


CONFIG, PROCESSOR, TOKENIZER = "config.json", "processor_config.json", "tokenizer.json"
PIXELS = ["image_processor"]


@pytest.mark.parametrize(
    ("file", "path", "value", "sentence"),
    [
        (CONFIG, ["projection_dim"], 12, "of other sizes than its config.json says"),
        (CONFIG, ["text_config", "vocab_size"], 10**12, "a text_config.vocab_size of 1000000000000, which no"),
        (CONFIG, ["text_config", "hidden_size"], 10**400, "a text_config.hidden_size of 1000000000000000000…, which"),
        (CONFIG, ["text_config", "eos_token_id"], [], "a text_config.eos_token_id that is no number"),
        (CONFIG, ["vision_config", "patch_size"], 0, "a vision_config.patch_size of 0, which no"),
        (CONFIG, ["text_config", "num_hidden_layers"], 3, r"lacks \d+ weights of its own configuration"),
        (CONFIG, ["text_config", "num_hidden_layers"], 1, r"has \d+ weights that its config.json has no place for"),
        (CONFIG, ["vision_config", "hidden_size"], 16.0, "'hidden_size' expected int, got float"),
        (CONFIG, ["text_config", "num_attention_heads"], "two", "'num_attention_heads' expected int, got str"),
        (CONFIG, ["text_config", "hidden_act"], "none", "KeyError 'none'"),
        (CONFIG, ["text_config"], [1], "text_config"),
        (CONFIG, None, "[" * 100_000, "nested too deeply"),
        (CONFIG, None, "[]", "No checkpoint of a dual encoder"),
        (
            CONFIG,
            None,
            '{"model_type": "clip", "projection_dim": ' + "9" * 5000 + "}",
            "No checkpoint of a dual encoder",
        ),
        (TOKENIZER, None, "{}", "The tokenizer or image processor of .* cannot be read .KeyError 'added_tokens'."),
        (TOKENIZER, None, "[]", "The tokenizer or image processor of .* cannot be read"),
        (TOKENIZER, None, "[" * 100_000, "The tokenizer or image processor of .* cannot be read"),
        ("tokenizer_config.json", None, "[]", "The tokenizer or image processor of .* cannot be read"),
        (PROCESSOR, [*PIXELS, "crop_size"], {"height": 60_000, "width": 60_000}, "pictures of 60000 x 60000 pixels"),
        (PROCESSOR, [*PIXELS, "size"], {"shortest_edge": 60_000}, "pictures of 60000 x 60000 pixels"),
        (PROCESSOR, [*PIXELS, "crop_size"], {"height": 17, "width": 16}, "of 17 x 16 pixels .* reads 16 x 16"),
        (PROCESSOR, [*PIXELS, "image_std"], [0, 0, 0], "makes pixels that are no numbers"),
        (PROCESSOR, [*PIXELS, "image_mean"], [0.5], "mean must have 3 elements"),
        (PROCESSOR, None, "[]", "The tokenizer or image processor of .* cannot be read"),
    ],
)
def test_foreign_files_of_a_checkpoint_are_refused_in_one_sentence(checkpoints, tmp_path, file, path, value, sentence):
    with pytest.raises(NewsMatchError, match=sentence) as error:
        load_clip(edited(checkpoints, tmp_path, file, path, value))
    assert len(str(error.value)) < 500
    assert "\n" not in str(error.value)


def test_a_pickle_that_could_run_code_is_not_opened(checkpoints, tmp_path):
    class Foreign:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    folder = tmp_path / "pickle"
    shutil.copytree(checkpoints / "zero_shot", folder)
    (folder / "model.safetensors").unlink()
    torch.save({"logit_scale": torch.tensor(1.0), "foreign": Foreign()}, folder / "pytorch_model.bin")
    for use in (load_clip, lambda name: interpolate(name, checkpoints / "fine_tuned", 0.5, tmp_path / "out")):
        with pytest.raises(NewsMatchError, match=r"are a pickle .* which could run foreign code and is not opened"):
            use(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["someone/misspelt", "misspelt"])
def test_a_misspelt_name_may_have_been_a_folder_or_a_model_of_the_hub(checkpoints, tmp_path, name):
    sentence = f"There is neither a folder '{name}' nor a checkpoint of that name on the Hub that can be read"
    for use in (load_clip, lambda name: interpolate(name, checkpoints / "fine_tuned", 0.5, tmp_path / "out")):
        with pytest.raises(NewsMatchError, match=sentence):
            use(name)


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
