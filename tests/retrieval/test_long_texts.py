"""Texts beyond the context, embedded in pieces."""

import logging

import pytest
import torch

from hf_newsmatch import NewsMatcher, NewsMatchError, embed_texts
from hf_newsmatch.retrieval.long_texts import pieces_within
from tests.utils.architectures import MAKERS, make_tiny
from tests.utils.news import CONTEXT

# each within the context of 24 tokens, letters and the signs of words and ends; no two of them are
SENTENCES = ["Der Hafen ist zu.", "Warum nur?", "Die Stadt wartet."]
SHORT = ["", "a", "Der Hafen ist zu.", "UPPER case"]


def alone(name, model, processor, text):
    """The embedding of one text by plain transformers."""
    padding = {"padding": "max_length"} if name in ("siglip", "siglip2", "tipsv2") else {}
    tokens = processor.tokenizer([text], truncation=True, max_length=CONTEXT, return_tensors="pt", **padding)
    names = ["input_ids"] if name.startswith("siglip") else ["input_ids", "attention_mask"]
    with torch.no_grad():
        embeds = model.get_text_features(**{key: tokens[key] for key in names}).pooler_output
    return torch.nn.functional.normalize(embeds[0], dim=-1)


@pytest.mark.parametrize("name", MAKERS)
def test_the_mean_of_the_sentences_by_their_tokens(name, caplog):
    model, processor = make_tiny(name)
    text = " ".join(SENTENCES)
    cut = embed_texts(model, processor, [*SHORT, text], progress=False)
    with caplog.at_level(logging.WARNING):
        pooled = embed_texts(model, processor, [*SHORT, text], progress=False, long_text="pool")
    assert not caplog.records
    counts = [len(processor.tokenizer(part, add_special_tokens=False).input_ids) for part in SENTENCES]
    rows = torch.stack([alone(name, model, processor, part) for part in SENTENCES])
    expected = (torch.tensor(counts)[:, None] * rows).sum(dim=0)
    assert (pooled[-1] - expected / expected.norm()).abs().max() < 1e-5
    assert (pooled[-1] - cut[-1]).abs().max() > 1e-3, "the end of the text counts"
    assert (pooled[:-1] - cut[:-1]).abs().max() < 1e-6


def test_texts_within_the_context_keep_every_bit(model, processor):
    texts = ["b", "x" * (CONTEXT - 2), "", "abc de"] * 2
    cut = embed_texts(model, processor, texts, batch_size=2, progress=False)
    assert torch.equal(embed_texts(model, processor, texts, batch_size=2, progress=False, long_text="pool"), cut)


@pytest.mark.parametrize("name", MAKERS)
def test_every_piece_fits(name, monkeypatch):
    """Words and sentences of every length, and signs that no tokenizer here knows."""
    model, processor = make_tiny(name)
    lengths = []
    features = model.get_text_features
    monkeypatch.setattr(
        model, "get_text_features", lambda **kw: lengths.append(kw["input_ids"].shape[1]) or features(**kw)
    )
    texts = ["x" * 100, "a b c " * 30, "🙂" * 40, "Kurz. " + "y" * 30 + " ende. " + "z" * 3, "Straße " * 9, "İ" * 50]
    pooled = embed_texts(model, processor, texts, progress=False, batch_size=1, long_text="pool")
    assert max(lengths) <= CONTEXT
    torch.testing.assert_close(pooled.norm(dim=1), torch.ones(len(texts)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Eins. Zwei! Drei? Vier", ["Eins. Zwei!", "Drei? Vier"]),
        ('Er sagte: "Ja." Dann.', ["Er sagte:", '"Ja." Dann.']),
        ("am 3. Mai 2026 um 10", ["am 3. Mai", "2026 um 10"]),
        ("von J. Doe. Foto: dpa", ["von J. Doe.", "Foto: dpa"]),
        ("eins\nzwei drei vier fünf", ["eins", "zwei drei", "vier fünf"]),
        ("a" * 25, ["a" * 12, "a" * 12, "a"]),
        ("短い文。次の文はここ。最後", ["短い文。次の文はここ。", "最後"]),
        ("  zu Haus  ", ["zu Haus"]),
        ("", [""]),
    ],
)
def test_where_a_text_is_cut(text, expected):
    """Pieces of up to twelve characters."""
    pieces = pieces_within(text, lambda piece: len(piece) <= 12, longest=1000)
    assert pieces == expected
    assert "".join("".join(pieces).split()) == "".join(text.split()), "nothing is lost"


def test_long_texts_are_cut_in_time():
    asked = []
    pieces = pieces_within("wort " * 100_000, lambda piece: asked.append(len(piece)) or len(piece) <= 300, 1000)
    assert len(pieces) == 1_667, "of sixty words"
    assert max(asked) <= 1000
    assert len(asked) < 20 * len(pieces)


def test_the_matcher_pools(checkpoints, model):
    matcher = NewsMatcher.from_pretrained(checkpoints / "zero_shot")
    text = "the harbour is shut. nobody comes. all are waiting there"
    pooled = matcher.embed_texts([text], long_text="pool")
    assert torch.equal(pooled, embed_texts(matcher.model, matcher.processor, [text], long_text="pool"))
    archive = torch.nn.functional.normalize(torch.randn(3, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    ranking = matcher.rank([text], archive, k=3, long_text="pool")
    assert ranking.scores[0] == pytest.approx(sorted((pooled @ archive.T)[0].tolist(), reverse=True), abs=1e-6)
    with pytest.raises(NewsMatchError, match="long_text is one of truncate, pool, not 'first'"):
        matcher.embed_texts([text], long_text="first")
