"""Contexts that are made longer, against Long-CLIP's own loop and against the models before."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoProcessor, CLIPModel

from hf_newsmatch import NewsMatchError, convert, interpolate, load_model
from hf_newsmatch.models.inputs import text_inputs
from hf_newsmatch.models.stretching import stretch_positions
from tests.utils.architectures import make_tiny
from tests.utils.news import CONTEXT
from tests.utils.open_clip import open_clip_tokens, write_open_clip

SHORT = ["storm closes harbour", "a", "", "one two three 4567"]
LONG = ["many letters in a text " * 5, "many letters in a text " * 4]
LONGER = 70


def long_clip(old: np.ndarray, keep: int = 20) -> np.ndarray:
    """The table of `load_from_clip` in Long-CLIP's published code, four times as long behind the first positions."""
    length, width = old.shape
    new = np.zeros((4 * length - 3 * keep, width))
    new[:keep] = old[:keep]
    for i in range(length - 1 - keep):
        new[4 * i + keep] = old[i + keep]
        new[4 * i + 1 + keep] = 3 * old[i + keep] / 4 + old[i + 1 + keep] / 4
        new[4 * i + 2 + keep] = 2 * old[i + keep] / 4 + 2 * old[i + 1 + keep] / 4
        new[4 * i + 3 + keep] = old[i + keep] / 4 + 3 * old[i + 1 + keep] / 4
    step = old[length - 1] - old[length - 2]
    for quarter in range(4):
        new[4 * length - 3 * keep - 4 + quarter] = old[length - 1] + quarter * step / 4
    return new


def test_long_clips_table():
    old = np.random.default_rng(0).normal(size=(77, 5))
    expected = long_clip(old)
    assert len(expected) == 248
    np.testing.assert_allclose(stretch_positions(old, 248, keep=20), expected, atol=1e-12)
    # by default, the old positions take their places back
    mine = stretch_positions(old, 248)
    assert np.array_equal(mine[:77], old)
    np.testing.assert_allclose(mine[77:], expected[77:], atol=1e-12)
    for dtype in (np.float16, np.float32):
        assert stretch_positions(old.astype(dtype), 100).dtype == dtype


@pytest.fixture
def tiny(tmp_path):
    """A function that writes the tiny model of an architecture."""

    def write(name, seed=0):
        model, processor = make_tiny(name, seed)
        model.save_pretrained(tmp_path / f"{name}{seed}")
        processor.save_pretrained(tmp_path / f"{name}{seed}")
        return tmp_path / f"{name}{seed}"

    return write


def text_embeds(model, processor, texts) -> torch.Tensor:
    tokens = processor.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    names = ("input_ids", "attention_mask")
    with torch.no_grad():
        return model.get_text_features(**{name: tokens[name] for name in names}).pooler_output


KINDS = ["clip", "metaclip_2", "chinese_clip", "altclip", "vision-text-dual-encoder"]


@pytest.mark.parametrize("name", KINDS)
def test_short_texts_keep_their_embeddings(tiny, tmp_path, name):
    before, processor = load_model(tiny(name))
    folder = convert(tiny(name), tmp_path / "long", context_length=LONGER)
    after, longer = load_model(folder)
    assert longer.tokenizer.model_max_length == LONGER
    torch.testing.assert_close(
        text_embeds(after, longer, SHORT), text_embeds(before, processor, SHORT), atol=1e-6, rtol=0
    )
    # plain transformers agree
    plain, plain_processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    assert plain_processor.tokenizer.model_max_length == LONGER
    torch.testing.assert_close(text_embeds(plain, plain_processor, LONG), text_embeds(after, longer, LONG))
    # long texts, which were cut to the same, are told apart
    assert text_inputs(longer, LONG)["input_ids"].shape[1] == LONGER
    assert torch.equal(*text_embeds(before, processor, [LONG[0], LONG[0] + " more"]).split(1))
    ends = [f"{'a' * (CONTEXT + 4)} {end}" for end in ("x", "y")]
    first, second = text_embeds(after, longer, ends)
    assert not torch.allclose(first, second, atol=1e-4)
    # all else is as it was
    old, new = (load_file(path / "model.safetensors") for path in (tiny(name), folder))
    (table,) = [key for key in old if old[key].shape != new[key].shape]
    assert all(torch.equal(old[key], new[key]) for key in old if key != table)
    assert torch.equal(new[table][: len(old[table])], old[table])


