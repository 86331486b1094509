"""The seven steps as a notebook calls them: each takes an experiment and its arguments and returns data."""

import json

import pytest
from safetensors.torch import load_file

from hf_newsmatch import ContrastiveTrainingArguments, experiment, load_articles, read_predictions, score
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
from hf_newsmatch.experiment.publishing import collect_uploads
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
