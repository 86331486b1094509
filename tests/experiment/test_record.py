"""The record of an experiment: both formats, round trips, and what is refused."""

import copy
import json

import pytest

from hf_newsmatch import NewsMatchError
from hf_newsmatch.experiment.record import Endpoints, InterpolatedRecord, Record, RunRecord, SourceFile

# as version 0.1 wrote it
FIRST_FORMAT = {
    "hf_newsmatch": "0.1.0.dev0",
    "versions": {"torch": "2.13.0"},
    "base_model": {"id": "demo", "revision": None, "sha256": "aa"},
    "data": {
        "arguments": {"demo": "feed", "articles_file": "/n/articles.tsv", "text_fields": ["title"]},
        "files": {"articles_file": {"path": "/n/articles.tsv", "sha256": "bb"}},
        "split": {
            "order": "published",
            "parts": {
                "train": {"rows": 4, "pictures": 3, "first_date": None, "last_date": None},
                "validation": {
                    "rows": 2, "pictures": 2, "first_date": "2024-01-01", "last_date": "2024-01-02",
                    "shared_pictures": 1, "shared_rows": 2,
                },
            },
        },
        "translation": None,
        "pairs_without_usable_picture": 1,
        "unusable_pictures": {
            "counts": {"missing": 1}, "pictures": [{"image_id": "p", "image_file": None, "reason": "missing"}]
        },
        "test_list": None,
    },
    "recipe": {"learning_rate": 0.0003},
    "train": {
        "sha256": "cc", "arguments": {"seed": 1}, "processes": 2, "metrics": {"epoch": 1.0},
        "best_metric": {"loss": 0.5}, "best_step": 4, "log_history": [{"loss": None, "step": 4}],
    },
    "wise_ft": {
        "alpha": 1, "rule": "given", "sha256": "dd", "endpoints": {"zero_shot": "aa", "fine_tuned": "cc"},
    },
    "wise_ft_family": {
        "wise_ft_alpha_0.40": {"alpha": 0.4, "sha256": "ee", "endpoints": {"zero_shot": "aa", "fine_tuned": "cc"}}
    },
    "runs": {"test": {"zero_shot": {"model_sha256": "aa"}, "ensemble": {"model_sha256": "aa cc", "weight": 0.5}}},
}  # fmt: skip


def test_the_first_format_is_read():
    record = Record.from_json(FIRST_FORMAT)
    assert record.data.split.splits["validation"].shared_rows == 2
    assert record.data.arguments.text_fields == ["title"]
    assert record.data.arguments.train_fraction == 0.8, "the default of what was not recorded"
    assert record.alphas == {"wise_ft_alpha_0.40": InterpolatedRecord(0.4, "ee", Endpoints("aa", "cc"))}
    assert record.runs["test"]["ensemble"] == RunRecord("aa cc", 0.5)
    assert record.train.best_step == 4
    assert isinstance(record.wise_ft.alpha, float)


def test_what_is_written_is_read_again_and_nothing_is_lost():
    record = Record.from_json(FIRST_FORMAT)
    written = json.loads(json.dumps(record.to_json()))
    assert Record.from_json(written) == record
    expected = copy.deepcopy(FIRST_FORMAT)
    expected |= {"format": 2, "alphas": expected.pop("wise_ft_family")}
    expected["data"]["split"]["splits"] = expected["data"]["split"].pop("parts")
    written["data"]["arguments"] = expected["data"]["arguments"]
    assert written == expected


def test_how_a_run_was_embedded_is_kept_where_it_is_not_the_default():
    made = copy.deepcopy(FIRST_FORMAT)
    made["runs"]["test"]["zero_shot"] |= {"dtype": "bfloat16", "long_text": "pool", "torch_compile": True}
    record = Record.from_json(made)
    run, older = record.runs["test"]["zero_shot"], record.runs["test"]["ensemble"]
    assert run.embedding == run.plain.embedding
    assert run.plain != RunRecord("aa"), "a re-ranking of it is not one of a run in float32"
    assert older.embedding == {"dtype": None, "torch_compile": None, "long_text": None}
    written = record.to_json()["runs"]["test"]
    assert written == made["runs"]["test"]


def test_what_has_not_come_so_far_is_not_written():
    first = {name: FIRST_FORMAT[name] for name in ("base_model", "data", "recipe")}
    written = Record.from_json(first).to_json()
    assert not {"train", "wise_ft", "alphas", "runs"} & set(written)
    assert written["data"]["test_list"] is None, "that there is none was found out"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["base_model"], None),
        (["base_model", "sha256"], 7),
        (["data", "arguments", "colour"], "blue"),
        (["data", "arguments", "text_fields"], "title"),
        (["data", "split"], []),
        (["data", "split", "parts", "train", "rows"], "many"),
        (["runs"], []),
        (["runs", "test"], {"zero_shot": []}),
        (["wise_ft", "alpha"], "high"),
        (["train", "log_history"], {}),
        (["format"], 3),
    ],
)
def test_what_is_damaged_is_one_sentence(path, value, tmp_path):
    damaged = copy.deepcopy(FIRST_FORMAT)
    *way, name = path
    section = damaged
    for step in way:
        section = section[step]
    section[name] = value
    (tmp_path / "newsmatch.json").write_text(json.dumps(damaged))
    with pytest.raises(NewsMatchError, match=r"newsmatch\.json is damaged .*--overwrite\.$") as error:
        Record.load(tmp_path / "newsmatch.json")
    assert len(str(error.value)) < 500 + len(str(tmp_path))


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "[" * 20_000, '"text"', "1e400"])
def test_what_is_no_record_is_one_sentence(content, tmp_path):
    (tmp_path / "newsmatch.json").write_text(content)
    with pytest.raises(NewsMatchError, match="is damaged"):
        Record.load(tmp_path / "newsmatch.json")


def test_a_section_that_has_not_come_so_far_is_one_sentence():
    record = Record.from_json(FIRST_FORMAT)
    assert record.training is record.train
    assert record.interpolated is record.wise_ft
    record.train = record.wise_ft = None
    with pytest.raises(NewsMatchError, match=r"no training yet; run `hf-newsmatch train` first\.$"):
        record.training  # noqa: B018
    with pytest.raises(NewsMatchError, match=r"no WiSE-FT model yet; run `hf-newsmatch interpolate` first\.$"):
        record.interpolated  # noqa: B018


def test_a_published_list_has_its_name_in_place_of_the_path():
    assert SourceFile("aa", path="/news/articles.tsv").source == "/news/articles.tsv"
    assert SourceFile("aa", name="articles.tsv").source == "articles.tsv"
