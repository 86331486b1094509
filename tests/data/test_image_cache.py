import copy
import os
import shutil
import time

import datasets
import numpy as np
import pytest
import torch
from datasets import Image
from PIL import Image as PILImage

from hf_newsmatch import ContrastiveTrainer, ContrastiveTrainingArguments, NewsMatchError
from hf_newsmatch.data.image_cache import cache_pictures, pixel_values
from hf_newsmatch.data.images import undecoded
from hf_newsmatch.training.collator import ContrastiveCollator
from tests.utils.news import make_model, make_pairs


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def photos(tmp_path):
    """Pictures of all sizes and modes, as files."""
    rng = np.random.default_rng(0)
    pairs = make_pairs(tmp_path, 6)
    for number, (mode, size) in enumerate([("RGB", (97, 31)), ("L", (16, 16)), ("RGBA", (5, 40)), ("P", (33, 33))]):
        shape = (*size[::-1], {"RGB": 3, "RGBA": 4}.get(mode, 1))
        values = rng.integers(0, 256, shape, dtype=np.uint8).squeeze()
        picture = PILImage.fromarray(values) if mode != "P" else PILImage.fromarray(values).convert("P")
        picture.save(tmp_path / f"p{number}.png")
    return undecoded(pairs)


def test_it_equals_decoding_bit_for_bit(photos, processor):
    rows = list(photos)
    cached = list(cache_pictures(photos, processor.image_processor))
    assert "image" not in cached[0]
    decoded = pixel_values(rows, processor.image_processor)
    assert decoded.dtype == torch.float32
    assert torch.equal(pixel_values(cached, processor.image_processor), decoded)
    collate = ContrastiveCollator(processor)
    for name, value in collate(rows).items():
        other = collate(cached)[name]
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other


def test_pictures_inside_the_data(photos, processor):
    inside = photos.cast_column("image", Image()).map(lambda row: row)
    inside = undecoded(inside)
    cached = cache_pictures(inside, processor.image_processor)
    decoded = pixel_values(list(inside), processor.image_processor)
    assert torch.equal(pixel_values(list(cached), processor.image_processor), decoded)


def test_a_second_time_it_is_read(photos, processor, tmp_path):
    cache_pictures(photos, processor.image_processor)
    (file,) = (tmp_path / "cache" / "newsmatch" / "pictures").glob("*.arrow")
    made = file.stat().st_mtime_ns
    cached = cache_pictures(photos, processor.image_processor)
    assert file.stat().st_mtime_ns == made
    assert str(file) in {item["filename"] for item in cached.cache_files}, "it is memory-mapped"


def test_a_picture_or_a_setting_that_changed_makes_it_anew(photos, processor, tmp_path):
    before = pixel_values(list(cache_pictures(photos, processor.image_processor)), processor.image_processor)
    time.sleep(0.01)
    shutil.copy(tmp_path / "p5.png", tmp_path / "p0.png")
    os.utime(tmp_path / "p0.png")
    after = pixel_values(list(cache_pictures(photos, processor.image_processor)), processor.image_processor)
    assert not torch.equal(before[0], after[0])
    assert torch.equal(after[0], after[5])

    other = copy.deepcopy(processor.image_processor)
    other.resample = 0  # nearest
    resampled = pixel_values(list(cache_pictures(photos, other)), other)
    assert torch.equal(resampled, pixel_values(list(photos), other))
    assert not torch.equal(resampled, after)


def test_a_damaged_picture_is_named(photos, processor, tmp_path):
    (tmp_path / "p3.png").write_bytes(b"no picture")
    with pytest.raises(NewsMatchError, match=r"p3\.png cannot be used: not an image"):
        cache_pictures(photos, processor.image_processor)


def test_training_is_the_same(tmp_path, processor, photos):
    weights = []
    for name, cache in (("plain", False), ("cached", True)):
        args = ContrastiveTrainingArguments(
            output_dir=str(tmp_path / name),
            use_cpu=True,
            report_to="none",
            num_train_epochs=2,
            per_device_train_batch_size=3,
            learning_rate=1e-3,
            cache_images=cache,
        )
        trainer = ContrastiveTrainer(make_model(processor), args, processor, train_dataset=photos, eval_dataset=photos)
        trainer.train()
        weights.append((trainer.model.state_dict(), trainer.state.best_metric))
    (plain, best), (cached, also_best) = weights
    assert best == also_best
    assert all(torch.equal(plain[name], cached[name]) for name in plain)
