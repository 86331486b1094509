import random

import pytest
import torch
from transformers import AutoTokenizer, MarianMTModel

from hf_newsmatch import NewsMatchError
from hf_newsmatch.demo.marian import build_tiny_marian

WORDS = {
    "rot": "red", "blau": "blue", "grün": "green", "groß": "big", "klein": "small", "alt": "old", "neu": "new",
    "kalt": "cold",
}  # fmt: skip


def make_pairs(count: int) -> list[tuple[str, str]]:
    rng = random.Random(0)
    chosen = [rng.choices(list(WORDS.items()), k=rng.randint(1, 3)) for _ in range(count)]
    return [(f"es ist {' '.join(g for g, _ in row)}", f"it is {' '.join(e for _, e in row)}") for row in chosen]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    target = tmp_path_factory.mktemp("marian") / "tiny"
    return build_tiny_marian(make_pairs(800), target, vocab_size=60, epochs=12, batch_size=32, progress=False)


def test_it_is_an_ordinary_checkpoint_that_translates(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = MarianMTModel.from_pretrained(folder, dtype=torch.float32).eval()
    assert (tokenizer.source_lang, tokenizer.target_lang) == ("de", "en")
    pairs = list(dict.fromkeys(make_pairs(100)))
    outputs = []
    for source, _ in pairs:
        ids = model.generate(**tokenizer(source, return_tensors="pt"))
        outputs.append(tokenizer.decode(ids[0], skip_special_tokens=True))
    assert sum(output == target for output, (_, target) in zip(outputs, pairs)) > 0.9 * len(pairs)


def test_it_is_small_and_in_half_precision(folder):
    assert MarianMTModel.from_pretrained(folder, dtype="auto").dtype == torch.float16
    assert sum(file.stat().st_size for file in folder.iterdir()) < 600_000


def test_its_layout_is_that_of_published_checkpoints(folder):
    model = MarianMTModel.from_pretrained(folder)
    last = model.config.vocab_size - 1
    assert model.config.eos_token_id == 0
    assert model.config.pad_token_id == model.config.decoder_start_token_id == last
    assert not model.model.shared.weight[last].any()


def test_the_same_seed_gives_the_same_weights(tmp_path):
    settings = {"vocab_size": 60, "d_model": 16, "layers": 1, "epochs": 1, "progress": False}
    before = torch.get_rng_state()
    one, same, other = (
        (build_tiny_marian(make_pairs(40), tmp_path / name, seed=seed, **settings) / "model.safetensors").read_bytes()
        for name, seed in (("one", 1), ("same", 1), ("other", 2))
    )
    assert one == same != other
    assert torch.equal(torch.get_rng_state(), before)


def test_too_few_pairs_are_refused(tmp_path):
    with pytest.raises(NewsMatchError, match="No vocabulary of 5000 pieces"):
        build_tiny_marian(make_pairs(3), tmp_path / "tiny", vocab_size=5000, progress=False)
    assert not (tmp_path / "tiny").exists()
