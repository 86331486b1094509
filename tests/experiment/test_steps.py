"""The seven steps as a notebook calls them: each takes an experiment and its arguments and returns data."""

import json

import pytest
import torch
from safetensors.torch import load_file

from hf_newsmatch import (
    ContrastiveTrainingArguments,
    embed_images,
    embed_texts,
    experiment,
    load_articles,
    load_model,
    rank,
    read_predictions,
    score,
)
from hf_newsmatch.configs import (
    CardArguments,
    DataArguments,
    EvaluateArguments,
    InterpolateArguments,
    ModelArguments,
    PredictArguments,
    PushArguments,
    TranslateArguments,
)
from hf_newsmatch.data.text import article_texts
from hf_newsmatch.experiment import prediction
from hf_newsmatch.experiment.publishing import collect_uploads
from hf_newsmatch.models import precision
from tests.utils.news import write_news_folder


@pytest.fixture(scope="module")
def trained(checkpoints, tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps")
    news = write_news_folder(folder / "news")
    args = ContrastiveTrainingArguments(
        str(folder / "out"),
        num_train_epochs=1,
        per_device_train_batch_size=8,
        learning_rate=3e-3,
        use_cpu=True,
        disable_tqdm=True,
        report_to="none",
    )
    data_args = DataArguments(articles_file=str(news / "articles.tsv"))
    return experiment.train(data_args, ModelArguments(str(checkpoints / "zero_shot")), args)


def test_train_returns_the_experiment_and_the_log(trained, capsys):
    assert trained.is_first
    assert trained.url is None
    assert trained.experiment.has_model("fine_tuned")
    assert trained.state.global_step == trained.experiment.record.train.best_step == 3
    assert experiment.Experiment.open(trained.experiment.output_dir).record == trained.experiment.record


def test_interpolate_predict_evaluate_report_and_what_a_push_would_send(trained, capsys):
    run = trained.experiment
    made = experiment.interpolate(run, InterpolateArguments(alpha=["0.25"]))
    (folder,) = made.models
    assert (folder, made.choice) == (run.layout.model("wise_ft"), None)
    ends = [
        load_file(f"{path}/model.safetensors") for path in (run.checkpoint("zero_shot"), run.checkpoint("fine_tuned"))
    ]
    name = "text_projection.weight"
    expected = 0.75 * ends[0][name].double() + 0.25 * ends[1][name].double()
    assert (load_file(folder / "model.safetensors")[name] - expected).abs().max() < 1e-6

    chosen = experiment.interpolate(run, InterpolateArguments(alpha_metric="mrr@100")).choice
    best = max(chosen.sweep, key=lambda point: (round(point["mrr@100"], 12), -point["alpha"]))
    assert chosen.alpha == best["alpha"] == run.record.wise_ft.alpha

    predictions = experiment.predict(run, run.data(), PredictArguments(runs=["zero_shot", "wise_ft"]))
    assert [(made.split, made.run) for made in predictions] == [
        *((split, "zero_shot") for split in ("validation", "test")),
        *((split, "wise_ft") for split in ("validation", "test")),
    ]
    scores = experiment.evaluate(run, EvaluateArguments(ks=[1, 5]))
    for made in predictions:
        ranking, gold = read_predictions(made.file), run.gold(made.split)
        assert made.articles == len(ranking)
        alone = score(ranking, gold, [1, 5], run.candidates(made.split))
        assert scores[made.split]["runs"][made.run]["mrr@100"]["mean"] == pytest.approx(alone["mrr@100"])
    assert json.loads(run.layout.scores.read_text()) == json.loads(json.dumps(scores))

    assert experiment.report(run).read_text().startswith("<!doctype html>")
    push_args = PushArguments(hub_model_id="ann/news", run="fine_tuned")
    (upload,) = collect_uploads(run, push_args, CardArguments(), {"license": "mit"})
    assert set(upload.files) >= {"model.safetensors", "README.md", "newsmatch.json"}
    assert capsys.readouterr().out == "", "steps return data, commands print it"


def test_translate(tmp_path, marian, capsys):
    file = tmp_path / "articles.tsv"
    file.write_text(
        "article_id\ttitle\ttext\n1\tDer Zug steht in Köln.\tDas Haus brennt am Hafen.\n", encoding="utf-8"
    )
    args = TranslateArguments(
        articles_file=str(file),
        output_file=str(tmp_path / "english.parquet"),
        translation_model=str(marian),
        language="de",
        cache_file=str(tmp_path / "cache.sqlite"),
    )
    made = experiment.translate(args)
    assert (made.articles, made.report.sentences, made.report.kept) == (1, 2, [])
    assert load_articles(made.file)["title"][:] == ["The train stands in Cologne."]
    assert capsys.readouterr().out == ""


def test_predict_records_how_it_embedded_and_comparisons_warn(trained, caplog, monkeypatch):
    run = trained.experiment
    data, layout = run.data(), run.layout
    names = [name for name in ("zero_shot", "fine_tuned", "wise_ft") if run.has_model(name)]
    experiment.predict(run, data, PredictArguments(runs=names, rerank=["csls"]))
    whole = {name: layout.run("test", name).read_bytes() for name in names}
    entry = json.loads(layout.record.read_text())["runs"]["test"]["zero_shot"]
    assert set(entry) == {"model_sha256", "file_sha256"}, "the defaults are left out"
    assert layout.run("test", "fine_tuned+csls").exists()

    # again, in float32 by its name: the same bytes, and re-rankings stay
    experiment.predict(run, data, PredictArguments(runs=names, dtype="float32"))
    assert {name: layout.run("test", name).read_bytes() for name in names} == whole
    assert "fine_tuned+csls" in run.record.runs["test"]

    monkeypatch.setattr(precision, "cpu_flags", lambda: frozenset({"amx_bf16"}))
    monkeypatch.setattr(prediction, "best_device", lambda: torch.device("cpu"))
    experiment.predict(run, data, PredictArguments(runs=["fine_tuned"], dtype="auto", long_text="pool"))
    written = experiment.Experiment.open(run.output_dir).record.runs["test"]
    assert (written["fine_tuned"].dtype, written["fine_tuned"].long_text) == ("bfloat16", "pool")
    assert "fine_tuned+csls" not in written, "it ranked other embeddings again"
    caplog.clear()
    run.rankings("test")
    (warning,) = caplog.messages
    assert "fine_tuned with dtype bfloat16, long_text pool)" in warning
    assert "(zero_shot, " in warning
    assert "csls with the defaults; fine_tuned" in warning

    # the scores are those of plain calls in the same precision
    model, processor = load_model(run.checkpoint("fine_tuned"), dtype=torch.bfloat16)
    texts = embed_texts(model, processor, article_texts(data.splits["test"].articles), long_text="pool")
    images = embed_images(model, processor, data.splits["test"].images["image"])
    ids = data.splits["test"].articles["article_id"][:], data.splits["test"].images["image_id"][:]
    assert read_predictions(layout.run("test", "fine_tuned")).image_ids == rank(texts, images, *ids, 100).image_ids

    compiled = []
    monkeypatch.setattr(prediction, "compile_towers", compiled.append)
    experiment.predict(run, data, PredictArguments(runs=["zero_shot"], splits=["test"], torch_compile=True))
    assert len(compiled) == 1
    assert run.record.runs["test"]["zero_shot"].torch_compile is True
    assert layout.run("test", "zero_shot").read_bytes() == whole["zero_shot"], "nothing was compiled in this test"

    # all of them by the same settings again: no warning
    experiment.predict(run, data, PredictArguments(runs=names, dtype="bfloat16", long_text="pool", rerank=["csls"]))
    caplog.clear()
    run.rankings("test")
    assert not caplog.messages
    assert run.record.runs["test"]["zero_shot+csls"].embedding == run.record.runs["test"]["zero_shot"].embedding
