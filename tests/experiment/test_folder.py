import hashlib
import json
import shutil

import pytest

from hf_newsmatch import NewsMatchError, Ranking, write_predictions
from hf_newsmatch.configs import DataArguments, ModelArguments
from hf_newsmatch.experiment.folder import Experiment
from hf_newsmatch.experiment.record import InterpolatedRecord, TrainRecord
from hf_newsmatch.utils.files import sha256
from tests.utils.news import arguments, with_test_lists, write_news_folder, write_test_lists


@pytest.fixture
def news(tmp_path):
    return write_news_folder(tmp_path / "news")


@pytest.fixture
def model_args(checkpoints):
    return ModelArguments(model_name_or_path=str(checkpoints / "zero_shot"))


def test_the_record_gives_the_same_data_again(news, model_args, tmp_path):
    (news / "images" / "P7.png").write_bytes(b"")
    experiment, data = Experiment.create(tmp_path / "run", arguments(news, text_fields=["title"]), model_args)
    experiment.start()
    again = Experiment.open(tmp_path / "run")
    assert again.text_fields == ["title"]
    assert again.record.to_json() == json.loads((tmp_path / "run" / "newsmatch.json").read_text())
    for name in ("train", "validation"):
        assert getattr(again.data(), name)["article_id"][:] == getattr(data, name)["article_id"][:]
    assert again.data().splits["test"].gold == data.splits["test"].gold
    base = again.record.base_model
    assert base.id == model_args.model_name_or_path
    assert base.sha256 == sha256(model_args.model_name_or_path + "/model.safetensors")
    assert again.record.data.files["articles_file"].sha256 == sha256(news / "articles.tsv")


def test_data_that_changed_is_refused(news, model_args, tmp_path):
    experiment, _ = Experiment.create(tmp_path / "run", arguments(news), model_args)
    with open(news / "articles.tsv", "a") as stream:
        stream.write("1\t1\t\t\tP1\t\tNew\tnew\tP1.png\t2023-01-01\n")
    with pytest.raises(NewsMatchError, match=r"articles\.tsv has changed since"):
        experiment.data()


def test_a_test_list_may_come_after_the_training(news, model_args, tmp_path):
    experiment, before = Experiment.create(tmp_path / "run", arguments(news, holdout_test=False), model_args)
    experiment.start()
    experiment.record.runs = {"validation": {}, "test": {}}
    experiment.save()
    write_test_lists(news, write_news_folder(tmp_path / "later", count=5, first=50, shared=0))
    for picture in (tmp_path / "later" / "images").iterdir():
        picture.rename(news / "images" / picture.name)
    named = {name: value for name, value in with_test_lists(news).items() if name != "image_dir"}
    experiment.use_test_files(DataArguments(test_image_dir=str(news / "images"), **named))
    after = Experiment.open(tmp_path / "run").data()
    assert after.validation["article_id"][:] == before.validation["article_id"][:]
    assert len(after.splits["test"].articles) == 5
    assert experiment.record.runs == {"validation": {}}
    with pytest.raises(NewsMatchError, match="was made with --articles_file"):
        experiment.use_test_files(DataArguments(articles_file="other.tsv"))


def test_runs_are_registered_and_stale_ones_refused(news, model_args, tmp_path, checkpoints):
    experiment, data = Experiment.create(tmp_path / "run", arguments(news), model_args)
    experiment.start()
    part = data.splits["test"]
    experiment.layout.run("test", "zero_shot").parent.mkdir(parents=True)
    experiment.layout.run("test", "zero_shot").write_text(f"{part.articles['article_id'][0]}\tP0\n")
    experiment.register_run("test", "zero_shot", part)
    again = Experiment.open(tmp_path / "run")
    assert again.predicted_splits() == ["test"]
    assert again.gold("test") == part.gold
    assert again.candidates("test") == part.images["image_id"][:]
    assert again.rankings("test")["zero_shot"].image_ids == [["P0"]]
    again.record.runs["test"]["zero_shot"].model_sha256 = "another"
    with pytest.raises(NewsMatchError, match="stale"):
        again.rankings("test")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"articles_file": None}, "No data is named"),
        ({"text_fields": ["headline"]}, "'headline'"),
        ({"image_dir": "absent"}, "absent"),
        ({"train_fraction": 1.5}, "1.5"),
        ({"sort_by": "colour"}, "colour"),
        ({"demo": "feed"}, "leave --articles_file out"),
    ],
)
def test_refuses(news, model_args, tmp_path, kwargs, message):
    data_args = DataArguments(**{"articles_file": str(news / "articles.tsv"), **kwargs})
    with pytest.raises(NewsMatchError, match=message):
        Experiment.create(tmp_path / "run", data_args, model_args)
    assert not (tmp_path / "run" / "newsmatch.json").exists()


