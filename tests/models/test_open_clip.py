"""Checkpoints of open_clip against its towers written out again in torch."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize
from transformers import CLIPModel, CLIPProcessor

from hf_newsmatch import NewsMatchError, convert, embed_images, embed_texts, interpolate, load_model
from hf_newsmatch.models.weights import open_weights, weights_sha256
from tests.utils.news import make_picture
from tests.utils.open_clip import make_config, open_clip_pixels, open_clip_tokens, write_open_clip

TEXTS = ["storm closes the harbour", "", "a", "UPPER Case, 2023", "a text of many more letters than the context has"]
# where 3, 7, 11 … pixels are cut off, transformers' CLIP takes another half pixel than torchvision
PICTURES = [make_picture(0), make_picture(1, (16, 40)), make_picture(2, (33, 18))]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache, and the folder of it that holds conversions."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("hf_newsmatch.models.converted._known", {})
    return tmp_path / "cache" / "newsmatch" / "open_clip"


def made(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.is_dir()]


def assert_same(model, processor, theirs, config) -> None:
    """The embeddings of texts and pictures are open_clip's."""
    with torch.no_grad():
        tokens = processor.tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
        texts = model.get_text_features(**tokens).pooler_output
        pixels = processor.image_processor(PICTURES, return_tensors="pt")["pixel_values"]
        images = model.get_image_features(pixels).pooler_output
    torch.testing.assert_close(texts, theirs.encode_text(open_clip_tokens(TEXTS)), atol=1e-5, rtol=0)
    torch.testing.assert_close(images, theirs.encode_image(open_clip_pixels(PICTURES, config)), atol=1e-5, rtol=0)
    assert model.logit_scale.item() == theirs.logit_scale.item()
    # and ours
    ours = [embed_texts(model, processor, TEXTS, progress=False), embed_images(model, processor, PICTURES)]
    for mine, plain in zip(ours, (texts, images)):
        np.testing.assert_allclose(mine, normalize(plain, dim=-1), atol=1e-5)


@pytest.mark.parametrize("quick_gelu", [True, False])
@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pt"])
def test_embeddings_are_those_of_open_clip(tmp_path, quick_gelu, suffix):
    config = make_config(quick_gelu=quick_gelu)
    theirs = write_open_clip(tmp_path / "theirs", config, suffix=suffix)
    folder = convert(tmp_path / "theirs", tmp_path / "converted")
    assert_same(
        CLIPModel.from_pretrained(folder), CLIPProcessor.from_pretrained(folder, backend="pil"), theirs, config
    )
    assert_same(*load_model(tmp_path / "theirs"), theirs, config)
    # the other activation gives others
    other = write_open_clip(tmp_path / "other", make_config(quick_gelu=not quick_gelu))
    assert (
        other.encode_text(open_clip_tokens(TEXTS)) - theirs.encode_text(open_clip_tokens(TEXTS))
    ).abs().max() > 1e-4


@pytest.mark.parametrize("resize_mode", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "random"])
def test_pictures_are_prepared_as_there(tmp_path, resize_mode, interpolation):
    config = make_config()
    config["preprocess_cfg"] |= {"resize_mode": resize_mode, "interpolation": interpolation}
    theirs = write_open_clip(tmp_path / "theirs", config)
    assert_same(*load_model(tmp_path / "theirs"), theirs, config)


@pytest.mark.parametrize(
    "changes",
    [
        {"text_cfg": {"act_kwargs": {"approximate": "tanh"}}, "vision_cfg": {"act_kwargs": {"approximate": "tanh"}}},
        {"vision_cfg": {"norm_kwargs": {"eps": 0.1}}},
        {"vision_cfg": {"image_size": [16, 16], "patch_dropout": 0.5}, "init_logit_scale": 1.0, "custom_text": False},
    ],
)
def test_settings_that_have_a_counterpart(tmp_path, changes):
    config = make_config(**changes)
    config["model_cfg"]["vision_cfg"]["image_size"] = 16
    theirs = write_open_clip(tmp_path / "theirs", config)
    shown = json.loads((tmp_path / "theirs" / "open_clip_config.json").read_text())
    shown["model_cfg"]["vision_cfg"].update(changes.get("vision_cfg", {}))
    (tmp_path / "theirs" / "open_clip_config.json").write_text(json.dumps(shown))
    assert_same(*load_model(tmp_path / "theirs"), theirs, config)


def change(folder: Path, do) -> None:
    file = folder / "open_clip_model.safetensors"
    save_file({name: tensor.clone() for name, tensor in do(load_file(file)).items()}, file)


