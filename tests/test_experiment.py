import json

import pytest
from conftest import make_picture, write_news_folder, write_test_lists

from hf_newsmatch import NewsMatchError
from hf_newsmatch.arguments import DataArguments, ModelArguments
from hf_newsmatch.experiment import Experiment, load_news_data
from hf_newsmatch.files import sha256


@pytest.fixture
def news(tmp_path):
    return write_news_folder(tmp_path / "news")


@pytest.fixture
def model_args(checkpoints):
    return ModelArguments(model_name_or_path=str(checkpoints / "zero_shot"))


def arguments(folder, **kwargs) -> DataArguments:
    return DataArguments(articles_file=str(folder / "articles.tsv"), **kwargs)


def with_test_lists(folder) -> dict[str, str]:
    return {
        "test_articles_file": str(folder / "test_articles.tsv"),
        "test_images": str(folder / "test_images.tsv"),
        "gold_file": str(folder / "test_gold.tsv"),
        "image_dir": str(folder / "images"),
    }


def test_without_a_test_list_the_newest_fifth_is_held_out(news):
    data = load_news_data(arguments(news))
    assert [len(data.train), len(data.validation)] == [26, 6]
    assert list(data.parts) == ["validation", "test"]
    test = data.parts["test"]
    assert test.articles["article_id"][:] == [str(9000 - number) for number in range(32, 40)]
    # the last four articles have the pictures of the first four
    assert test.images["image_id"][:] == ["P32", "P33", "P34", "P35", "P0", "P1", "P2", "P3"]
    assert test.gold == dict(zip(test.articles["article_id"], test.articles["image_id"]))
    assert data.report["split"]["parts"]["test"]["shared_pictures"] == 4


def test_holding_out_can_be_refused(news):
    data = load_news_data(arguments(news, holdout_test=False))
    assert [len(data.train), len(data.validation)] == [32, 8]
    assert list(data.parts) == ["validation"]


def test_candidates_are_the_distinct_pictures(tmp_path):
    data = load_news_data(arguments(write_news_folder(tmp_path, count=20, shared=19), holdout_test=False))
    assert data.parts["validation"].images["image_id"][:] == ["P0"]
    assert len(data.parts["validation"].articles) == 4


def test_unlinked_test_lists(tmp_path, news):
    write_test_lists(news, write_news_folder(tmp_path / "later", count=10, first=50, shared=2))
    for picture in (tmp_path / "later" / "images").iterdir():
        picture.rename(news / "images" / picture.name)
    data = load_news_data(arguments(news, **with_test_lists(news)))
    assert [len(data.train), len(data.validation)] == [32, 8]
    test = data.parts["test"]
    assert len(test.articles) == 10
    assert sorted(test.images["image_id"]) == [f"P{number}" for number in range(50, 58)]
    assert test.gold["8950"] == "P50"
    assert data.report["test_list"] == {"articles": 10, "pictures": 8}


def test_unusable_pictures_are_counted_and_left_out(news):
    (news / "images" / "P7.png").write_bytes(b"")
    (news / "images" / "P9.png").write_bytes(b"no picture")
    (news / "images" / "P33.png").unlink()
    data = load_news_data(arguments(news))
    unusable = data.report["unusable_pictures"]
    assert {item["image_id"] for item in unusable["pictures"]} == {"P7", "P9", "P33"}
    assert sum(unusable["counts"].values()) == 3
    assert data.report["pairs_without_usable_picture"] == 3
    everywhere = {*data.train["image_id"], *data.validation["image_id"], *data.parts["test"].images["image_id"]}
    assert everywhere.isdisjoint({"P7", "P9", "P33"})
    assert len(data.train) + len(data.validation) + len(data.parts["test"].articles) == 37


