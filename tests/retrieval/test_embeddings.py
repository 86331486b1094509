import pytest
import torch

from hf_newsmatch import NewsMatchError, embed_images, embed_texts
from tests.utils.news import make_picture

TEXTS = ["b", "a somewhat longer headline", "", "c", "a somewhat longer headline", "x" * 100]


def one_by_one(model, processor, texts):
    rows = []
    with torch.no_grad():
        for text in texts:
            inputs = processor.tokenizer([text], truncation=True, return_tensors="pt")
            rows.append(model.get_text_features(**inputs).pooler_output[0])
    rows = torch.stack(rows)
    return rows / rows.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_texts_equal_one_by_one(model, processor, batch_size):
    embeds = embed_texts(model, processor, TEXTS, batch_size=batch_size, progress=False)
    assert embeds.dtype == torch.float32
    assert torch.allclose(embeds, one_by_one(model, processor, TEXTS), atol=1e-5)
    assert torch.equal(embeds[1], embeds[4])


def test_each_distinct_text_is_embedded_once(model, processor, monkeypatch):
    seen = []
    features = model.get_text_features
    monkeypatch.setattr(model, "get_text_features", lambda **kw: seen.append(len(kw["input_ids"])) or features(**kw))
    embed_texts(model, processor, TEXTS * 3, batch_size=2, progress=False)
    assert sum(seen) == len(set(TEXTS))


def test_batches_are_only_as_wide_as_their_longest_text(model, processor, monkeypatch):
    widths = []
    features = model.get_text_features
    monkeypatch.setattr(
        model, "get_text_features", lambda **kw: widths.append(kw["input_ids"].shape[1]) or features(**kw)
    )
    embed_texts(model, processor, ["a long text", "b", "ab", "", "abc de"], batch_size=2, progress=False)
    # letters, and the two signs of beginning and end
    assert widths == [3, 7, 11]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_images_equal_one_by_one(model, processor, batch_size):
    pictures = [make_picture(seed, size=(17 + seed, 20)) for seed in range(7)]
    embeds = embed_images(model, processor, pictures, batch_size=batch_size, progress=False)
    assert embeds.dtype == torch.float32
    with torch.no_grad():
        for row, picture in zip(embeds, pictures):
            pixels = processor.image_processor(picture, return_tensors="pt")
            expected = model.get_image_features(**pixels).pooler_output[0]
            assert torch.allclose(row, expected / expected.norm(), atol=1e-5)


def test_images_by_worker_processes(model, processor, pairs):
    here = embed_images(model, processor, pairs["image"][:], progress=False)
    there = embed_images(model, processor, pairs["image"][:], batch_size=4, num_workers=2, progress=False)
    assert torch.allclose(here, there, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_models(model, processor, pairs, dtype):
    full = embed_images(model, processor, pairs["image"][:], progress=False)
    half = embed_images(model.to(dtype), processor, pairs["image"][:], progress=False)
    assert half.dtype == torch.float32
    assert torch.allclose(half.norm(dim=1), torch.ones(len(half)), atol=1e-5)
    assert (half * full).sum(dim=1).min() > 0.99


def test_nothing_to_embed(model, processor):
    assert embed_texts(model, processor, [], progress=False).shape == (0, 8)
    assert embed_images(model, processor, [], progress=False).shape == (0, 8)


def test_a_picture_that_cannot_be_opened_is_named(model, processor, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(NewsMatchError, match=r"broken\.jpg"):
        embed_images(model, processor, [str(tmp_path / "broken.jpg")], progress=False)
