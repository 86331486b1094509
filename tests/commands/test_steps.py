"""The scripts as users run them, in this process: arguments in, exit code, files and messages out."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPModel

from hf_newsmatch import NewsMatchError, Ranking, load_clip, load_pairs, read_predictions, write_predictions
from hf_newsmatch.data.text import join_text
from hf_newsmatch.experiment.folder import Experiment
from hf_newsmatch.models.weights import weights_sha256
from hf_newsmatch.retrieval.articles import embed_articles
from hf_newsmatch.retrieval.embeddings import embed_images, embed_texts
from hf_newsmatch.retrieval.rerank import Bank, rerank
from tests.utils.news import write_news_folder, write_test_lists

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def train(run, checkpoints):
    def train(*argv) -> tuple[int, str, str]:
        base = ["--model_name_or_path", checkpoints / "zero_shot", "--use_cpu", "true"]
        short = ["--num_train_epochs", 2, "--per_device_train_batch_size", 8, "--learning_rate", 3e-3]
        return run("train", *base, *short, *argv)

    return train


def test_all_steps_in_a_row(run, train, tmp_path):
    news = write_news_folder(tmp_path / "news")
    write_test_lists(news, write_news_folder(tmp_path / "later", count=10, first=50, shared=2))
    for picture in (tmp_path / "later" / "images").iterdir():
        picture.rename(news / "images" / picture.name)
    (news / "images" / "P5.png").write_bytes(b"")
    out = tmp_path / "out"
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"articles_file: {news}/articles.tsv\ntest_articles_file: {news}/test_articles.tsv\n"
        f"test_images: {news}/test_images.tsv\ngold_file: {news}/test_gold.tsv\nimage_dir: {news}/images\n"
        f"output_dir: {out}\ntext_fields: [title]\n"
    )

    assert train("--config", recipe)[0] == 0
    record = json.loads((out / "newsmatch.json").read_text())
    assert record["data"]["unusable_pictures"]["counts"] == {"empty file": 1}
    assert len([row for row in record["train"]["log_history"] if "eval_mrr@100" in row]) == 2
    assert record["train"]["arguments"]["learning_rate"] == 3e-3
    CLIPModel.from_pretrained(out / "fine_tuned")

    code, stdout, _ = run("interpolate", "--config", recipe)
    assert code == 0
    wise_ft = json.loads((out / "newsmatch.json").read_text())["wise_ft"]
    assert [point["alpha"] for point in wise_ft["curve"]] == [step / 10 for step in range(11)]
    best = max(point["recall@1"] for point in wise_ft["curve"])
    assert [point["recall@1"] for point in wise_ft["curve"] if point["alpha"] == wise_ft["alpha"]] == [best]
    assert stdout.count("◀") == 2  # in the table and in its caption

    assert run("predict", "--config", recipe)[0] == 0
    for split, count in (("validation", 8), ("test", 10)):
        rankings = [read_predictions(out / "runs" / split / f"{name}.tsv") for name in record_runs(out, split)]
        assert len(rankings) == 4
        assert all(len(ranking) == count for ranking in rankings)
    assert all(len(row) == 8 for row in rankings[0].image_ids)

    code, stdout, _ = run("evaluate", "--config", recipe)
    assert code == 0
    scores = json.loads((out / "scores.json").read_text())
    assert list(scores) == ["validation", "test"]
    assert list(scores["test"]["runs"]) == ["zero_shot", "fine_tuned", "wise_ft", "ensemble"]
    gold = dict(line.split("\t") for line in (news / "test_gold.tsv").read_text().splitlines()[1:])
    for name, row in scores["test"]["runs"].items():
        ranking = read_predictions(out / "runs" / "test" / f"{name}.tsv")
        reciprocal = [1 / (row.index(gold[a]) + 1) for a, row in zip(ranking.article_ids, ranking.image_ids)]
        assert row["mrr@100"]["mean"] == pytest.approx(np.mean(reciprocal))
        assert f"{row['mrr@100']['mean']:.3f}" in stdout
    assert "optimistic" in stdout
    assert "| zero_shot |" in (out / "scores.md").read_text()

    # the same files, scored by themselves
    files = [out / "runs" / "test" / f"{name}.tsv" for name in ("zero_shot", "wise_ft")]
    code, stdout, _ = run(
        "evaluate",
        "--predictions",
        *files,
        "--gold",
        news / "test_gold.tsv",
        "--scores_file",
        tmp_path / "s.json",
    )
    assert code == 0
    alone = json.loads((tmp_path / "s.json").read_text())["test_gold.tsv"]["runs"]
    assert alone[str(files[1])]["mrr@100"] == scores["test"]["runs"]["wise_ft"]["mrr@100"]

    # another alpha makes the WiSE-FT run stale
    assert run("interpolate", "--output_dir", out, "--alpha", 0.35)[0] == 0
    code, _, err = run("evaluate", "--output_dir", out)
    assert code == 2
    assert "wise_ft.tsv is stale" in err


def record_runs(out, split) -> list[str]:
    return list(json.loads((out / "newsmatch.json").read_text())["runs"][split])


def test_training_again_gives_the_same_and_needs_overwrite(train, tmp_path):
    news = write_news_folder(tmp_path / "news")
    out = tmp_path / "out"
    flags = ["--articles_file", news / "articles.tsv", "--output_dir", out]
    assert train(*flags)[0] == 0
    first = (out / "fine_tuned" / "model.safetensors").read_bytes()
    code, _, err = train(*flags)
    assert code == 2
    assert "--overwrite" in err
    assert train(*flags, "--overwrite")[0] == 0
    assert (out / "fine_tuned" / "model.safetensors").read_bytes() == first
    assert train(*flags, "--overwrite", "--seed", 7)[0] == 0
    assert (out / "fine_tuned" / "model.safetensors").read_bytes() != first


def test_zero_shot_alone(run, checkpoints, tmp_path):
    """Run 1 needs no training."""
    news = write_news_folder(tmp_path / "news")
    flags = ["--output_dir", tmp_path / "out", "--articles_file", news / "articles.tsv"]
    assert run("predict", *flags, "--model_name_or_path", checkpoints / "zero_shot", "--splits", "test")[0] == 0
    assert record_runs(tmp_path / "out", "test") == ["zero_shot"]
    assert run("evaluate", "--output_dir", tmp_path / "out")[0] == 0
    code, _, err = run("interpolate", "--output_dir", tmp_path / "out")
    assert code == 2
    assert "no fine-tuned model" in err


def test_an_archive_is_ranked_without_any_training_list(run, checkpoints, train, tmp_path):
    """Headlines and a folder of pictures are enough; what needs pairs says so."""
    news = write_news_folder(tmp_path / "news")
    write_test_lists(news, news)
    out, base = ["--output_dir", tmp_path / "out"], ["--model_name_or_path", checkpoints / "zero_shot"]
    named = ["--test_articles_file", news / "test_articles.tsv", "--test_images", news / "images"]
    assert run("predict", *out, *base, *named)[0] == 0
    assert record_runs(tmp_path / "out", "test") == ["zero_shot"]
    assert not (tmp_path / "out" / "runs" / "validation").exists()

    # the same as those of the split of an experiment that has pairs as well
    pairs = ["--output_dir", tmp_path / "pairs", "--articles_file", news / "articles.tsv", "--splits", "test"]
    assert run("predict", *pairs, *base, *named)[0] == 0
    files = [tmp_path / folder / "runs" / "test" / "zero_shot.tsv" for folder in ("out", "pairs")]
    assert files[0].read_text() == files[1].read_text()

    # the folder's ids are the names of its pictures
    file_of = dict(line.split("\t")[4:9:4] for line in (news / "test_images.tsv").read_text().splitlines()[1:])
    header, *gold = [line.split("\t") for line in (news / "test_gold.tsv").read_text().splitlines()]
    rows = [header, *([article_id, Path(file_of[image_id]).stem] for article_id, image_id in gold)]
    (tmp_path / "gold.tsv").write_text("\n".join(map("\t".join, rows)) + "\n")
    assert run("predict", *out, "--gold_file", tmp_path / "gold.tsv")[0] == 0
    assert run("evaluate", *out)[0] == 0
    assert list(json.loads((tmp_path / "out" / "scores.json").read_text())) == ["test"]
    assert run("report", *out)[0] == 0

    for command, message in (
        (["predict", *out, "--rerank", "csls"], "--rerank chooses its settings on the validation split"),
        (["predict", *out, "--splits", "validation"], "has no validation split, only test"),
        (["interpolate", *out], "no fine-tuned model"),
        (["train", "--output_dir", tmp_path / "new", *base, *named], "No data is named: give --articles_file"),
    ):
        code, _, err = run(*command)
        assert code == 2
        assert message in one_sentence(err)


@pytest.fixture
def trained(checkpoints, tmp_path):
    """The folder of a run after training, without the training."""
    out = tmp_path / "out"
    shutil.copytree(checkpoints / "fine_tuned", out / "fine_tuned")
    zero_shot, fine_tuned = (weights_sha256(checkpoints / name) for name in ("zero_shot", "fine_tuned"))
    record = {
        "base_model": {"id": str(checkpoints / "zero_shot"), "revision": None, "sha256": zero_shot},
        "data": {"arguments": {}, "files": {}, "test_list": None},
        "train": {"sha256": fine_tuned},
    }
    (out / "newsmatch.json").write_text(json.dumps(record))
    return out


def test_several_alphas_have_folders_of_their_own(run, trained):
    assert run("interpolate", "--output_dir", trained, "--alpha", 0.5)[0] == 0
    before = json.loads((trained / "newsmatch.json").read_text())["wise_ft"]
    assert run("interpolate", "--output_dir", trained, "--alpha", 0.4, 1, 0.125)[0] == 0
    assert run("interpolate", "--output_dir", trained, "--alpha", -0.3, 0.4, "--extrapolate")[0] == 0
    record = json.loads((trained / "newsmatch.json").read_text())
    names = ["wise_ft_alpha_0.40", "wise_ft_alpha_1.00", "wise_ft_alpha_0.125", "wise_ft_alpha_-0.30"]
    assert {name: made["alpha"] for name, made in record["alphas"].items()} == dict(zip(names, [0.4, 1, 0.125, -0.3]))
    for name, made in record["alphas"].items():
        assert made["sha256"] == weights_sha256(trained / name)
    assert made["endpoints"] == before["endpoints"]
    # the run's own WiSE-FT model is still what it was
    assert record["wise_ft"] == before
    experiment = Experiment.open(trained)
    assert experiment.has_model("wise_ft")
    assert experiment.model_sha256("wise_ft") == before["sha256"]
    # a new training leaves none
    experiment.start()
    assert [path.name for path in trained.iterdir()] == ["newsmatch.json"]


def test_alphas_by_weight_are_recorded(run, trained):
    flags = ["--alpha_vision", 0.3, "--alpha_text", 0.6, "--max_shard_size", "20KB", "--dtype", "float16"]
    assert run("interpolate", "--output_dir", trained, *flags)[0] == 0
    made = json.loads((trained / "newsmatch.json").read_text())["wise_ft"]
    assert (made["alpha"], made["alpha_vision"], made["alpha_text"]) == (None, 0.3, 0.6)
    assert CLIPModel.from_pretrained(trained / "wise_ft").dtype == torch.float16
    # shards are a model too
    assert len(list((trained / "wise_ft").glob("*.safetensors"))) > 1
    assert Experiment.open(trained).has_model("wise_ft")
    (trained / "alphas.yaml").write_text("text_model.*: 0.25\n")
    assert (
        run("interpolate", "--output_dir", trained, "--alpha", 0.5, "--alphas_file", trained / "alphas.yaml")[0] == 0
    )
    made = json.loads((trained / "newsmatch.json").read_text())["wise_ft"]
    assert (made["alpha"], made["alphas"]) == (0.5, {"text_model.*": 0.25})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--alpha", "0.4", "0.4"], "names 0.4 twice"),
        (["--alpha", "auto", "0.4"], "or auto alone, not 'auto'"),
        (
            ["--alpha", "auto", "--alpha_vision", "0.4"],
            "--alpha_vision goes with one given --alpha or none, not with auto",
        ),
        (["--alpha", "0.2", "0.4", "--alpha_text", "0.4"], "--alpha_text goes with one given --alpha or none"),
        (["--alpha_text", "0.4"], "No alpha is given for"),
        (["--logit_scale_with", "text"], "goes with --alpha_vision and --alpha_text"),
        (["--alphas_file", "absent.yaml"], "absent.yaml cannot be read"),
        (["--alpha", "0.4", "--dtype", "int4"], "no dtype 'int4'"),
        (["--alpha", "0.4", "--max_shard_size", "much"], "not 'much'"),
    ],
)
def test_interpolate_refuses(run, trained, flags, message):
    before = sorted(trained.rglob("*"))
    code, _, err = run("interpolate", "--output_dir", trained, *flags)
    assert code == 2
    assert message in one_sentence(err)
    assert sorted(trained.rglob("*")) == before


def test_a_given_alpha_imports_no_data_and_no_models(trained):
    """They take seconds to import, and interpolating takes one."""
    code = (
        "import runpy, sys; sys.argv[0] = 'interpolate.py';"
        f" runpy.run_path({str(SCRIPTS / 'interpolate.py')!r}, run_name='__main__');"
        " print({'datasets', 'pyarrow', 'torch'} & set(sys.modules))"
    )
    flags = ["--output_dir", str(trained), "--alpha", "0.4"]
    done = subprocess.run([sys.executable, "-c", code, *flags], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_predictions_without_gold_are_not_scored(run, checkpoints, tmp_path):
    news = write_news_folder(tmp_path / "news")
    write_test_lists(news, news)
    flags = [
        "--output_dir",
        tmp_path / "out",
        "--articles_file",
        news / "articles.tsv",
        "--image_dir",
        news / "images",
    ]
    lists = ["--test_articles_file", news / "test_articles.tsv", "--test_images", news / "test_images.tsv"]
    base = ["--model_name_or_path", checkpoints / "zero_shot"]
    assert run("predict", *flags, *lists, *base, "--splits", "test")[0] == 0
    code, _, err = run("evaluate", "--output_dir", tmp_path / "out")
    assert code == 2
    assert "no prediction that can be scored, since the gold is missing; name the true pictures with" in one_sentence(
        err
    )
    assert not (tmp_path / "out" / "scores.json").exists()
    # the gold comes later
    assert run("predict", "--output_dir", tmp_path / "out", "--gold_file", news / "test_gold.tsv")[0] == 0
    assert run("evaluate", "--output_dir", tmp_path / "out")[0] == 0


def test_training_over_leaves_nothing_of_the_first(run, train, checkpoints, tmp_path):
    news = write_news_folder(tmp_path / "news")
    flags = ["--articles_file", news / "articles.tsv", "--output_dir", tmp_path / "out"]
    assert train(*flags)[0] == 0
    assert run("interpolate", "--output_dir", tmp_path / "out", "--alpha", 0.4)[0] == 0
    # what is refused leaves everything as it was
    assert train(*flags, "--overwrite", "--metric_for_best_model", "bleu")[0] == 2
    assert (tmp_path / "out" / "wise_ft").exists()
    base = ["--model_name_or_path", checkpoints / "fine_tuned"]
    assert train(*flags, *base, "--overwrite")[0] == 0
    assert not (tmp_path / "out" / "wise_ft").exists()
    assert run("predict", "--output_dir", tmp_path / "out")[0] == 0
    assert record_runs(tmp_path / "out", "test") == ["zero_shot", "fine_tuned", "ensemble"]


def test_lora_ends_in_an_ordinary_checkpoint(run, train, checkpoints, tmp_path):
    pytest.importorskip("peft", reason="the extra [peft] is not installed")
    news, out = write_news_folder(tmp_path / "news"), tmp_path / "out"
    assert train("--articles_file", news / "articles.tsv", "--output_dir", out, "--lora_rank", 2)[0] == 0
    assert list(out.glob("checkpoint-*/adapter_model.safetensors"))
    assert not list(out.glob("checkpoint-*/model.safetensors"))
    base = CLIPModel.from_pretrained(checkpoints / "zero_shot").state_dict()
    fine_tuned = CLIPModel.from_pretrained(out / "fine_tuned").state_dict()
    assert fine_tuned.keys() == base.keys()
    assert any(not torch.equal(fine_tuned[name], base[name]) for name in base)
    assert run("interpolate", "--output_dir", out)[0] == 0

    # a checkpoint of adapters is no start for a training of all weights
    shutil.rmtree(out / "fine_tuned")
    checkpoint = next(out.glob("checkpoint-*"))
    flags = ["--articles_file", news / "articles.tsv", "--output_dir", out, "--resume_from_checkpoint", checkpoint]
    code, _, err = train(*flags)
    assert (code, err.count("began with lora_rank 2, not None")) == (2, 1)


def test_the_same_command_goes_on_with_an_unfinished_training(train, tmp_path):
    news = write_news_folder(tmp_path / "news")
    flags = ["--articles_file", news / "articles.tsv", "--output_dir", tmp_path / "out"]
    code, out, _ = train(*flags)
    assert code == 0
    assert "Learning curve" in out
    finished = (tmp_path / "out" / "fine_tuned" / "model.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "out" / "fine_tuned")
    (checkpoint,) = (tmp_path / "out").glob("checkpoint-*")
    for other, message in (
        (["--articles_file", write_news_folder(tmp_path / "other", first=100) / "articles.tsv"], "another data"),
        (["--learning_rate", "0.1"], "began with learning_rate 0.003, not 0.1"),
        (["--seed", "7"], "began with seed 42, not 7"),
        (["--per_device_train_batch_size", "4"], "began with train_batch_size 8, not 4"),
    ):
        for resume in ([], ["--resume_from_checkpoint", checkpoint]):
            code, _, err = train(*flags, *other, *resume)
            assert code == 2
            assert message in one_sentence(err)
    assert train(*flags)[0] == 0
    assert (tmp_path / "out" / "fine_tuned" / "model.safetensors").read_bytes() == finished


@pytest.mark.slow
@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")])
def test_a_signal_saves_and_tells_it(checkpoints, train, tmp_path, number, name):
    """In a process of its own, as a scheduler or a user stops it; the second start ends as an undisturbed training."""
    news = write_news_folder(tmp_path / "news")
    flags = ["--articles_file", news / "articles.tsv", "--num_train_epochs", "12", "--report_to", "none"]
    command = [sys.executable, SCRIPTS / "train.py", "--model_name_or_path", checkpoints / "zero_shot", *flags]
    command += ["--use_cpu", "true", "--per_device_train_batch_size", "8", "--learning_rate", "3e-3"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*map(str, command), "--output_dir", str(tmp_path / "out")],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not list((tmp_path / "out").glob("checkpoint-*")):
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == 128 + number, err
    assert "Traceback" not in err
    assert f"Stopped by {name}; the same command goes on from" in err
    assert not (tmp_path / "out" / "fine_tuned").exists()
    assert train(*flags, "--output_dir", tmp_path / "out")[0] == 0
    assert train(*flags, "--output_dir", tmp_path / "undisturbed")[0] == 0
    first, second = (
        (tmp_path / name / "fine_tuned" / "model.safetensors").read_bytes() for name in ("out", "undisturbed")
    )
    assert first == second


def test_the_texts_that_clip_reads_are_the_same_in_every_step(run, train, tmp_path):
    """With --text_fields title, what the bodies say changes nothing; they are all different here."""
    news = write_news_folder(tmp_path / "news")
    results = []
    for name in ("first", "second"):
        flags = ["--articles_file", news / "articles.tsv", "--output_dir", tmp_path / name, "--text_fields", "title"]
        assert train(*flags)[0] == 0
        assert run("interpolate", "--output_dir", tmp_path / name)[0] == 0
        assert run("predict", "--output_dir", tmp_path / name)[0] == 0
        record = json.loads((tmp_path / name / "newsmatch.json").read_text())
        tables = [(tmp_path / name / "runs" / "test" / f"{run}.tsv").read_text() for run in record["runs"]["test"]]
        results.append((record["train"]["sha256"], record["wise_ft"]["curve"], tables))
        rows = (news / "articles.tsv").read_text()
        (news / "articles.tsv").write_text(rows.replace("About p", "Quite another body about "))
    assert results[0] == results[1]


@pytest.mark.parametrize("name", ["train", "interpolate", "predict", "evaluate", "study"])
def test_help(run, name):
    code, stdout, _ = run(name, "--help")
    assert code == 0
    assert "--output_dir" in stdout


def one_sentence(err: str) -> str:
    lines = [line for line in err.splitlines() if "error:" in line]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    return lines[0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--articles_file", "absent.tsv"], "absent.tsv"),
        (["--articles_file", "{tmp}/empty.tsv"], "empty.tsv"),
        (["--articles_file", "{tmp}/unknown.tsv"], "colour"),
        (["--articles_file", "{tmp}/short.tsv"], "Line 3 of "),
        (["--articles_file", "{tmp}/news/articles.tsv", "--image_dir", "{tmp}/absent"], "absent"),
        (["--articles_file", "{tmp}/news/articles.tsv", "--model_name_or_path", "{tmp}/news"], "No checkpoint of"),
        (["--articles_file", "{tmp}/news/articles.tsv", "--output_dir", "{tmp}/empty.tsv/out"], "empty.tsv"),
        (["--articles_file", "{tmp}/news/articles.tsv", "--output_dir", "{tmp}/empty.tsv"], "empty.tsv"),
        (["--articles_file", "{tmp}/news/articles.tsv", "--logits_factor", "-1"], "--logits_factor must be positive"),
        (["--config", "{tmp}/absent.yaml"], "absent.yaml"),
        (["--articles_file", "{tmp}/news/articles.tsv", "--report_to", "tensorboard"], "TensorBoard"),
        (["--articles_file", "{tmp}/news/articles.tsv", "--resume_from_checkpoint", "absent"], "absent"),
        (["--articles_file", "{tmp}/news/articles.tsv", "--metric_for_best_model", "bleu"], "bleu"),
        (["--articles_file", "{tmp}/news/articles.tsv", "--optim", "adafactor"], "--coupled_weight_decay false"),
        (["--articles_file", "{tmp}/news/articles.tsv", "--label_smoothing_factor", "0.1"], "label_smoothing"),
        (["--articles_file", "{tmp}/news/articles.tsv", "--per_device_train_batch_size", "0"], "at least 1"),
        (["--articles_file", "{tmp}/news/articles.tsv", "--eval_strategy", "no"], "strategy"),
    ],
)
def test_train_refuses(train, tmp_path, flags, message):
    write_news_folder(tmp_path / "news")
    (tmp_path / "empty.tsv").write_text("")
    (tmp_path / "unknown.tsv").write_text("colour\tshape\nred\tround\n")
    rows = (tmp_path / "news" / "articles.tsv").read_text().splitlines()
    (tmp_path / "short.tsv").write_text("\n".join([*rows[:2], rows[2].rsplit("\t", 3)[0], *rows[3:]]))
    before = sorted(tmp_path.rglob("*"))
    flags = [flag.format(tmp=tmp_path) for flag in flags]
    if "--output_dir" not in flags:
        flags += ["--output_dir", str(tmp_path / "out")]
    code, _, err = train(*flags)
    assert code == 2
    assert message in one_sentence(err)
    made = set(tmp_path.rglob("*")) - set(before)
    assert made <= {tmp_path / "out"}


@pytest.mark.parametrize("alpha", ["1.5", "-0.1", "nan", "half"])
def test_interpolate_refuses_alpha(run, tmp_path, alpha):
    code, _, err = run("interpolate", "--output_dir", tmp_path, f"--alpha={alpha}")
    assert code == 2
    assert "alpha" in one_sentence(err)


@pytest.mark.parametrize("name", ["interpolate", "predict", "evaluate"])
def test_later_steps_need_a_run(run, tmp_path, name):
    code, _, err = run(name, "--output_dir", tmp_path / "absent")
    assert code == 2
    assert "holds no experiment" in one_sentence(err)


def test_evaluate_refuses(run, tmp_path):
    (tmp_path / "run.tsv").write_text("articleID\tiid1\na1\tp1\n")
    (tmp_path / "gold.tsv").write_text("articleID\tiid\nb1\tp1\n")
    code, _, err = run("evaluate", "--predictions", tmp_path / "run.tsv", "--gold", tmp_path / "gold.tsv")
    assert code == 2
    assert "None of the 1 ranked articles" in one_sentence(err)
    code, _, err = run("evaluate", "--gold", tmp_path / "gold.tsv")
    assert code == 2
    assert "--gold goes with --predictions" in one_sentence(err)
    code, _, err = run("evaluate", "--predictions", tmp_path / "run.tsv")
    assert code == 2
    assert "--gold" in one_sentence(err)


def test_predict_refuses(run, checkpoints, tmp_path):
    news = write_news_folder(tmp_path / "news")
    out = ["--output_dir", tmp_path / "out"]
    base = ["--model_name_or_path", checkpoints / "zero_shot"]
    assert run("predict", *out, *base, "--articles_file", news / "articles.tsv", "--splits", "test")[0] == 0
    for flags, message in (
        (["--runs", "fine_tuned"], "no model for the run 'fine_tuned'"),
        (["--runs", "best"], "no model for the run 'best'"),
        (["--splits", "train"], "no train split"),
        (["--articles_file", "other.tsv"], "was made with --articles_file"),
        (["--k", "0"], "k must be at least 1"),
        (["--model_name_or_path", "somebody/other"], "not from somebody/other"),
    ):
        code, _, err = run("predict", *out, *flags)
        assert code == 2
        assert message in one_sentence(err)


def test_the_data_of_the_run_is_what_the_reader_gives(train, tmp_path):
    news = write_news_folder(tmp_path / "news")
    assert train("--articles_file", news / "articles.tsv", "--output_dir", tmp_path / "out")[0] == 0
    split = json.loads((tmp_path / "out" / "newsmatch.json").read_text())["data"]["split"]
    assert sum(part["rows"] for part in split["splits"].values()) == len(load_pairs(news / "articles.tsv"))


@pytest.fixture
def trained_run(train, tmp_path):
    """The folder of a run that has been trained, on dated articles."""
    news = write_news_folder(tmp_path / "news")
    assert train("--articles_file", news / "articles.tsv", "--output_dir", tmp_path / "out")[0] == 0
    return tmp_path / "out"


def test_every_rule_chooses_from_the_same_curve(run, trained_run):
    """The sweep is the same for every rule; what is chosen is recorded, marked in the table and drawn."""
    curves = []
    for rule, slices in (("best", 4), ("one_standard_error", 4), ("time_robust", 3), ("forward_chaining", 2)):
        flags = ["--alpha_rule", rule, "--alpha_slices", slices, "--alpha_metric", "mrr@100"]
        code, stdout, err = run("interpolate", "--output_dir", trained_run, *flags)
        assert code == 0, err
        record = json.loads((trained_run / "newsmatch.json").read_text())["wise_ft"]
        assert (record["alpha_rule"], record["alpha_metric"]) == (rule, "mrr@100")
        (marked,) = [line for line in stdout.splitlines() if "◀ │" in line]
        assert f" {record['alpha']:.1f} " in marked
        assert len(record.get("folds", [])) == (1 if rule == "forward_chaining" else 0)
        curves.append(record["curve"])
        for ending in ("csv", "png", "pdf"):
            assert (trained_run / f"alpha_curve.{ending}").stat().st_size > 500
            (trained_run / f"alpha_curve.{ending}").unlink()
    assert all(curve == curves[0] for curve in curves)
    assert not list(trained_run.glob(".folds*"))


def test_an_alpha_for_each_tower(run, trained_run, checkpoints, tmp_path):
    code, stdout, err = run("interpolate", "--output_dir", trained_run, "--per_tower", "true", "--max_evaluations", 14)
    assert code == 0, err
    record = json.loads((trained_run / "newsmatch.json").read_text())["wise_ft"]
    (marked,) = [line for line in stdout.splitlines() if "◀ │" in line]
    assert f" {record['alpha_vision']:g} │" in marked
    assert f" {record['alpha_text']:g} │" in marked
    ends = [
        load_file(folder / "model.safetensors") for folder in (checkpoints / "zero_shot", trained_run / "fine_tuned")
    ]
    made = load_file(trained_run / "wise_ft" / "model.safetensors")
    for name, tensor in made.items():
        alpha = record["alpha_vision" if name.startswith("vis") else "alpha_text"]
        torch.testing.assert_close(tensor, (1 - alpha) * ends[0][name] + alpha * ends[1][name])
    with open(trained_run / "alpha_curve.csv", newline="") as stream:
        rows = [(float(row["alpha_vision"]), float(row["alpha_text"])) for row in csv.DictReader(stream)]
    assert len(rows) >= 36
    assert (record["alpha_vision"], record["alpha_text"]) in rows
    # and on it goes
    assert run("predict", "--output_dir", trained_run, "--runs", "wise_ft")[0] == 0
    assert run("evaluate", "--output_dir", trained_run)[0] == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--alpha_rule", "luck"], "no rule 'luck'"),
        (["--alpha_metric", "recall@7"], "'recall@7'; the metrics are"),
        (["--alpha_slices", "1"], "--alpha_slices must be at least 2, not 1"),
        (["--alpha_rule", "time_robust", "--alpha_slices", "7"], "6 rows cannot be cut into 7 slices"),
        (["--per_tower", "true", "--alpha", "0.4"], "--per_tower searches the alphas itself"),
        (["--per_tower", "true", "--alpha_text", "0.4"], "--per_tower searches the alphas itself"),
        (["--per_tower", "true", "--alpha_rule", "forward_chaining"], "one alpha for both towers"),
        (["--per_tower", "true", "--max_evaluations", "5"], "5 are too few"),
    ],
)
def test_interpolate_refuses_what_it_cannot_choose_by(run, trained_run, flags, message):
    code, _, err = run("interpolate", "--output_dir", trained_run, *flags)
    assert code == 2
    assert message in one_sentence(err)
    assert not (trained_run / "alpha_curve.csv").exists()


@pytest.mark.parametrize("evaluations", [0, 8, 11])
def test_too_few_evaluations_are_refused_before_the_data_are_read(evaluations):
    from hf_newsmatch.configs import InterpolateArguments
    from hf_newsmatch.experiment.alpha_choice import choose_for_experiment

    args = InterpolateArguments(per_tower=True, max_evaluations=evaluations)
    with pytest.raises(NewsMatchError, match=f"{evaluations} are too few"):
        choose_for_experiment(None, args)  # it has no data to read


@pytest.mark.parametrize("rule", ["time_robust", "forward_chaining"])
def test_rules_of_time_need_dates(run, train, tmp_path, rule):
    news = write_news_folder(tmp_path / "news")
    rows = [line.rsplit("\t", 1) for line in (news / "articles.tsv").read_text().splitlines()]
    (news / "articles.tsv").write_text(
        "\n".join([f"{line}\t{'Date' * (not number)}" for number, (line, _) in enumerate(rows)])
    )
    flags = ["--articles_file", news / "articles.tsv", "--output_dir", tmp_path / "out"]
    assert train(*flags)[0] == 0
    code, _, err = run("interpolate", "--output_dir", tmp_path / "out", "--alpha_rule", rule)
    assert code == 2
    assert "no dates to slice them by" in one_sentence(err)
    # the user says that the file is in the order of time
    assert train(*flags, "--overwrite", "--sort_by", "file")[0] == 0
    assert run("interpolate", "--output_dir", tmp_path / "out", "--alpha_rule", rule, "--alpha_slices", 2)[0] == 0


def test_the_ensemble_averages_the_similarities_of_its_two_runs(run, trained_run):
    assert run("predict", "--output_dir", trained_run, "--ensemble_weight", 0.25)[0] == 0
    rankings = {
        name: read_predictions(trained_run / "runs" / "test" / f"{name}.tsv")
        for name in ("zero_shot", "fine_tuned", "ensemble")
    }
    scores = {
        name: [dict(zip(ids, values)) for ids, values in zip(ranking.image_ids, ranking.scores)]
        for name, ranking in rankings.items()
    }
    for zero_shot, fine_tuned, both in zip(*(scores[name] for name in rankings)):
        assert both == pytest.approx(
            {name: 0.75 * zero_shot[name] + 0.25 * fine_tuned[name] for name in zero_shot}, abs=1e-6
        )
    record = json.loads((trained_run / "newsmatch.json").read_text())
    assert record["runs"]["test"]["ensemble"]["weight"] == 0.25
    # alone, it gives the same
    before = (trained_run / "runs" / "test" / "ensemble.tsv").read_text()
    assert run("predict", "--output_dir", trained_run, "--runs", "ensemble", "--ensemble_weight", 0.25)[0] == 0
    assert (trained_run / "runs" / "test" / "ensemble.tsv").read_text() == before
    assert run("predict", "--output_dir", trained_run, "--ensemble_weight", 1.5)[0] == 2
    # it is as stale as either of its runs
    record["runs"]["test"]["ensemble"]["model_sha256"] = "another"
    (trained_run / "newsmatch.json").write_text(json.dumps(record))
    code, _, err = run("evaluate", "--output_dir", trained_run)
    assert code == 2
    assert "ensemble.tsv is stale" in one_sentence(err)


RERANKINGS = ["dual_softmax", "csls", "querybank", "sinkhorn", "assignment", "neighbours"]


def test_ranking_again(run, checkpoints, tmp_path):
    news, out = write_news_folder(tmp_path / "news"), tmp_path / "out"
    flags = ["--articles_file", news / "articles.tsv", "--model_name_or_path", checkpoints / "zero_shot"]
    assert run("predict", *flags, "--output_dir", out)[0] == 0
    assert record_runs(out, "test") == ["zero_shot"], "off by default"
    code, _, _ = run("predict", "--output_dir", out, "--splits", "test", "--rerank", "none", *RERANKINGS)
    assert code == 0
    assert record_runs(out, "validation") == ["zero_shot"]
    names = [f"zero_shot+{method}" for method in RERANKINGS]
    assert record_runs(out, "test") == ["zero_shot", *names]

    # the same from the functions, with the settings of the record
    experiment = Experiment.open(out)
    data = experiment.data()
    model = load_clip(checkpoints / "zero_shot")
    embeds = {
        name: embed_articles(*model, split.articles, split.images, progress=False)
        for name, split in data.splits.items()
    }
    # what was published before the test part: texts and, row by row, their pictures
    before = [row for part in (data.train, data.validation) for row in part]
    texts = [join_text(row) for row in before]
    text_embeds = embed_texts(*model, texts, progress=False)
    image_embeds = embed_images(*model, [row["image"] for row in before], progress=False)
    test = data.splits["test"]
    for method in RERANKINGS:
        made = experiment.record.runs["test"][f"zero_shot+{method}"]
        assert made.model_sha256 == experiment.record.runs["test"]["zero_shot"].model_sha256
        chosen = made.rerank
        assert chosen["validation"]["gain"]["low"] <= chosen["validation"]["gain"]["high"]
        known = {
            "querybank": {"bank": text_embeds},
            "neighbours": {
                "texts": list(map(join_text, test.articles)),
                "bank": Bank(texts, text_embeds, image_embeds),
            },
        }.get(method, {})
        ids = test.articles["article_id"], test.images["image_id"]
        expected = rerank(*embeds["test"], *ids, method, **chosen["settings"], **known)
        written = read_predictions(out / "runs" / "test" / f"zero_shot+{method}.tsv")
        assert written.image_ids == expected.image_ids
        np.testing.assert_allclose(written.scores, expected.scores, atol=1e-6)

    code, stdout, _ = run("evaluate", "--output_dir", out)
    assert code == 0
    assert "zero_shot +" in stdout
    scores = json.loads((out / "scores.json").read_text())["test"]
    assert list(scores["differences"]) == names
    assert set(scores["baselines"].values()) == {"zero_shot"}
    assert "| zero_shot+csls − zero_shot |" in (out / "scores.md").read_text()

    code, _, err = run("predict", "--output_dir", out, "--rerank", "magic")
    assert code == 2
    assert "'magic'" in err


def test_fusing_files(run, tmp_path):
    files = [tmp_path / "one.tsv", tmp_path / "two.tsv"]
    write_predictions(Ranking(["a", "b"], [["p", "q"], ["q", "p"]], [[0.9, 0.1], [0.6, 0.5]]), files[0])
    write_predictions(Ranking(["b", "a"], [["p", "q"], ["q", "p"]], [[0.9, 0.1], [0.6, 0.5]]), files[1])
    code, _, _ = run("fuse", *files, "--method", "min_max", "--weights", 1, 3, "--output_file", tmp_path / "fused.tsv")
    assert code == 0
    fused = read_predictions(tmp_path / "fused.tsv")
    assert fused.image_ids == [["q", "p"], ["p", "q"]]
    np.testing.assert_allclose(fused.scores, [[0.75, 0.25], [0.75, 0.25]])
    code, _, _ = run("fuse", "--predictions", *files, "--output_file", tmp_path / "ranks.tsv", "--k", 1)
    assert code == 0
    assert read_predictions(tmp_path / "ranks.tsv").image_ids == [["p"], ["q"]]

    files[1].write_text("articleID\tiid1\nc\tp\n")
    for argv, message in (
        ([*files], "is in ranking 1 but not in ranking 2"),
        ([files[0]], "two or more rankings, not 1"),
        ([files[0], tmp_path / "none.tsv"], "no prediction file"),
        ([files[0], files[0], "--method", "vote"], "'vote'"),
        ([files[0], files[0], "--k", 101], "--k must lie between 1 and 100"),
    ):
        code, _, err = run("fuse", *argv, "--output_file", tmp_path / "refused.tsv")
        assert code == 2
        assert message in one_sentence(err)
    assert not (tmp_path / "refused.tsv").exists()
