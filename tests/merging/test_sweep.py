import csv
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_newsmatch import (
    AlphaSweep,
    NewsMatchError,
    distinct_images,
    embed_images,
    embed_texts,
    interpolate,
    load_clip,
    rank,
    score,
    sweep_alpha,
    sweep_towers,
)
from hf_newsmatch.data.text import join_text
from hf_newsmatch.merging import sweep as sweep_module
from hf_newsmatch.merging.curve import write_curve
from hf_newsmatch.metrics import bootstrap_intervals
from tests.utils.news import make_model, make_pairs

METRICS = ["mrr@100", "recall@1", "recall@5", "recall@10", "recall@50", "recall@100"]


@pytest.fixture
def shared_pairs(tmp_path):
    """Twenty articles with fifteen pictures and eighteen texts."""
    image_ids = [f"p{number % 15}" for number in range(20)]
    return make_pairs(tmp_path, 20, image_ids, titles=[f"title {number % 18}" for number in range(20)])


def model_of(folders, alpha, folder) -> tuple:
    """The model at an alpha, or at one for each tower, made without the sweep."""
    vision, text = alpha if isinstance(alpha, tuple) else (alpha, alpha)
    of_vision = load_file(interpolate(*folders, vision, folder / "vision") / "model.safetensors")
    both = interpolate(*folders, text, folder / "both")
    tensors = load_file(both / "model.safetensors")
    tensors |= {name: of_vision[name] for name in tensors if name.startswith(("vision_", "visual_"))}
    save_file(tensors, both / "model.safetensors", metadata={"format": "pt"})
    return load_clip(both)


def expected_scores(folders, alpha, pairs, folder) -> dict[str, float]:
    model, processor = model_of(folders, alpha, folder)
    text_embeds = embed_texts(model, processor, [join_text(row) for row in pairs], progress=False)
    image_embeds = embed_images(model, processor, pairs["image"][:15], progress=False)
    ranking = rank(text_embeds, image_embeds, pairs["article_id"][:], [f"p{number}" for number in range(15)])
    scores = score(ranking, dict(zip(pairs["article_id"], pairs["image_id"])))
    return {name: value for name, value in scores.items() if "@" in name}


def test_sweep_equals_interpolating_embedding_and_scoring_each(checkpoints, tmp_path, shared_pairs):
    folders = checkpoints / "zero_shot", checkpoints / "fine_tuned"
    alphas = (0, 0.3, 0.5, 1)
    curve = sweep_alpha(*folders, shared_pairs, alphas, batch_size=7, progress=False)
    assert [point["alpha"] for point in curve] == list(alphas)
    for alpha, point in zip(alphas, curve):
        assert point == {"alpha": alpha, **expected_scores(folders, alpha, shared_pairs, tmp_path)}


def test_what_each_article_scores(checkpoints, shared_pairs):
    sweep = sweep_alpha(checkpoints / "zero_shot", checkpoints / "fine_tuned", shared_pairs, (0, 0.5), progress=False)
    assert list(sweep.scores) == METRICS
    assert all(array.shape == (2, 20) for array in sweep.scores.values())
    ranks = 1 / sweep.scores["mrr@100"]
    assert np.array_equal(sweep.scores["recall@5"], ranks <= 5)
    assert sweep[1]["mrr@100"] == pytest.approx((1 / ranks[1]).mean())
    assert sweep.image_ids == shared_pairs["image_id"][:]
    assert len(sweep) == 2
    assert next(iter(sweep))["alpha"] == 0


def test_pictures_are_prepared_once_for_all_alphas(checkpoints, shared_pairs, monkeypatch):
    opened = []

    def counting(processor, images, *args, **options):
        opened.extend(images)
        return image_batches(processor, images, *args, **options)

    image_batches = sweep_module.image_batches
    monkeypatch.setattr(sweep_module, "image_batches", counting)
    sweep_alpha(checkpoints / "zero_shot", checkpoints / "fine_tuned", shared_pairs, progress=False)
    assert len(opened) == 15


def test_articles_with_candidates_and_gold_of_their_own(checkpoints, tmp_path, shared_pairs):
    """As a test split has them: more candidates than true pictures, articles without links."""
    folders = checkpoints / "zero_shot", checkpoints / "fine_tuned"
    gold = dict(zip(shared_pairs["article_id"], shared_pairs["image_id"]))
    articles = shared_pairs.select_columns(["article_id", "title", "text"])
    whole = sweep_alpha(*folders, shared_pairs, [0.5], progress=False)
    again = sweep_alpha(*folders, articles, [0.5], candidates=distinct_images(shared_pairs), gold=gold, progress=False)
    assert list(again) == list(whole)
    some = dict(list(gold.items())[3:7])
    few = sweep_alpha(*folders, articles, [0.5], candidates=distinct_images(shared_pairs), gold=some, progress=False)
    assert np.array_equal(few.scores["mrr@100"], whole.scores["mrr@100"][:, 3:7])
    assert few.image_ids == list(some.values())


