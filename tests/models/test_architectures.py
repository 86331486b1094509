"""Every architecture against plain transformers: the entry's facts, and the embeddings that follow from them."""

import re
from fnmatch import fnmatchcase

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, SiglipModel, SiglipProcessor, SiglipTokenizer

from hf_newsmatch import NewsMatchError, embed_images, embed_texts, interpolate, load_clip, load_model
from hf_newsmatch.hub.files import checkpoint_files
from hf_newsmatch.models.architectures import ARCHITECTURES, CLIP, architecture_of
from tests.utils.architectures import MAKERS, make_tiny
from tests.utils.news import CONTEXT, make_picture

TEXTS = ["", "a", "Storm closes the harbour", "STORM", "Überraschung für Köln, große Straße", "word " * 60, "a b c"]


@pytest.fixture(params=MAKERS)
def tiny(request, tmp_path):
    """The name of an architecture, a folder with a tiny checkpoint of it, and its model and processor."""
    model, processor = make_tiny(request.param)
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    return request.param, tmp_path / "model", model, processor


def test_all_are_tried():
    assert set(MAKERS) == set(ARCHITECTURES)


def test_every_weight_has_its_tower_layer_and_place(tiny):
    """Against the modules that own the weights, of the model and, for the towers, of its file."""
    _, folder, model, _ = tiny
    architecture = architecture_of(model.config)
    projections = {"vision": ["visual_projection"], "text": ["text_projection"]}
    for tower, module in (("vision", model.vision_model), ("text", model.text_model)):
        own = [key for key, _ in model.named_parameters() if key.startswith((f"{tower}_model.", *projections[tower]))]
        assert own == [key for key, _ in model.named_parameters() if architecture.tower(key) == tower]
        assert all(any(fnmatchcase(key, pattern) for pattern in architecture.patterns(tower)) for key in own)
        places = architecture.places(key for key, _ in model.named_parameters())
        (layers,) = [
            item
            for path, item in module.named_modules()
            if isinstance(item, torch.nn.ModuleList) and re.search(r"(^|\.)(layers?|blocks)$", path)
        ]
        for number, layer in enumerate(layers):
            of_layer = {id(parameter) for parameter in layer.parameters()}
            found = {places[key] for key, parameter in model.named_parameters() if id(parameter) in of_layer}
            assert found == {(tower, len(layers) - number)}
        embeddings = next(item for path, item in module.named_modules() if path.split(".")[-1] == "embeddings")
        below = {id(parameter) for parameter in embeddings.parameters()}
        assert below
        found = {places[key] for key, parameter in model.named_parameters() if id(parameter) in below}
        assert found == {(tower, len(layers) + 1)}
    others = {key for key, _ in model.named_parameters() if architecture.tower(key) is None}
    assert others == set(architecture.scalars)
    in_file = load_file(folder / "model.safetensors")
    assert {key for key in in_file if architecture.tower(key) is None} == set(architecture.scalars)


def test_the_pre_norm_of_clip_is_below_its_layers(model):
    places = CLIP.places(key for key, _ in model.named_parameters())
    assert places["vision_model.pre_layrnorm.weight"] == ("vision", 3)
    assert places["vision_model.post_layernorm.weight"] == ("vision", 0)
    assert places["logit_scale"] == (None, 0)


def test_texts_are_embedded_as_plain_transformers_does(tiny):
    """Each text alone, prepared as the model's documentation says."""
    name, folder, _, processor = tiny
    plain = AutoModel.from_pretrained(folder).eval()
    ours = embed_texts(*load_model(folder), TEXTS, progress=False)
    fixed = name in ("siglip", "siglip2", "tipsv2")
    padding = {"padding": "max_length" if fixed else True, "max_length": CONTEXT}
    for text, row in zip(TEXTS, ours):
        tokens = processor.tokenizer([text], truncation=True, return_tensors="pt", **padding)
        names = ["input_ids"] if name.startswith("siglip") else ["input_ids", "attention_mask"]
        with torch.no_grad():
            embeds = plain.get_text_features(**{key: tokens[key] for key in names}).pooler_output
        expected = torch.nn.functional.normalize(embeds[0], dim=-1)
        assert (row - expected).abs().max() < 1e-5, text
    assert (ours[2] - ours[3]).abs().max() > 1e-3, "different texts differ"


