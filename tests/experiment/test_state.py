"""Identity and state: what the record says is what lies in the folder, whoever else works there."""

import dataclasses
import json
import logging
import os
import shutil
import threading

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from hf_newsmatch import NewsMatchError, Ranking, write_predictions
from hf_newsmatch.configs import (
    CardArguments,
    DataArguments,
    InterpolateArguments,
    ModelArguments,
    PredictArguments,
    PushArguments,
)
from hf_newsmatch.experiment import merging, store
from hf_newsmatch.experiment.evaluation import evaluate
from hf_newsmatch.experiment.folder import Experiment
from hf_newsmatch.experiment.layout import Layout
from hf_newsmatch.experiment.merging import interpolate, make_alpha, make_wise_ft
from hf_newsmatch.experiment.prediction import open_experiment, predict
from hf_newsmatch.experiment.publishing import collect_uploads
from hf_newsmatch.experiment.record import Record, TrainRecord
from hf_newsmatch.experiment.reporting import report
from hf_newsmatch.experiment.training import _checkpoint_to_resume, train
from hf_newsmatch.explorer.models import experiment_models
from hf_newsmatch.models.weights import weights_sha256
from hf_newsmatch.training.arguments import ContrastiveTrainingArguments
from hf_newsmatch.training.checkpointing import find_best_checkpoint
from tests.utils.news import arguments, make_picture, with_test_lists, write_news_folder, write_test_lists


@pytest.fixture
def news(tmp_path):
    return write_news_folder(tmp_path / "news")


@pytest.fixture
def model_args(checkpoints):
    return ModelArguments(model_name_or_path=str(checkpoints / "zero_shot"))


@pytest.fixture
def experiment(news, model_args, checkpoints, tmp_path):
    """An experiment that looks as after a training."""
    made, _ = Experiment.create(tmp_path / "out", arguments(news), model_args)
    made.start()
    shutil.copytree(checkpoints / "fine_tuned", tmp_path / "out" / "fine_tuned")
    trained = TrainRecord(weights_sha256(checkpoints / "fine_tuned"))
    made.update(lambda record: setattr(record, "train", trained))
    return made


def exchange(folder) -> None:
    """Exchange the weights in a folder for others of the same size."""
    file = folder / "model.safetensors"
    weights = {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})


# ---- several processes, one record ----------------------------------------------------------------------------------


def test_steps_add_to_what_others_wrote_meanwhile(experiment):
    """Each opens the record before the other writes: nothing of either is lost."""
    predicting, interpolating = Experiment.open(experiment.output_dir), Experiment.open(experiment.output_dir)
    data = predicting.data()
    make_alpha(interpolating, 0.2)
    predict(predicting, data, PredictArguments(runs=["zero_shot"], splits=["test"]))
    make_alpha(interpolating, 0.4)
    predict(predicting, data, PredictArguments(runs=["fine_tuned"], splits=["test"]))
    make_wise_ft(interpolating, 0.5)
    record = Experiment.open(experiment.output_dir).record
    assert sorted(record.alphas) == ["wise_ft_alpha_0.20", "wise_ft_alpha_0.40"]
    assert list(record.runs["test"]) == ["zero_shot", "fine_tuned"]
    assert record.wise_ft.alpha == 0.5


def test_many_changes_at_once_are_all_kept(experiment):
    def add(number):
        mine = Experiment.open(experiment.output_dir)
        mine.update(lambda record: record.recipe.update({f"key {number}": number}))

    threads = [threading.Thread(target=add, args=[number]) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Experiment.open(experiment.output_dir).record.recipe) == 16


def test_a_step_does_not_write_into_an_experiment_that_was_started_anew(experiment, news, model_args):
    opened, record = Experiment.open(experiment.output_dir), experiment.layout.record
    anew, _ = Experiment.create(experiment.output_dir, arguments(news, text_fields=["title"]), model_args)
    anew.start()
    before = record.read_bytes()
    with pytest.raises(NewsMatchError, match="was started anew while this ran"):
        opened.update(lambda record: record.recipe.clear())
    assert record.read_bytes() == before