def test_refuses_a_folder_without_a_run(tmp_path):
    with pytest.raises(NewsMatchError, match="holds no experiment"):
        Experiment.open(tmp_path)
    (tmp_path / "newsmatch.json").write_text("{")
    with pytest.raises(NewsMatchError, match="damaged"):
        Experiment.open(tmp_path)


def with_later_list(news, tmp_path, **kwargs) -> DataArguments:
    later = write_news_folder(tmp_path / "later", **{"count": 5, "first": 50, "shared": 0, **kwargs})
    write_test_lists(news, later)
    for picture in (later / "images").iterdir():
        picture.rename(news / "images" / picture.name)
    named = {name: value for name, value in with_test_lists(news).items() if name != "image_dir"}
    return DataArguments(test_image_dir=str(news / "images"), **named)


def test_a_later_test_list_does_not_hide_that_the_articles_changed(news, model_args, tmp_path):
    experiment, _ = Experiment.create(tmp_path / "run", arguments(news), model_args)
    experiment.start()
    lines = (news / "articles.tsv").read_text().splitlines()
    (news / "articles.tsv").write_text("\n".join(lines[:30]) + "\n")
    with pytest.raises(NewsMatchError, match=r"articles\.tsv has changed since"):
        experiment.use_test_files(with_later_list(news, tmp_path))


def test_a_picture_that_vanished_is_named(news, model_args, tmp_path):
    experiment, _ = Experiment.create(tmp_path / "run", arguments(news), model_args)
    experiment.start()
    (news / "images" / "P3.png").unlink()
    with pytest.raises(NewsMatchError, match=r"P3\.png is gone"):
        experiment.data()


def test_a_new_start_removes_what_would_pass_for_its_own(news, model_args, tmp_path):
    experiment, _ = Experiment.create(tmp_path / "run", arguments(news), model_args)
    for name in ("fine_tuned", "wise_ft", "runs", "checkpoint-7"):
        (tmp_path / "run" / name).mkdir()
    for name in ("scores.json", "alpha_curve.csv", "alpha_curve.png"):
        (tmp_path / "run" / name).write_text("{}")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    experiment.start()
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {"newsmatch.json", "newsmatch.pictures.parquet", "notes.txt"}


def test_wise_ft_of_other_endpoints_does_not_count(news, model_args, tmp_path):
    experiment, _ = Experiment.create(tmp_path / "run", arguments(news), model_args)
    experiment.start()
    for run in ("fine_tuned", "wise_ft"):
        (tmp_path / "run" / run).mkdir()
        (tmp_path / "run" / run / "model.safetensors").write_bytes(b"x")
    assert not experiment.has_model("fine_tuned"), "it is not this run's"
    experiment.record.train = TrainRecord(hashlib.sha256(b"x").hexdigest())
    experiment.record.wise_ft = InterpolatedRecord(0.5, hashlib.sha256(b"x").hexdigest(), experiment.endpoints())
    assert experiment.has_model("fine_tuned")
    assert experiment.has_model("wise_ft")
    experiment.record.train = TrainRecord("second")
    assert not experiment.has_model("wise_ft")