def test_pictures_are_embedded_as_plain_transformers_does(tiny):
    _, folder, _, processor = tiny
    plain = AutoModel.from_pretrained(folder).eval()
    pictures = [make_picture(seed, size) for seed, size in enumerate([(20, 18), (40, 10), (9, 30)])]
    ours = embed_images(*load_model(folder), pictures, batch_size=2, progress=False)
    for picture, row in zip(pictures, ours):
        inputs = processor.image_processor([picture], return_tensors="pt")
        with torch.no_grad():
            embeds = plain.get_image_features(**inputs).pooler_output
        expected = torch.nn.functional.normalize(embeds[0], dim=-1)
        assert (row - expected).abs().max() < 1e-5
    assert (ours[0] - ours[1]).abs().max() > 1e-3


def test_what_padding_would_change_in_silence():
    """SigLIP has no attention mask: padded to the longest, the same text would be another."""
    model, processor = make_tiny("siglip")
    with torch.no_grad():
        embeds = [
            model.get_text_features(
                processor.tokenizer(["storm"], padding=padding, max_length=CONTEXT, return_tensors="pt").input_ids
            ).pooler_output
            for padding in (True, "max_length")
        ]
    assert (embeds[0] - embeds[1]).abs().max() > 1e-2


def test_an_unknown_kind_is_refused_with_the_list(tmp_path):
    AutoConfig.for_model("bert").save_pretrained(tmp_path)
    with pytest.raises(NewsMatchError, match=r"is a 'bert' checkpoint, not a dual encoder.*clip, siglip, siglip2"):
        load_model(tmp_path)
    with pytest.raises(NewsMatchError, match="'clipseg'"):
        architecture_of({"model_type": "clipseg"})


def test_load_clip_is_its_other_name():
    assert load_clip is load_model


@pytest.mark.parametrize(
    ("kind", "language", "expected"),
    [("clip", "de", False), ("clip", "en", True), ("siglip2", "de", True), ("vision-text-dual-encoder", "de", None)],
)
def test_languages(kind, language, expected):
    assert ARCHITECTURES[kind].reads(language) is expected


def test_positions_that_cannot_be_used_are_not():
    model, _ = make_tiny("altclip")
    assert model.config.text_config.max_position_embeddings == CONTEXT + 2
    assert ARCHITECTURES["altclip"].text_length(model.config, 10**9) == CONTEXT


def test_a_tower_without_positions_goes_by_its_tokenizer(tmp_path):
    model, _ = make_tiny("vision-text-dual-encoder")
    entry = ARCHITECTURES["vision-text-dual-encoder"]
    assert entry.text_length(model.config, 10) == 10
    assert entry.text_length(model.config, 10**30) == CONTEXT
    del model.config.text_config.max_position_embeddings
    assert entry.text_length(model.config, 17) == 17


def test_the_sentencepiece_tokenizer_of_siglip(tmp_path):
    """Which earlier checkpoints have, in place of SigLIP 2's; it drops punctuation, and needs protobuf."""
    lines = [f"storm closes the harbour and the stadium wins a goal {number}" for number in range(300)]
    (tmp_path / "lines.txt").write_text("\n".join(lines))
    ids = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "lines.txt"), model_prefix=str(tmp_path / "spiece"), vocab_size=60, **ids
    )
    tokenizer = SiglipTokenizer(str(tmp_path / "spiece.model"), model_max_length=CONTEXT)
    tiny, processor = make_tiny("siglip")
    tiny.config.text_config.vocab_size = len(tokenizer)
    model = SiglipModel(tiny.config).eval()
    model.save_pretrained(tmp_path / "model")
    SiglipProcessor(processor.image_processor, tokenizer).save_pretrained(tmp_path / "model")
    texts = ["STORM closes, the harbour!", "", "goal"]
    loaded, own = load_model(tmp_path / "model")
    assert type(own.tokenizer) is SiglipTokenizer
    ours = embed_texts(loaded, own, texts, progress=False)
    tokens = tokenizer(texts, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt")
    with torch.no_grad():
        expected = model.get_text_features(input_ids=tokens.input_ids).pooler_output
    assert (ours - torch.nn.functional.normalize(expected, dim=-1)).abs().max() < 1e-5
    # and its files go along
    folder = interpolate(tmp_path / "model", tmp_path / "model", 0.5, tmp_path / "wise_ft")
    assert torch.equal(embed_texts(*load_model(folder), texts, progress=False), ours)
    assert "spiece.model" in checkpoint_files(folder) or "tokenizer.json" in checkpoint_files(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_fresh_temperature_is_known_in_any_precision(dtype):
    entry, config = ARCHITECTURES["vision-text-dual-encoder"], {"logit_scale_init_value": 2.6592}
    assert entry.is_fresh(torch.tensor(2.6592, dtype=dtype).item(), config)
    assert not entry.is_fresh(torch.tensor(2.7, dtype=dtype).item(), config)
    assert not ARCHITECTURES["clip"].is_fresh(2.6592, config)
