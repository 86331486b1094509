import pytest
from conftest import make_model, make_pairs

from hf_newsmatch import NewsMatchError, embed_images, embed_texts, interpolate, load_clip, rank, score, sweep_alpha
from hf_newsmatch.data.collator import join_text


def test_sweep_equals_interpolating_embedding_and_scoring_each(checkpoints, tmp_path):
    count = 20
    image_ids = [f"p{number % 15}" for number in range(count)]
    pairs = make_pairs(tmp_path, count, image_ids, titles=[f"title {number % 18}" for number in range(count)])
    folders = checkpoints / "zero_shot", checkpoints / "fine_tuned"
    alphas = (0, 0.3, 0.5, 1)
    curve = sweep_alpha(*folders, pairs, alphas, batch_size=7, progress=False)
    assert [point["alpha"] for point in curve] == list(alphas)
    for alpha, point in zip(alphas, curve):
        between, processor = load_clip(interpolate(*folders, alpha, tmp_path / "out"))
        text_embeds = embed_texts(between, processor, [join_text(row) for row in pairs], progress=False)
        image_embeds = embed_images(between, processor, pairs["image"][:15], progress=False)
        ranking = rank(text_embeds, image_embeds, pairs["article_id"][:], [f"p{number}" for number in range(15)])
        expected = score(ranking, dict(zip(pairs["article_id"], image_ids)))
        assert point == {"alpha": alpha, **{name: value for name, value in expected.items() if "@" in name}}


def test_sweep_refuses_what_does_not_fit(checkpoints, tmp_path, processor, pairs):
    make_model(processor, hidden_size=32).save_pretrained(tmp_path / "wider")
    with pytest.raises(NewsMatchError, match="do not fit"):
        sweep_alpha(tmp_path / "wider", checkpoints / "fine_tuned", pairs, progress=False)
    with pytest.raises(NewsMatchError, match="between 0"):
        sweep_alpha(checkpoints / "zero_shot", checkpoints / "fine_tuned", pairs, alphas=(0.5, 2), progress=False)