def test_the_record_gives_the_same_data_again(news, model_args, tmp_path):
    (news / "images" / "P7.png").write_bytes(b"")
    _, data = Experiment.create(tmp_path / "run", arguments(news, text_fields=["title"]), model_args)
    again = Experiment.open(tmp_path / "run")
    assert again.text_fields == ["title"]
    assert again.record == json.loads((tmp_path / "run" / "newsmatch.json").read_text())
    for name in ("train", "validation"):
        assert getattr(again.data(), name)["article_id"][:] == getattr(data, name)["article_id"][:]
    assert again.data().parts["test"].gold == data.parts["test"].gold
    base = again.record["base_model"]
    assert base["id"] == model_args.model_name_or_path
    assert base["sha256"] == sha256(model_args.model_name_or_path + "/model.safetensors")
    assert again.record["data"]["files"]["articles_file"]["sha256"] == sha256(news / "articles.tsv")


def test_data_that_changed_is_refused(news, model_args, tmp_path):
    experiment, _ = Experiment.create(tmp_path / "run", arguments(news), model_args)
    with open(news / "articles.tsv", "a") as stream:
        stream.write("1\t1\t\t\tP1\t\tNew\tnew\tP1.png\t2023-01-01\n")
    with pytest.raises(NewsMatchError, match=r"articles\.tsv has changed since"):
        experiment.data()


def test_a_test_list_may_come_after_the_training(news, model_args, tmp_path):
    experiment, before = Experiment.create(tmp_path / "run", arguments(news, holdout_test=False), model_args)
    experiment.record["runs"] = {"validation": {}, "test": {}}
    write_test_lists(news, write_news_folder(tmp_path / "later", count=5, first=50, shared=0))
    for picture in (tmp_path / "later" / "images").iterdir():
        picture.rename(news / "images" / picture.name)
    named = {name: value for name, value in with_test_lists(news).items() if name != "image_dir"}
    experiment.use_test_files(DataArguments(test_image_dir=str(news / "images"), **named))
    after = Experiment.open(tmp_path / "run").data()
    assert after.validation["article_id"][:] == before.validation["article_id"][:]
    assert len(after.parts["test"].articles) == 5
    assert experiment.record["runs"] == {"validation": {}}
    with pytest.raises(NewsMatchError, match="was made with --articles_file"):
        experiment.use_test_files(DataArguments(articles_file="other.tsv"))


def test_runs_are_registered_and_stale_ones_refused(news, model_args, tmp_path, checkpoints):
    experiment, data = Experiment.create(tmp_path / "run", arguments(news), model_args)
    part = data.parts["test"]
    experiment.run_file("test", "zero_shot").parent.mkdir(parents=True)
    experiment.run_file("test", "zero_shot").write_text(f"{part.articles['article_id'][0]}\tP0\n")
    experiment.register_run("test", "zero_shot", part)
    again = Experiment.open(tmp_path / "run")
    assert again.predicted_splits() == ["test"]
    assert again.gold("test") == part.gold
    assert again.candidates("test") == part.images["image_id"][:]
    assert again.rankings("test")["zero_shot"].image_ids == [["P0"]]
    again.record["base_model"]["sha256"] = "another"
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


def test_refuses_data_without_any_usable_picture(news):
    for picture in (news / "images").iterdir():
        picture.write_bytes(b"")
    with pytest.raises(NewsMatchError, match="None of the 40 articles"):
        load_news_data(arguments(news))


def test_refuses_a_folder_without_a_run(tmp_path):
    with pytest.raises(NewsMatchError, match="holds no run"):
        Experiment.open(tmp_path)
    (tmp_path / "newsmatch.json").write_text("{")
    with pytest.raises(NewsMatchError, match="damaged"):
        Experiment.open(tmp_path)


def test_a_picture_of_the_gold_may_be_unusable(tmp_path, news):
    """The article stays, and scores 0: its picture is no candidate."""
    write_test_lists(news, write_news_folder(tmp_path / "later", count=3, first=50, shared=0))
    make_picture(50).save(news / "images" / "P50.png")
    make_picture(51).save(news / "images" / "P51.png")
    (news / "images" / "P52.png").write_bytes(b"")
    test = load_news_data(arguments(news, **with_test_lists(news))).parts["test"]
    assert len(test.articles) == len(test.gold) == 3
    assert test.images["image_id"][:] == ["P50", "P51"]