def test_long_clips_own(tiny, tmp_path):
    folder = convert(tiny("clip"), tmp_path / "long", context_length=4 * CONTEXT - 60, keep_positions=20)
    table = "text_model.embeddings.position_embedding.weight"
    old, new = (load_file(path / "model.safetensors")[table] for path in (tiny("clip"), folder))
    np.testing.assert_allclose(new, long_clip(old.double().numpy()), atol=1e-6)
    assert CLIPModel.from_pretrained(folder).config.text_config.max_position_embeddings == 4 * CONTEXT - 60


@pytest.mark.parametrize("keep", [None, 5])
def test_models_that_were_stretched_alike_interpolate(tiny, tmp_path, keep):
    """To what the interpolated model is when it is stretched."""
    ends = [tiny("clip", seed) for seed in (0, 1)]
    longer = [
        convert(end, tmp_path / f"long{number}", context_length=LONGER, keep_positions=keep)
        for number, end in enumerate(ends)
    ]
    one = interpolate(*longer, 0.4, tmp_path / "one")
    other = convert(
        interpolate(*ends, 0.4, tmp_path / "short"), tmp_path / "other", context_length=LONGER, keep_positions=keep
    )
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=1e-6, rtol=0)
    assert load_model(one)[1].tokenizer.model_max_length == LONGER
    with pytest.raises(NewsMatchError, match=r"text_model\.embeddings\.position_embedding\.weight"):
        interpolate(ends[0], longer[1], 0.4, tmp_path / "none")


def test_a_tokenizer_that_cuts_before_the_positions_end(tiny, tmp_path):
    """Its limit alone is raised, as far as the positions go."""
    folder = tiny("vision-text-dual-encoder")
    processor = AutoProcessor.from_pretrained(folder)
    processor.tokenizer.model_max_length = 10
    processor.save_pretrained(folder)
    old = load_file(folder / "model.safetensors")
    for length in (15, CONTEXT):
        longer = convert(folder, tmp_path / "long", context_length=length)
        assert load_model(longer)[1].tokenizer.model_max_length == length
        new = load_file(longer / "model.safetensors")
        assert all(torch.equal(new[name], old[name]) for name in old)
    assert load_model(convert(folder, tmp_path / "long", context_length=30))[1].tokenizer.model_max_length == 30


def test_converted_and_stretched_at_once(tmp_path):
    theirs = write_open_clip(tmp_path / "theirs")
    folder = convert(tmp_path / "theirs", tmp_path / "long", context_length=LONGER)
    expected = theirs.encode_text(open_clip_tokens(SHORT))
    torch.testing.assert_close(text_embeds(*load_model(folder), SHORT), expected, atol=1e-5, rtol=0)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("siglip", {"context_length": 90}, "SigLIP, which reads every text padded to its whole context"),
        ("tipsv2", {"context_length": 90}, "TIPSv2, which reads every text padded"),
        ("align", {"context_length": 90}, "trained with texts of 64 tokens"),
        ("clip", {"context_length": CONTEXT}, f"reads texts of {CONTEXT} tokens; name a longer --context_length"),
        ("clip", {"context_length": 10**6}, "up to 8192, not 1000000"),
        ("clip", {"context_length": 90, "keep_positions": 0}, f"must lie between 1 and {CONTEXT - 2}"),
        ("clip", {"context_length": 90, "keep_positions": CONTEXT}, "without it, all of them stay"),
    ],
)
def test_what_is_not_stretched(tiny, tmp_path, name, settings, message):
    with pytest.raises(NewsMatchError, match=message) as caught:
        convert(tiny(name), tmp_path / "out", **settings)
    assert len(str(caught.value)) < 500
    assert not (tmp_path / "out").exists()