def test_a_base_model_that_changed_is_refused(news, checkpoints, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(checkpoints / "zero_shot", base)
    experiment, _ = Experiment.create(tmp_path / "run", arguments(news), ModelArguments(model_name_or_path=str(base)))
    assert experiment.checkpoint("zero_shot") == str(base)
    shutil.copy(checkpoints / "fine_tuned" / "model.safetensors", base)
    with pytest.raises(NewsMatchError, match="have changed since"):
        experiment.checkpoint("zero_shot")


@pytest.mark.parametrize("content", ["{}", "[]", "null", '{"data": {"arguments": {"colour": 1}}}'])
def test_a_record_that_is_none_is_one_sentence(tmp_path, content):
    (tmp_path / "newsmatch.json").write_text(content)
    with pytest.raises(NewsMatchError, match="damaged"):
        Experiment.open(tmp_path)


def test_rerankings_go_with_the_run_that_they_rank_again(news, model_args, tmp_path):
    experiment, data = Experiment.create(tmp_path / "run", arguments(news), model_args)
    experiment.start()
    part = data.splits["test"]
    ranking = Ranking([part.articles["article_id"][0]], [["P0"]], [[0.5]])

    def write(run, **settings):
        write_predictions(ranking, experiment.layout.run("test", run))
        experiment.register_run("test", run, part, **settings)

    write("zero_shot")
    write("zero_shot+csls", rerank={"method": "csls"})
    write("ensemble", weight=0.5)
    write("ensemble+csls", weight=0.5, rerank={"method": "csls"})
    write("zero_shot+sinkhorn", rerank={"method": "sinkhorn"})
    order = ["zero_shot", "zero_shot+csls", "zero_shot+sinkhorn", "ensemble", "ensemble+csls"]
    assert list(Experiment.open(tmp_path / "run").rankings("test")) == order
    write("zero_shot")
    write("ensemble", weight=0.5)
    assert list(experiment.rankings("test")) == order, "the same again changes nothing"
    write("ensemble", weight=0.25)
    assert list(experiment.rankings("test")) == order[:4]
    assert not list(experiment.layout.split("test").glob("ensemble+csls.*"))
    experiment.record.runs["test"]["zero_shot+csls"].model_sha256 = "another"
    with pytest.raises(NewsMatchError, match=r"zero_shot\+csls\.tsv is stale"):
        experiment.rankings("test")


def test_gold_that_is_not_known_is_one_sentence(news, model_args, tmp_path):
    experiment, data = Experiment.create(tmp_path / "run", arguments(news), model_args)
    experiment.start()
    part = data.splits["test"]
    experiment.register_run("test", "zero_shot", part)
    assert experiment.known_gold("test") == part.known_gold == part.gold
    part.gold = None
    experiment.register_run("test", "zero_shot", part)
    with pytest.raises(NewsMatchError, match=r"of the test split of .* not known; run .* --gold_file\.$"):
        experiment.known_gold("test")
    with pytest.raises(NewsMatchError, match=r"not known; name them with --gold_file\.$"):
        part.known_gold  # noqa: B018


def test_a_reranking_without_settings_is_one_sentence(news, model_args, tmp_path):
    experiment, data = Experiment.create(tmp_path / "run", arguments(news), model_args)
    made = {"method": "csls", "settings": {"k": 3}}
    experiment.register_run("test", "zero_shot+csls", data.splits["test"], made)
    assert experiment.rerank_of("test", "zero_shot+csls") == made
    experiment.record.runs["test"]["zero_shot+csls"].rerank = None
    with pytest.raises(NewsMatchError, match=r"does not say how zero_shot\+csls was made; run"):
        experiment.rerank_of("test", "zero_shot+csls")


def test_the_data_of_a_published_demo_are_one_sentence(news, model_args, tmp_path):
    """Its record names neither files nor folders."""
    experiment, _ = Experiment.create(tmp_path / "run", arguments(news), model_args)
    experiment.record.data.arguments = DataArguments(demo="feed")
    with pytest.raises(NewsMatchError, match="No data is named"):
        experiment.data()