def test_towers_equal_interpolating_each(checkpoints, tmp_path, shared_pairs):
    folders = checkpoints / "zero_shot", checkpoints / "fine_tuned"
    pairs = [(0.2, 0.8), (1.0, 0.4)]
    grid = sweep_towers(*folders, shared_pairs, max_evaluations=12, batch_size=7, progress=False)
    listed = sweep_alpha(*folders, shared_pairs, pairs, progress=False)
    assert len(grid) == 36
    for pair, point in zip(pairs, listed):
        expected = expected_scores(folders, pair, shared_pairs, tmp_path)
        assert point == {"alpha_vision": pair[0], "alpha_text": pair[1], **expected}
        assert grid[grid.alphas.index(pair)] == point
    # no tower is taken for the other
    assert listed[0] != sweep_alpha(*folders, shared_pairs, [pairs[0][::-1]], progress=False)[0]


COARSE = {0, 0.2, 0.4, 0.6, 0.8, 1}


@pytest.mark.parametrize(
    ("budget", "vision", "text"),
    [
        (12, set(), set()),
        (14, set(), set()),
        (15, {0.3, 0.5}, {0.9}),
        (17, {0.3, 0.5}, {0.9}),
        (18, {0.3, 0.5, 0.35, 0.45}, {0.9, 0.95}),
    ],
)
def test_towers_are_searched_coarse_to_fine_within_the_budget(
    checkpoints, shared_pairs, monkeypatch, budget, vision, text
):
    """Where (0.4, 1) is best: its neighbours come next, then those at half the step, and none outside [0, 1]."""
    embedded = {"vision": [], "text": []}

    def embed(self, tower, alphas, inputs):
        for alpha in alphas:
            embedded[tower].append(alpha)
            yield torch.ones(len(next(iter(inputs.values()))), 8)

    def scored(self, alphas):
        values = np.array([[1 - (v - 0.4) ** 2 - (t - 1) ** 2] for v, t in alphas])
        return AlphaSweep(alphas, dict.fromkeys(METRICS, values), ["p0"])

    monkeypatch.setattr(sweep_module._Models, "embed", embed)
    monkeypatch.setattr(sweep_module._Embeddings, "sweep", scored)
    ends = checkpoints / "zero_shot", checkpoints / "fine_tuned"
    sweep = sweep_towers(*ends, shared_pairs, max_evaluations=budget, progress=False)
    assert sorted(embedded["vision"]) == sorted(COARSE | vision)
    assert sorted(embedded["text"]) == sorted(COARSE | text)
    assert len(sweep) == (6 + len(vision)) * (6 + len(text))


def test_intervals_are_those_of_the_bootstrap(checkpoints, tmp_path, shared_pairs):
    sweep = sweep_alpha(checkpoints / "zero_shot", checkpoints / "fine_tuned", shared_pairs, (0, 0.5), progress=False)
    by_hand = bootstrap_intervals({"x": sweep.scores["recall@5"][1]}, shared_pairs["image_id"][:])["x"]
    assert by_hand.low < by_hand.mean < by_hand.high
    assert sweep.intervals()[1]["recall@5"] == by_hand
    with open(write_curve(sweep, tmp_path / "curve.csv"), newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["alpha"]) for row in rows] == [0, 0.5]
    read = [float(rows[1][name]) for name in ("recall@5", "recall@5_low", "recall@5_high")]
    assert read == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize("alphas", [(0, 0.5), [(0.2, 0.8), (1, 0)]])
def test_saving(checkpoints, tmp_path, shared_pairs, alphas):
    sweep = sweep_alpha(checkpoints / "zero_shot", checkpoints / "fine_tuned", shared_pairs, alphas, progress=False)
    sweep.save(tmp_path / "sweep.npz")
    again = AlphaSweep.load(tmp_path / "sweep.npz")
    assert again.alphas == list(alphas)
    assert list(again) == list(sweep)
    assert again.image_ids == sweep.image_ids


def test_sweep_refuses_what_does_not_fit(checkpoints, tmp_path, processor, pairs):
    make_model(processor, hidden_size=32).save_pretrained(tmp_path / "wider")
    with pytest.raises(NewsMatchError, match="do not fit"):
        sweep_alpha(tmp_path / "wider", checkpoints / "fine_tuned", pairs, progress=False)
    ends = checkpoints / "zero_shot", checkpoints / "fine_tuned"
    for alphas in ((0.5, 2), [(0.5, -1)], [(0.5, float("nan"))]):
        with pytest.raises(NewsMatchError, match="between 0"):
            sweep_alpha(*ends, pairs, alphas=alphas, progress=False)
    with pytest.raises(NewsMatchError, match="no alpha to sweep"):
        sweep_alpha(*ends, pairs, alphas=[], progress=False)
    with pytest.raises(NewsMatchError, match="begins with 12 evaluations; 11 are too few"):
        sweep_towers(*ends, pairs, max_evaluations=11, progress=False)
    with pytest.raises(NewsMatchError, match="cannot be chosen by 'recall@7'"):
        sweep_towers(*ends, pairs, metric="recall@7", progress=False)


@pytest.mark.parametrize("end", ["zero_shot", "fine_tuned"])
def test_weights_that_are_no_numbers_are_named_before_the_sweep(checkpoints, tmp_path, pairs, end):
    for name in ("zero_shot", "fine_tuned"):
        shutil.copytree(checkpoints / name, tmp_path / name)
    file = tmp_path / end / "model.safetensors"
    tensors = load_file(file)
    tensors["text_projection.weight"][0, 0] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(NewsMatchError, match=rf"text_projection\.weight of .*{end}.* no finite numbers"):
        sweep_alpha(tmp_path / "zero_shot", tmp_path / "fine_tuned", pairs, alphas=[0.5])