@pytest.mark.parametrize(
    "do",
    [
        lambda name: f"module.{name}",
        # of a model that is built with custom_text
        lambda name: name if name.startswith(("visual.", "logit")) else f"text.{name}",
    ],
)
def test_names_with_prefixes(tmp_path, do):
    theirs = write_open_clip(tmp_path / "theirs")
    change(tmp_path / "theirs", lambda tensors: {do(name): tensor for name, tensor in tensors.items()})
    assert_same(*load_model(tmp_path / "theirs"), theirs, make_config())


def test_a_state_of_a_training_and_a_scale_of_one_value(tmp_path):
    theirs = write_open_clip(tmp_path / "theirs", suffix=".pt")
    file = tmp_path / "theirs" / "open_clip_pytorch_model.pt"
    state = {**torch.load(file), "logit_scale": torch.tensor([3.5])}
    torch.save({"epoch": 3, "name": "x", "state_dict": state}, file)
    assert_same(*load_model(tmp_path / "theirs"), theirs, make_config())


def test_the_dtype_stays(tmp_path):
    write_open_clip(tmp_path / "theirs")
    for dtype in (torch.float16, torch.bfloat16):
        change(
            tmp_path / "theirs", lambda tensors, to=dtype: {name: tensor.to(to) for name, tensor in tensors.items()}
        )
        folder = convert(tmp_path / "theirs", tmp_path / "converted")
        assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {dtype}
        assert CLIPModel.from_pretrained(folder).dtype == dtype
        assert load_model(folder)[0].dtype == torch.float32


def test_a_tokenizer_from_elsewhere(tmp_path, processor):
    theirs = write_open_clip(tmp_path / "theirs", tokenizer=False)
    with pytest.raises(
        NewsMatchError, match=r"no tokenizer files in '.*theirs'; name .* hf-newsmatch convert --token"
    ):
        load_model(tmp_path / "theirs")
    processor.tokenizer.save_pretrained(tmp_path / "tokens")
    folder = convert(tmp_path / "theirs", tmp_path / "converted", tokenizer=tmp_path / "tokens")
    assert_same(*load_model(folder), theirs, make_config())


REFUSED = [
    ({"vision_cfg": {"timm_model_name": "convnext_base"}}, "its vision tower is timm's convnext_base"),
    ({"vision_cfg": {"layers": [3, 4, 6, 3]}}, "its vision tower is a ResNet"),
    ({"text_cfg": {"hf_model_name": "xlm-roberta-base"}}, "its text tower is xlm-roberta-base, not CLIP's own"),
    ({"text_cfg": {"hf_tokenizer_name": "t5-base"}}, "its tokenizer is t5-base, not CLIP's"),
    ({"multimodal_cfg": {"layers": 2}}, "it is a CoCa"),
    ({"init_logit_bias": -10}, "it has a logit_bias, as SigLIP"),
    ({"text_cfg": {"pool_type": "last"}}, "the pool_type of its text_cfg is last"),
    ({"text_cfg": {"no_causal_mask": True}}, "the no_causal_mask of its text_cfg is True"),
    ({"text_cfg": {"embed_cls": True}}, "the embed_cls of its text_cfg is True"),
    ({"text_cfg": {"tokenizer_kwargs": {"clean": "canonicalize"}}}, "the tokenizer_kwargs of its text_cfg"),
    ({"vision_cfg": {"attentional_pool": True}}, "the attentional_pool of its vision_cfg is True"),
    ({"vision_cfg": {"ls_init_value": 0.1}}, "the ls_init_value of its vision_cfg is 0.1"),
    ({"vision_cfg": {"pool_type": "avg"}}, "the pool_type of its vision_cfg is avg"),
    ({"vision_cfg": {"no_ln_pre": True}}, "the no_ln_pre of its vision_cfg is True"),
    ({"vision_cfg": {"image_size": [16, 24]}}, r"the image_size in its open_clip_config.json is \[16, 24\]"),
    ({"vision_cfg": {"width": "wide"}}, "the width in its open_clip_config.json is wide"),
    ({"vision_cfg": {"layers": 10**6}}, "has 1000000 layers"),
    ({"embed_dim": None}, "the embed_dim in its open_clip_config.json is missing"),
    ({"text_cfg": {"context_length": 25}}, r"positional_embedding is of shape \(24, 12\) and .* says \(25, 12\)"),
    (
        {"text_cfg": {"layers": 4}},
        "12 weights of its open_clip_config.json are missing, first transformer.resblocks.3",
    ),
    ({"text_cfg": {"layers": 2}}, "has no place for 12 weights, first transformer.resblocks.2"),
    ({"vision_cfg": {"head_width": 5}}, None),  # 3 heads of a width of 16
    ({"something_new": True}, "its setting something_new is True"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_cannot_be_converted_is_named(tmp_path, capsys, changes, message):
    write_open_clip(tmp_path / "theirs")
    (tmp_path / "theirs" / "open_clip_config.json").write_text(json.dumps(make_config(**changes)))
    for do in (load_model, lambda folder: convert(folder, tmp_path / "out")):
        with pytest.raises(NewsMatchError, match=message) as caught:
            do(tmp_path / "theirs")
        assert "theirs' is laid out by open_clip and cannot be converted: " in str(caught.value)
        assert len(str(caught.value)) < 500
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resize_mode": "longest"}, "its pictures are resized by 'longest'"),
        ({"interpolation": "nearest"}, "interpolation 'nearest'"),
        ({"mean": [0.5]}, r"the mean of its pictures is \[0.5\], not three numbers"),
    ],
)
def test_pictures_that_cannot_be_prepared(tmp_path, settings, message):
    config = make_config()
    config["preprocess_cfg"] |= settings
    write_open_clip(tmp_path / "theirs", config)
    with pytest.raises(NewsMatchError, match=message):
        load_model(tmp_path / "theirs")


