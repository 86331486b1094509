import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPModel, CLIPProcessor

from hf_newsmatch import NewsMatcher, NewsMatchError
from tests.utils.news import make_model, make_picture

TEXTS = ["storm at the harbour", "the cup final, again", "storm at the harbour"]


@pytest.fixture
def matcher(checkpoints) -> NewsMatcher:
    return NewsMatcher.from_pretrained(checkpoints / "fine_tuned", device="cpu")


@pytest.fixture
def files(tmp_path) -> list[str]:
    names = [str(tmp_path / f"{seed}.png") for seed in range(5)]
    for seed, name in enumerate(names):
        make_picture(seed).save(name)
    return names


def test_the_numbers_of_plain_transformers(matcher, checkpoints, files):
    model = CLIPModel.from_pretrained(checkpoints / "fine_tuned")
    processor = CLIPProcessor.from_pretrained(checkpoints / "fine_tuned", backend="pil")
    pictures = [Image.open(file) for file in files]
    inputs = processor(text=TEXTS, images=pictures, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    expected = (outputs.text_embeds @ outputs.image_embeds.T).numpy()

    ranking = matcher.rank(TEXTS, files, k=5)
    assert ranking.article_ids == ["0", "1", "2"]
    for row, names, scores in zip(expected, ranking.image_ids, ranking.scores):
        assert names == [files[place] for place in np.argsort(-row, kind="stable")]
        np.testing.assert_allclose(scores, -np.sort(-row), atol=1e-6)


def test_pictures_in_every_form(matcher, files):
    expected = matcher.rank(TEXTS, files, k=3)
    opened = matcher.rank(TEXTS, [Image.open(file) for file in files], k=3)
    assert [[files[int(place)] for place in row] for row in opened.image_ids] == expected.image_ids
    named = matcher.rank(
        {"a": TEXTS[0], "b": TEXTS[1]}, {f"p{n}": Path(file).read_bytes() for n, file in enumerate(files)}, k=3
    )
    assert named.article_ids == ["a", "b"]
    assert [[files[int(name[1:])] for name in row] for row in named.image_ids] == expected.image_ids[:2]
    assert named.scores == expected.scores[:2]


def test_an_archive_is_embedded_once(matcher, files):
    archive = matcher.embed_images(files, progress=False)
    assert (archive.shape, archive.dtype) == ((5, 8), torch.float32)
    torch.testing.assert_close(archive.norm(dim=1), torch.ones(5))
    expected = matcher.rank(TEXTS, files)
    ranking = matcher.rank(TEXTS, archive, image_ids=files)
    assert (ranking.image_ids, ranking.scores) == (expected.image_ids, expected.scores)
    assert matcher.rank(TEXTS, archive).image_ids[0] == [str(files.index(name)) for name in expected.image_ids[0]]


def test_dropout_is_off(processor, files):
    """A model that comes from training is in training mode."""
    model = make_model(processor)
    model.config.text_config.attention_dropout = 0.5
    assert not NewsMatcher(model.train(), processor).model.training


@pytest.mark.parametrize(
    ("texts", "images", "options", "message"),
    [
        ("one headline", ["p"], {}, "texts is one string"),
        (["a"], "picture.jpg", {}, "images is one path"),
        (["a"], [], {}, "no candidate pictures"),
        (["a"], ["nowhere.jpg"], {}, "nowhere.jpg cannot be used: missing"),
        (["a"], torch.eye(3, 8), {"image_ids": ["p", "q"]}, "2 image ids but 3"),
        (["a"], torch.eye(2, 8), {"image_ids": ["p", "p"]}, "'p' occurs more than once"),
        (["a"], torch.eye(2, 9), {}, "8 dimensions and those of images 9"),
        (["a"], torch.eye(2, 8), {"k": 0}, "k must be at least 1"),
        (["a"], {"p": "nowhere.jpg"}, {"image_ids": ["q"]}, "leave image_ids out"),
    ],
)
def test_what_is_refused(matcher, texts, images, options, message):
    with pytest.raises(NewsMatchError, match=message):
        matcher.rank(texts, images, **options)


def test_no_checkpoint(tmp_path):
    with pytest.raises(NewsMatchError, match="No checkpoint of a dual encoder"):
        NewsMatcher.from_pretrained(tmp_path)


def test_a_saved_matcher_is_an_ordinary_checkpoint(matcher, files, tmp_path):
    folder = matcher.save_pretrained(tmp_path / "new" / "saved")
    assert folder == tmp_path / "new" / "saved"
    assert [path.name for path in folder.parent.iterdir()] == ["saved"], "nothing temporary stays"
    assert {path.suffix for path in folder.iterdir()} <= {".json", ".safetensors", ".txt"}
    again = NewsMatcher.from_pretrained(folder, device="cpu")
    assert torch.equal(again.embed_texts(TEXTS), matcher.embed_texts(TEXTS))
    assert torch.equal(again.embed_images(files, progress=False), matcher.embed_images(files, progress=False))
    plain = CLIPProcessor.from_pretrained(folder, backend="pil")(text=TEXTS, padding=True, return_tensors="pt")
    expected = CLIPModel.from_pretrained(folder).get_text_features(**plain).pooler_output
    torch.testing.assert_close(again.embed_texts(TEXTS), torch.nn.functional.normalize(expected), atol=1e-6, rtol=0)


def test_saving_replaces_a_checkpoint_whole_and_nothing_else(matcher, checkpoints, tmp_path, monkeypatch):
    shutil.copytree(checkpoints / "zero_shot", tmp_path / "saved")
    (tmp_path / "saved" / "model-00001-of-00002.safetensors").write_bytes(b"of the old one")
    matcher.save_pretrained(str(tmp_path / "saved"))
    assert not (tmp_path / "saved" / "model-00001-of-00002.safetensors").exists()
    assert torch.equal(NewsMatcher.from_pretrained(tmp_path / "saved").embed_texts(TEXTS), matcher.embed_texts(TEXTS))

    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    with pytest.raises(NewsMatchError, match="thesis is no checkpoint and is not replaced"):
        matcher.save_pretrained(tmp_path / "thesis")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    before = (tmp_path / "saved" / "model.safetensors").read_bytes()
    monkeypatch.setattr(matcher.processor, "save_pretrained", full)
    with pytest.raises(OSError, match="No space left"):
        matcher.save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "model.safetensors").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"saved", "thesis"}
