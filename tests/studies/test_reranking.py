"""The runs embedded once, and the study of all methods, on a small corpus."""

import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from hf_newsmatch import load_clip, rank_articles, score
from hf_newsmatch.configs import DataArguments, ModelArguments
from hf_newsmatch.experiment.folder import Experiment
from hf_newsmatch.experiment.prediction import EmbeddedRuns
from hf_newsmatch.metrics import bootstrap_intervals
from hf_newsmatch.retrieval.articles import embed_articles
from hf_newsmatch.retrieval.fusion import ensemble
from hf_newsmatch.retrieval.rerank import METHODS
from hf_newsmatch.studies import reranking as study
from tests.utils.news import write_news_folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, checkpoints):
    """An experiment whose models are there, and its data. Some articles of the test split share pictures."""
    folder = tmp_path_factory.mktemp("corpus")
    news = write_news_folder(folder / "news", count=40, shared=4)
    lines = (news / "articles.tsv").read_text().splitlines()
    for number in (38, 39):  # the last two articles have the picture of the one before them
        cells, before = lines[number + 1].split("\t"), lines[38].split("\t")
        cells[4], cells[8] = before[4], before[8]
        lines[number + 1] = "\t".join(cells)
    (news / "articles.tsv").write_text("\n".join(lines) + "\n")
    experiment, data = Experiment.create(
        folder / "run",
        DataArguments(articles_file=str(news / "articles.tsv")),
        ModelArguments(model_name_or_path=str(checkpoints / "zero_shot")),
    )
    for run in ("fine_tuned", "wise_ft"):
        (folder / "run" / run).symlink_to(checkpoints / "fine_tuned")
    return experiment, data


def test_runs_are_ranked_as_by_hand_and_embedded_once(corpus, checkpoints, tmp_path, monkeypatch):
    experiment, data = corpus
    part = data.splits["test"]
    embedded = EmbeddedRuns(experiment, data, ensemble_weight=0.3, folder=tmp_path)
    models = {run: load_clip(checkpoints / run) for run in ("zero_shot", "fine_tuned")}
    for run, model in models.items():
        expected = rank_articles(*model, part.articles, part.images, k=5, progress=False)
        assert embedded.rank(run, "test", k=5).image_ids == expected.image_ids
    both = [embed_articles(*model, part.articles, part.images, progress=False) for model in models.values()]
    for kind, expected in zip(("texts", "images"), (ensemble(*pair, 0.3) for pair in zip(*both))):
        torch.testing.assert_close(embedded._embeds("ensemble", "test", kind), expected)

    # what is on disk is read, not made again, while models and data are the same
    names = sorted(file.name for file in tmp_path.iterdir())
    assert len(names) == 4
    assert all(load_file(tmp_path / name)["embeds"].dtype == torch.float32 for name in names)
    with monkeypatch.context() as patch:
        patch.setattr(EmbeddedRuns, "_embed", None)
        again = EmbeddedRuns(experiment, data, folder=tmp_path)
        assert again.rank("fine_tuned", "test") == embedded.rank("fine_tuned", "test")
    monkeypatch.setattr(Experiment, "model_sha256", lambda self, run: "another")
    EmbeddedRuns(experiment, data, folder=tmp_path).rank("fine_tuned", "test")
    assert len(list(tmp_path.iterdir())) == 6


def test_the_first_article_of_each_picture(corpus):
    part = corpus[1].splits["test"]
    assert len(set(part.gold.values())) < len(part.gold), "without shared pictures there is nothing to test"
    first = study.first_articles(part)
    assert sorted(first.gold.values()) == sorted(set(part.gold.values()))
    assert first.articles["article_id"][:] == list(first.gold)
    order = list(part.gold)
    for article_id, image_id in part.gold.items():
        kept = next(name for name, other in first.gold.items() if other == image_id)
        assert order.index(kept) <= order.index(article_id)
    assert first.images is part.images


def test_every_method_is_scored_on_the_test_split(corpus, checkpoints):
    experiment, data = corpus
    result = study.score_methods(experiment)
    part = data.splits["test"]
    assert result["all"]["image_ids"] == list(part.gold.values())
    assert result["first"]["image_ids"] == list(study.first_articles(part).gold.values())
    for run in study.RUNS:
        model = load_clip(checkpoints / ("zero_shot" if run == "zero_shot" else "fine_tuned"))
        for variant, ranked in (("all", part), ("first", study.first_articles(part))):
            ranking = rank_articles(*model, ranked.articles, ranked.images, progress=False)
            mrr = score(ranking, ranked.gold)["mrr@100"]
            assert result[variant]["scores"][run, "none"].mean() == pytest.approx(mrr)
    embedded = EmbeddedRuns(experiment, data)
    for method in ("csls", "neighbours"):
        chosen = embedded.choose_settings("wise_ft", method)["settings"]
        assert result["all"]["settings"]["wise_ft", method] == chosen
        mrr = score(embedded.rank("wise_ft", "test", method, **chosen), part.gold)["mrr@100"]
        assert result["all"]["scores"]["wise_ft", method].mean() == pytest.approx(mrr)


def test_methods_are_compared_with_none_over_all_corpora():
    generator = np.random.default_rng(0)
    keys = [(run, method) for run in study.RUNS for method in METHODS]
    corpora = [
        {
            "image_ids": [f"p{number // 2}" for number in range(10)],
            "settings": {key: {"temperature": number} for key in keys},
            "scores": {key: generator.random(10) for key in keys},
        }
        for number in (1, 2)
    ]
    summary = study.summarise(corpora)
    row = summary["fine_tuned"]["csls"]
    assert row["settings"] == [{"temperature": 1}, {"temperature": 2}]
    found, plain = (
        np.concatenate([corpus["scores"]["fine_tuned", method] for corpus in corpora]) for method in ("csls", "none")
    )
    assert row["mean"] == pytest.approx(found.mean())
    # ten pictures in all: p0 of the first corpus is not p0 of the second
    interval = bootstrap_intervals({"x": found - plain}, np.arange(20) // 2)["x"]
    assert row["gain"] == pytest.approx(interval._asdict())
    assert summary["zero_shot"]["none"]["gain"] == {"mean": 0, "low": 0, "high": 0}
    json.dumps(summary)
    table = study.table(summary, "first", 20)
    assert table.header == ["method", *study.RUNS]
    console = Console(file=io.StringIO(), width=100)
    console.print(table)
    rows = [[cell.strip() for cell in line.split("│")] for line in console.file.getvalue().splitlines() if "│" in line]
    cells = {row[1]: row[3] for row in rows}
    assert list(cells) == list(METHODS)
    assert cells["none"] == f"{summary['fine_tuned']['none']['mean']:.3f}"
    expected = f"{interval.mean:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"
    assert cells["csls"].replace("−", "-") == expected