class Foreign:
    """Would leave a file behind if it were unpickled."""

    def __reduce__(self):
        return (open, ("unpickled", "w"))


def test_files_that_are_no_weights(tmp_path, monkeypatch, processor):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "theirs"
    write_open_clip(folder, suffix=".bin")
    file = folder / "open_clip_pytorch_model.bin"
    for write in (
        lambda: torch.save({"logit_scale": Foreign()}, file),
        lambda: file.write_bytes(pickle.dumps(Foreign())),
        lambda: file.write_bytes(b"none"),
        lambda: file.write_bytes(b""),
    ):
        write()
        with pytest.raises(
            NewsMatchError, match=r"open_clip_pytorch_model\.bin is damaged, or holds more than tensors"
        ):
            load_model(folder)
    assert not (tmp_path / "unpickled").exists()
    file.unlink()
    with pytest.raises(NewsMatchError, match=r"it has none of open_clip_model\.safetensors, open_clip_pytorch_model"):
        load_model(folder)
    for text in ("", "[]", "{}", '{"model_cfg": {"vision_cfg": 3, "text_cfg": {}}}', "[" * 10**5):
        (folder / "open_clip_config.json").write_text(text)
        with pytest.raises(NewsMatchError, match=r"open_clip_config\.json is no configuration of open_clip"):
            load_model(folder)
    # tokenizers of another kind
    write_open_clip(folder)
    config = json.loads((folder / "tokenizer.json").read_text())
    config["model"]["vocab"].pop("z</w>")
    (folder / "tokenizer.json").write_text(json.dumps(config))
    with pytest.raises(NewsMatchError, match=r"the tokenizer of .* is not CLIP's of 80 tokens"):
        load_model(folder)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(NewsMatchError, match=r"the tokenizer of .* cannot be read"):
        load_model(folder)


def test_a_folder_is_converted_once(tmp_path, cache, monkeypatch):
    write_open_clip(tmp_path / "theirs")
    first = weights_sha256(tmp_path / "theirs")
    (folder,) = made(cache)
    assert first == weights_sha256(folder) == weights_sha256(convert(tmp_path / "theirs", tmp_path / "converted"))
    changed = (folder / "model.safetensors").stat().st_mtime_ns
    shutil.copytree(tmp_path / "theirs", tmp_path / "copy")
    for name in ("theirs", "copy"):
        load_model(tmp_path / name)
        assert weights_sha256(tmp_path / name) == first
    assert [(path, (path / "model.safetensors").stat().st_mtime_ns) for path in made(cache)] == [(folder, changed)]

    # what was removed, or was never finished, is made again, and is the same
    for gone in (folder / "model.safetensors", folder / "open_clip.json"):
        gone.unlink()
        assert weights_sha256(tmp_path / "theirs") == first
    shutil.rmtree(cache)
    assert weights_sha256(tmp_path / "theirs") == first

    # other settings, other weights, another tokenizer: another folder
    (tmp_path / "theirs" / "open_clip_config.json").write_text(json.dumps(make_config(quick_gelu=True)))
    model, _ = load_model(tmp_path / "theirs")
    assert model.config.text_config.hidden_act == model.config.vision_config.hidden_act == "quick_gelu"
    assert len(made(cache)) == 2
    write_open_clip(tmp_path / "theirs", seed=1)
    assert weights_sha256(tmp_path / "theirs") != first
    assert len(made(cache)) == 3