def test_a_change_that_fails_changes_nothing(experiment):
    before = experiment.layout.record.read_bytes()

    def fail(record):
        record.runs["test"] = {}
        raise RuntimeError

    with pytest.raises(RuntimeError):
        experiment.update(fail)
    assert experiment.layout.record.read_bytes() == before
    assert experiment.record.runs == {}
    assert not experiment.layout.lock.exists()


def test_a_second_training_is_refused_while_the_first_runs(experiment, news, model_args, monkeypatch):
    monkeypatch.setattr(store, "_TRAINING_PATIENCE", 0)
    args = ContrastiveTrainingArguments(output_dir=str(experiment.output_dir), use_cpu=True, report_to="none")
    with (
        store.only_training(experiment.output_dir),
        pytest.raises(NewsMatchError, match=r"^Another training runs in .*; wait for its end, or name another"),
    ):
        train(arguments(news), model_args, args)
    assert weights_sha256(experiment.layout.model("fine_tuned")) == experiment.record.train.sha256
    with store.only_training(experiment.output_dir):
        pass
    assert not experiment.layout.training_lock.exists()


def test_a_model_that_is_replaced_while_it_ranks(experiment):
    data, opened = experiment.data(), Experiment.open(experiment.output_dir)
    make_wise_ft(experiment, 0.5)
    before = experiment.model_sha256("wise_ft")
    make_wise_ft(Experiment.open(experiment.output_dir), 0.25)
    with pytest.raises(NewsMatchError, match="was replaced while it ranked"):
        opened.register_run("test", "wise_ft", data.splits["test"], model_sha256=before)
    assert Experiment.open(experiment.output_dir).record.runs == {}


def test_a_fine_tuned_model_that_is_replaced_while_it_is_interpolated(experiment, monkeypatch):
    original = merging.interpolation.interpolate

    def interpolate_slowly(*args, **kwargs):
        folder = original(*args, **kwargs)
        Experiment.open(experiment.output_dir).update(lambda record: setattr(record, "train", TrainRecord("0" * 64)))
        return folder

    monkeypatch.setattr(merging.interpolation, "interpolate", interpolate_slowly)
    with pytest.raises(NewsMatchError, match="was replaced meanwhile"):
        make_wise_ft(experiment, 0.5)
    assert not experiment.layout.model("wise_ft").exists()
    assert Experiment.open(experiment.output_dir).record.wise_ft is None


# ---- weights that are not the recorded ones -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "remedy"),
    [("fine_tuned", "`hf-newsmatch train` with --overwrite"), ("wise_ft", "`hf-newsmatch interpolate` again")],
)
def test_exchanged_weights_are_refused_by_every_step(experiment, run, remedy):
    make_wise_ft(experiment, 0.5)
    data = experiment.data()
    predict(experiment, data)
    exchange(experiment.layout.model(run))
    opened = Experiment.open(experiment.output_dir)
    sentence = rf"The weights in .*{run} are not those that newsmatch\.json records: .*{remedy}\.$"
    push = PushArguments(hub_model_id="ann/news", run=run)
    for step in (
        lambda: predict(opened, data),
        lambda: opened.checkpoint(run),
        lambda: experiment_models(opened),
        lambda: collect_uploads(opened, push, CardArguments(dataset_name="news"), {"license": "mit"}),
    ):
        with pytest.raises(NewsMatchError, match=sentence):
            step()
    for step in (evaluate, report):
        with pytest.raises(NewsMatchError, match=rf"{run}.*is stale, its model has changed"):
            step(opened)


