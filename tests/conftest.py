"""What all tests share: no network, no colours of this terminal, caches of their own, and tiny models."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import torch
from datasets import Dataset
from transformers import CLIPModel, CLIPProcessor

from .utils.news import make_model, make_pairs, make_processor
from .utils.parallel import make_parallel

# such small products are slower on several threads, much slower when other processes want the cores too
torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _own_caches(tmp_path_factory):
    """Nothing of a test run lands in, or comes from, the user's caches."""
    import datasets
    import evaluate

    patch = pytest.MonkeyPatch()
    caches = tmp_path_factory.mktemp("caches")
    patch.setattr(datasets.config, "HF_DATASETS_CACHE", caches / "datasets")
    patch.setattr(evaluate.config, "HF_METRICS_CACHE", str(caches / "metrics"))
    patch.setattr(evaluate.config, "HF_MODULES_CACHE", str(caches / "modules"))
    yield
    patch.undo()


@pytest.fixture(scope="session")
def processor() -> CLIPProcessor:
    return make_processor()


@pytest.fixture
def model(processor) -> CLIPModel:
    return make_model(processor)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory, processor):
    """Two folders, `zero_shot` and `fine_tuned`, of the same architecture and different weights."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for seed, name in enumerate(("zero_shot", "fine_tuned")):
        make_model(processor, seed).save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
    return folder


@pytest.fixture
def pairs(tmp_path) -> Dataset:
    return make_pairs(tmp_path)


@pytest.fixture(scope="session")
def marian(tmp_path_factory):
    """The folder of a tiny Marian that translates this world."""
    from hf_newsmatch.demo.marian import build_tiny_marian

    folder = tmp_path_factory.mktemp("marian") / "de-en"
    return build_tiny_marian(make_parallel(1500), folder, vocab_size=250, epochs=16, batch_size=32, progress=False)


@pytest.fixture
def make_translator(marian, tmp_path):
    """Make a translator with a cache of its own."""

    from hf_newsmatch.translation import Translator

    def make(model=marian, **kwargs):
        kwargs.setdefault("cache_file", tmp_path / "translations.sqlite")
        return Translator(model, progress=False, **kwargs)

    return make


@pytest.fixture
def translator(make_translator):
    return make_translator()