def test_a_conversion_that_fails_leaves_nothing(tmp_path, cache, monkeypatch):
    write_open_clip(tmp_path / "theirs")

    def fail(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("hf_newsmatch.models.open_clip.save_processor", fail)
        with pytest.raises(KeyboardInterrupt):
            load_model(tmp_path / "theirs")
    assert made(cache) == []
    load_model(tmp_path / "theirs")


def test_a_folder_in_both_layouts_is_loaded_as_it_is(checkpoints, tmp_path, cache):
    folder = shutil.copytree(checkpoints / "zero_shot", tmp_path / "both")
    before = weights_sha256(folder)
    write_open_clip(folder, tokenizer=False)
    assert weights_sha256(folder) == before
    with pytest.raises(NewsMatchError, match="is a checkpoint of transformers already"):
        convert(folder, tmp_path / "out")
    assert not cache.exists()
    # with its configuration alone, it is open_clip's
    (folder / "model.safetensors").unlink()
    assert weights_sha256(folder) not in (before, None)


def test_interpolated_as_any_other(tmp_path):
    for seed in (0, 1):
        write_open_clip(tmp_path / str(seed), seed=seed)
    out = interpolate(tmp_path / "0", tmp_path / "1", 0.25, tmp_path / "out")
    with open_weights(tmp_path / "0") as first, open_weights(tmp_path / "1") as second:
        for name, tensor in load_file(out / "model.safetensors").items():
            torch.testing.assert_close(tensor, 0.75 * first[name] + 0.25 * second[name])
    load_model(out, strict=True)


@pytest.fixture
def on_the_hub(tmp_path, monkeypatch) -> Path:
    """The snapshot of `user/open`, as a download left it; the tests are offline."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--user--open"
    write_open_clip(repository / "snapshots" / ("1" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("1" * 40)
    return repository / "snapshots" / ("1" * 40)


def test_a_hub_id(on_the_hub, tmp_path):
    """The commit that was loaded is in the configuration, where the record of an experiment takes it from."""
    model, _ = load_model("user/open")
    assert model.config._commit_hash == "1" * 40
    expected = weights_sha256(on_the_hub)
    assert weights_sha256("user/open") == weights_sha256("user/open", "1" * 40, offline=True) == expected
    assert weights_sha256(convert("user/open", tmp_path / "out")) == expected
    # it is asked for once, and converted again where that is gone
    shutil.move(on_the_hub / "open_clip_config.json", tmp_path)
    assert weights_sha256("user/open") == expected
    shutil.move(tmp_path / "open_clip_config.json", on_the_hub)
    shutil.rmtree(tmp_path / "cache")
    assert weights_sha256("user/open") == expected


def test_a_hub_id_that_was_downloaded_in_part(on_the_hub):
    (on_the_hub / "open_clip_model.safetensors").unlink()
    assert weights_sha256("user/open", offline=True) is None
    assert weights_sha256("user/other", offline=True) is None


def test_convert_refuses_what_it_does_not_make(checkpoints, tmp_path, processor):
    write_open_clip(tmp_path / "theirs")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    cases = [
        (tmp_path / "none", {}, "There is neither a folder"),
        (tmp_path / "theirs", {"output_dir": tmp_path / "full"}, "full is no checkpoint and is not replaced by one"),
        (tmp_path / "theirs", {"output_dir": tmp_path / "theirs"}, "is the checkpoint itself; name another"),
        (tmp_path / "theirs", {"keep_positions": 20}, "--keep_positions belongs to --context_length"),
        (checkpoints / "zero_shot", {"tokenizer": "x", "context_length": 30}, "leave --tokenizer out"),
    ]
    for name, settings, message in cases:
        with pytest.raises(NewsMatchError, match=message):
            convert(name, **{"output_dir": tmp_path / "out", **settings})
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"
    # an older checkpoint is replaced
    convert(tmp_path / "theirs", tmp_path / "out")
    write_open_clip(tmp_path / "theirs", seed=1)
    convert(tmp_path / "theirs", tmp_path / "out")
    assert weights_sha256(tmp_path / "out") == weights_sha256(tmp_path / "theirs")