def test_an_exchanged_alpha_is_refused_and_made_again(experiment):
    folder = make_alpha(experiment, 0.2)
    expected = weights_sha256(folder)
    exchange(folder)
    assert not experiment.has_alpha(folder.name)
    with pytest.raises(NewsMatchError, match="are not those that"):
        experiment.checkpoint(folder.name)
    push = PushArguments(hub_model_id="ann/news", run="fine_tuned", family=True)
    with pytest.raises(NewsMatchError, match="run `hf-newsmatch interpolate` again"):
        collect_uploads(experiment, push, CardArguments(dataset_name="news"), {"license": "mit"})
    models = experiment_models(Experiment.open(experiment.output_dir))
    assert weights_sha256(models.checkpoint(0.2)[0]) == expected
    exchange(folder)
    with pytest.raises(NewsMatchError, match="have changed since the page began"):
        models.checkpoint(0.2)


@pytest.mark.parametrize("first", [None, 0.2])
def test_interpolate_killed_between_folder_and_record(experiment, monkeypatch, caplog, first):
    if first is not None:
        make_wise_ft(experiment, first)
    with monkeypatch.context() as patch:
        patch.setattr(Record, "save", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            make_wise_ft(experiment, 0.6)
    opened = Experiment.open(experiment.output_dir)
    if first is None:
        assert not opened.has_model("wise_ft")
        predict(opened, opened.data(), PredictArguments(splits=["test"]))
        assert "wise_ft is left out: newsmatch.json does not record it" in caplog.text
        assert list(opened.record.runs["test"]) == ["zero_shot", "fine_tuned", "ensemble"]
    else:
        with pytest.raises(NewsMatchError, match="are not those that"):
            predict(opened, opened.data())
    interpolate(opened, InterpolateArguments(alpha=["0.6"]))
    again = Experiment.open(experiment.output_dir)
    assert again.has_model("wise_ft")
    assert (again.record.wise_ft.alpha, again.record.wise_ft.sha256) == (0.6, again.model_sha256("wise_ft"))


def test_a_base_from_the_hub_is_compared_with_its_weights(news, checkpoints, tmp_path, monkeypatch):
    """The cache of the Hub's client is a folder like any other: what lies there may be exchanged."""
    commit = "0123456789" * 4
    snapshot = tmp_path / "cache" / "models--ann--base" / "snapshots" / commit
    shutil.copytree(checkpoints / "zero_shot", snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    base = ModelArguments(model_name_or_path="ann/base")
    experiment, data = Experiment.create(tmp_path / "out", arguments(news), base)
    experiment.start()
    assert experiment.record.base_model.sha256 == weights_sha256(checkpoints / "zero_shot")
    assert experiment.checkpoint("zero_shot") == "ann/base"
    predict(experiment, data, PredictArguments(splits=["test"]))
    evaluate(Experiment.open(experiment.output_dir))
    exchange(snapshot)
    with pytest.raises(NewsMatchError, match="The weights of ann/base have changed since"):
        experiment.checkpoint("zero_shot")
    with pytest.raises(NewsMatchError, match=r"zero_shot\.tsv is stale"):
        evaluate(Experiment.open(experiment.output_dir))
    # without its files, scores that were made need no download
    shutil.rmtree(tmp_path / "cache")
    evaluate(Experiment.open(experiment.output_dir))


def test_predictions_that_were_exchanged_are_refused(experiment):
    predict(experiment, experiment.data(), PredictArguments(runs=["zero_shot"], splits=["test"]))
    file = experiment.layout.run("test", "zero_shot")
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(NewsMatchError, match=r"zero_shot\.tsv is not the file that `hf-newsmatch predict` wrote"):
        experiment.rankings("test")
    file.unlink()
    with pytest.raises(NewsMatchError, match="changed or gone"):
        evaluate(experiment)


@pytest.mark.parametrize("name", ["gold", "candidates"])
def test_gold_and_candidates_that_were_exchanged_are_refused(experiment, name):
    predict(experiment, experiment.data(), PredictArguments(runs=["zero_shot"], splits=["test"]))
    evaluate(Experiment.open(experiment.output_dir))
    file = experiment.layout.split("test") / f"{name}.tsv"
    header, first, second, *rest = file.read_text().splitlines()
    file.write_text("\n".join([header, second, first, *rest][: 3 if name == "gold" else None]) + "\n")
    opened = Experiment.open(experiment.output_dir)
    with pytest.raises(NewsMatchError, match=rf"{name}\.tsv is not the file that `hf-newsmatch predict` wrote"):
        evaluate(opened)
    predict(opened, opened.data(), PredictArguments(runs=["zero_shot"], splits=["test"]))
    evaluate(Experiment.open(experiment.output_dir))


# ---- names are data -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["zero_shot+/../../victim", "zero_shot+..", "../zero_shot", "zero_shot+", "/etc/x", "zero\0shot", "other", ""],
)
def test_a_record_with_a_strange_run_deletes_nothing(experiment, tmp_path, name):
    victim = tmp_path / "out" / "victim.tsv"
    victim.write_text("mine")
    content = json.loads(experiment.layout.record.read_text())
    content["runs"] = {"test": {name: {"model_sha256": "another"}, "zero_shot": {"model_sha256": "another"}}}
    experiment.layout.record.write_text(json.dumps(content))
    with pytest.raises(NewsMatchError, match=r"newsmatch\.json is damaged \('.*' is no run\)"):
        Experiment.open(experiment.output_dir)
    with pytest.raises(NewsMatchError, match="is no run"):
        experiment.layout.run("test", name)
    assert victim.read_text() == "mine"


@pytest.mark.parametrize(
    "name", ["../victim", "wise_ft_alpha_/../../victim", "wise_ft_alpha_0.4/..", "news", "runs", ""]
)
def test_a_record_with_a_strange_folder_of_an_alpha(experiment, name):
    content = json.loads(experiment.layout.record.read_text())
    made = {"alpha": 0.4, "sha256": "a", "endpoints": {"zero_shot": None, "fine_tuned": None}}
    experiment.layout.record.write_text(json.dumps({**content, "alphas": {name: made}}))
    with pytest.raises(NewsMatchError, match="is no folder of an alpha"):
        Experiment.open(experiment.output_dir)
    with pytest.raises(NewsMatchError, match="is no model"):
        experiment.layout.model(name)


@pytest.mark.parametrize("split", ["..", "../runs", "/tmp", "dev"])
def test_a_record_with_a_strange_split(experiment, split):
    content = json.loads(experiment.layout.record.read_text())
    experiment.layout.record.write_text(json.dumps({**content, "runs": {split: {}}}))
    with pytest.raises(NewsMatchError, match="is no split"):
        Experiment.open(experiment.output_dir)
    for path in (experiment.layout.gold, experiment.layout.candidates):
        with pytest.raises(NewsMatchError, match="is no split"):
            path(split)


# ---- the test list --------------------------------------------------------------------------------------------------


def later_list(folder, first, count=6, **kwargs) -> DataArguments:
    """A test list of its own in a folder, with gold and pictures."""
    write_news_folder(folder, count=count, first=first, shared=0)
    write_test_lists(folder, folder)
    named = {name: value for name, value in with_test_lists(folder).items() if name != "image_dir"}
    return DataArguments(test_image_dir=str(folder / "images"), **{**named, **kwargs})


def test_a_new_test_list_replaces_the_old_one_wholly(experiment, model_args, tmp_path, caplog):
    out = experiment.output_dir
    opened, data = open_experiment(out, later_list(tmp_path / "first", 100), model_args)
    predict(opened, data, PredictArguments(runs=["zero_shot"]))
    assert opened.gold("test") is not None
    second = later_list(tmp_path / "second", 103, gold_file=None)
    opened, data = open_experiment(out, second, model_args)
    assert "takes the place of" in caplog.text
    assert "test" not in Experiment.open(out).record.runs
    assert not opened.layout.split("test").exists()
    assert data.splits["test"].gold is None
    predict(opened, data, PredictArguments(runs=["zero_shot"]))
    assert opened.gold("test") is None
    assert sorted(opened.candidates("test")) == [f"P{number}" for number in range(103, 109)]
    scores = evaluate(opened)
    assert list(scores) == ["validation"]
    # the gold may come after its list
    open_experiment(out, DataArguments(gold_file=str(tmp_path / "second" / "test_gold.tsv")), model_args)
    assert Experiment.open(out).data().splits["test"].gold[str(9000 - 103)] == "P103"


def test_a_list_that_links_its_own_pictures_is_ranked_over_these(experiment, model_args, tmp_path):
    out = experiment.output_dir
    open_experiment(out, later_list(tmp_path / "first", 100), model_args)
    linked = write_news_folder(tmp_path / "second", count=5, first=200, shared=0)
    images = DataArguments(test_articles_file=str(linked / "articles.tsv"), test_image_dir=str(linked / "images"))
    _, data = open_experiment(out, images, model_args)
    expected = {f"P{number}" for number in range(200, 205)}
    assert set(data.splits["test"].images["image_id"][:]) == expected
    assert set(data.splits["test"].gold.values()) == expected
    assert Experiment.open(out).record.data.arguments.test_images is None


def test_a_test_list_whose_content_changed_is_taken_when_it_is_named_again(experiment, model_args, tmp_path):
    named = later_list(tmp_path / "first", 100)
    open_experiment(experiment.output_dir, named, model_args)
    file = tmp_path / "first" / "test_articles.tsv"
    file.write_text("\n".join(file.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(NewsMatchError, match=r"test_articles\.tsv has changed .*once more with --test_articles_file"):
        Experiment.open(experiment.output_dir).data()
    _, data = open_experiment(experiment.output_dir, named, model_args)
    assert len(data.splits["test"].articles) == 5
    before = experiment.layout.record.read_bytes()
    open_experiment(experiment.output_dir, named, model_args)
    assert experiment.layout.record.read_bytes() == before, "the same again changes nothing"


# ---- pictures -------------------------------------------------------------------------------------------------------


def test_a_picture_that_was_exchanged_is_named(experiment, news):
    make_picture(999).save(news / "images" / "P3.png")
    make_picture(998).save(news / "images" / "P5.png")
    with pytest.raises(NewsMatchError, match=r"P3\.png, P5\.png are changed since the experiment began"):
        Experiment.open(experiment.output_dir).data()
    make_picture(3).save(news / "images" / "P3.png")
    make_picture(5).save(news / "images" / "P5.png")
    Experiment.open(experiment.output_dir).data()


def test_a_picture_of_the_same_size_and_time_is_taken_for_the_same_without_reading(experiment, news, monkeypatch):
    read = []
    monkeypatch.setattr("hf_newsmatch.data.fingerprints.sha256", lambda file: read.append(file) or "other")
    opened = Experiment.open(experiment.output_dir)
    opened.data()
    assert read == []
    os.utime(news / "images" / "P3.png", (1, 1))
    with pytest.raises(NewsMatchError, match=r"P3\.png is changed"):
        opened.data()
    monkeypatch.undo()
    opened.data()  # the content is what it was


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_fingerprints_hold_without_their_file(experiment, news, damage):
    file = experiment.layout.pictures
    file.unlink() if damage == "gone" else file.write_bytes(file.read_bytes()[:100])
    Experiment.open(experiment.output_dir).data()
    make_picture(999).save(news / "images" / "P3.png")
    with pytest.raises(NewsMatchError, match="are not those that"):
        Experiment.open(experiment.output_dir).data()


def test_a_resumed_training_needs_the_same_pictures(experiment, news, model_args):
    again, _ = Experiment.create(experiment.output_dir, arguments(news), model_args)
    again.check_continues(Experiment.open(experiment.output_dir))
    make_picture(999).save(news / "images" / "P3.png")
    again, _ = Experiment.create(experiment.output_dir, arguments(news), model_args)
    with pytest.raises(NewsMatchError, match=r"began with other pictures \(P3\.png is changed\)"):
        again.check_continues(Experiment.open(experiment.output_dir))


def test_a_resumed_training_names_a_picture_that_came_later(news, model_args, tmp_path):
    picture = (news / "images" / "P3.png").read_bytes()
    (news / "images" / "P3.png").unlink()
    before, _ = Experiment.create(tmp_path / "out", arguments(news), model_args)
    before.start()
    (news / "images" / "P3.png").write_bytes(picture)
    after, _ = Experiment.create(tmp_path / "out", arguments(news), model_args)
    with pytest.raises(NewsMatchError, match=r"P3\.png is new"):
        after.check_continues(Experiment.open(tmp_path / "out"))
    # steps that only read the data leave it out, as before
    assert "P3" not in Experiment.open(tmp_path / "out").data().train["image_id"][:]


@pytest.mark.parametrize("content", [b"", None])
def test_later_pictures_of_a_folder_are_no_candidates(experiment, model_args, tmp_path, caplog, content):
    """Broken or not: they were not there when the test list was read. Naming it again takes those that are usable."""
    named = later_list(tmp_path / "later", 100)
    named = dataclasses.replace(named, test_images=str(tmp_path / "later" / "images"), test_image_dir=None)
    opened, data = open_experiment(experiment.output_dir, named, model_args)
    before = data.splits["test"].images["image_id"][:]
    if content is None:
        make_picture(7).save(tmp_path / "later" / "images" / "new.png")
    else:
        (tmp_path / "later" / "images" / "new.png").write_bytes(content)
    opened = Experiment.open(experiment.output_dir)
    data = opened.data()
    assert data.splits["test"].images["image_id"][:] == before
    assert "were not among the candidates when the test list was read, and are left out: new.png" in caplog.text
    assert predict(opened, data, PredictArguments(runs=["zero_shot"], splits=["test"]))[0].candidates == 6
    _, data = open_experiment(experiment.output_dir, named, model_args)
    assert len(data.splits["test"].images) == (7 if content is None else 6)


# ---- folders that were moved ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize("copied", [False, True])
def test_a_moved_folder_goes_on(news, checkpoints, tmp_path, old_format, copied):
    out = tmp_path / "before" / "out"
    shutil.move(news, out / "news")
    shutil.copytree(checkpoints / "zero_shot", out / "base")
    base = ModelArguments(model_name_or_path=str(out / "base"))
    experiment, data = Experiment.create(out, arguments(out / "news"), base)
    experiment.start()
    if old_format:
        content = json.loads(experiment.layout.record.read_text())
        del content["folder"], content["data"]["pictures"]
        experiment.layout.record.write_text(json.dumps(content))
    moved = tmp_path / "after" / "renamed"
    shutil.copytree(out, moved)
    if not copied:
        shutil.rmtree(out)
    opened = Experiment.open(moved)
    assert opened.data().train["article_id"][:] == data.train["article_id"][:]
    predict(opened, opened.data(), PredictArguments(splits=["test"]))
    where = moved if not (old_format and copied) else out  # an old record does not tell that it was copied
    assert Experiment.open(moved).record.data.arguments.articles_file == str(where / "news" / "articles.tsv")
    assert opened.checkpoint("zero_shot") == str(where / "base")
    # the same command goes on with it
    again, _ = Experiment.create(moved, arguments(where / "news"), ModelArguments(str(where / "base")))
    again.check_continues(opened)


def test_the_best_checkpoint_is_found_in_a_moved_folder(tmp_path):
    for name in ("checkpoint-4", "checkpoint-8"):
        (tmp_path / name).mkdir()
    file = tmp_path / "checkpoint-8" / "trainer_state.json"
    file.write_text(json.dumps({"best_model_checkpoint": "/gone/out/checkpoint-4", "best_metric": 0.1}))
    find_best_checkpoint(tmp_path / "checkpoint-8")
    assert json.loads(file.read_text()) == {
        "best_model_checkpoint": str(tmp_path / "checkpoint-4"),
        "best_metric": 0.1,
    }


# ---- interrupted trainings ------------------------------------------------------------------------------------------


def make_checkpoint(folder) -> None:
    folder.mkdir(parents=True)
    save_file({"x": torch.zeros(1)}, folder / "model.safetensors")
    (folder / "trainer_state.json").write_text("{}")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (folder / name).write_bytes(b"")


def test_a_checkpoint_without_a_record_says_what_to_do(news, model_args, tmp_path):
    make_checkpoint(tmp_path / "out" / "checkpoint-3")
    args = ContrastiveTrainingArguments(output_dir=str(tmp_path / "out"), use_cpu=True, report_to="none")
    with pytest.raises(
        NewsMatchError, match=r"3 does not say .*, and no newsmatch\.json lies.*start over with --over"
    ):
        train(arguments(news), model_args, args)


def test_a_fine_tuned_model_that_was_not_recorded_is_finished_not_refused(experiment):
    out = experiment.output_dir
    make_checkpoint(out / "checkpoint-3")
    with pytest.raises(NewsMatchError, match="holds a fine-tuned model"):
        _checkpoint_to_resume(out, None, overwrite=False)
    experiment.update(lambda record: setattr(record, "train", None))
    assert _checkpoint_to_resume(out, None, overwrite=False) == out / "checkpoint-3"


# ---- notes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "end"), [(1.0, "fine_tuned"), (0.0, "zero_shot"), (0.5, None)])
def test_one_model_under_two_names_is_said(experiment, caplog, alpha, end):
    make_wise_ft(experiment, alpha)
    caplog.set_level(logging.INFO)
    predict(experiment, experiment.data(), PredictArguments(splits=["test"]))
    said = f"With alpha {alpha:g}, wise_ft and {end} are one model"
    assert (said in caplog.text) == (end is not None)
    caplog.clear()
    evaluate(experiment)
    assert (said in caplog.text) == (end is not None)


def test_a_choice_on_few_articles_is_mostly_noise(experiment, caplog):
    interpolate(experiment, InterpolateArguments())
    assert "has 6 articles, fewer than 100: the alpha that best chooses on it is mostly noise" in caplog.text
    caplog.clear()
    interpolate(experiment, InterpolateArguments(alpha=["0.4"]))
    assert "noise" not in caplog.text
    predict(experiment, experiment.data(), PredictArguments(runs=["zero_shot"], rerank=["csls"]))
    assert "every setting that is chosen on it is mostly noise" in caplog.text


def test_layout_gives_the_places_of_good_names(tmp_path):
    layout = Layout(tmp_path)
    assert layout.run("test", "zero_shot+dual_softmax") == tmp_path / "runs" / "test" / "zero_shot+dual_softmax.tsv"
    for name in ("wise_ft", "fine_tuned", "wise_ft_alpha_0.40", "wise_ft_alpha_-0.30", "wise_ft_alpha_1e-05"):
        assert layout.model(name) == tmp_path / name


def test_a_registered_file_is_the_one_of_its_entry(experiment):
    data = experiment.data()
    part = data.splits["test"]
    write_predictions(Ranking([part.articles["article_id"][0]], [["P0"]]), experiment.layout.run("test", "zero_shot"))
    experiment.register_run("test", "zero_shot", part)
    assert Experiment.open(experiment.output_dir).rankings("test")["zero_shot"].image_ids == [["P0"]]
