"""The whole experiment on three tiny data sets, its steps in this process."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.utils.news import write_news_folder, write_test_lists

STEPS = ["train", "interpolate", "predict", "evaluate", "report"]


@pytest.fixture
def steps(run, monkeypatch) -> list[tuple[str, str]]:
    """The steps that were taken, data set and script; they run in this process, without a launcher."""
    taken = []

    def call(command):
        _, name, *argv = command[command.index("hf_newsmatch") :]
        taken.append((Path(argv[argv.index("--output_dir") + 1]).name, name))
        code, _, errors = run(name, *argv)
        print(errors)
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(subprocess, "run", call)
    return taken


def test_it_goes_on_after_a_failure_and_with_what_is_not_done(run, steps, checkpoints, tmp_path):
    data = tmp_path / "data"
    for number, name in enumerate(("rt", "tw")):
        write_news_folder(data / name, first=100 * number)
        later = write_news_folder(tmp_path / f"later_{name}", count=10, first=100 * number + 50, shared=2)
        write_test_lists(data / name, later)
        for picture in (later / "images").iterdir():
            picture.rename(data / name / "images" / picture.name)
    # a list of Twitter that nobody can read; nothing of RSS
    sound = (data / "tw" / "articles.tsv").read_text()
    (data / "tw" / "articles.tsv").write_text("")
    out = tmp_path / "out"
    short = ["--model_name_or_path", checkpoints / "zero_shot", "--use_cpu", "true", "--num_train_epochs", 1]
    short += ["--per_device_train_batch_size", 8, "--dataloader_num_workers", 0, "--translate", "false"]
    command = ["--data_root", data, "--output_dir", out, "--", *short]

    code, printed, errors = run("reproduce", *command)
    assert code == 2
    assert steps == [*(("rt", step) for step in STEPS), ("tw", "train")]
    assert errors.splitlines()[-1].endswith("2 of 3 data sets failed: tw, rss.")
    assert "Table 1: Online News portals" in printed
    assert "Table 2" not in printed
    made = json.loads((out / "reproduce.json").read_text())
    assert list(made["results"]) == ["rt"]
    assert "`hf-newsmatch train`" in made["failed"]["tw"]
    assert f"missing in {data}: rss/articles.tsv (" in made["failed"]["rss"]

    # mended, the same command takes what was not taken
    (data / "tw" / "articles.tsv").write_text(sound)
    steps.clear()
    code, printed, _ = run("reproduce", *command)
    assert steps == [("tw", step) for step in STEPS]
    assert "Table 2: Twitter" in printed
    made = json.loads((out / "reproduce.json").read_text())
    scores = json.loads((out / "tw" / "scores.json").read_text())["test"]["runs"]
    assert made["results"]["tw"]["scores"]["wise_ft"]["mrr@100"] == scores["wise_ft"]["mrr@100"]
    assert "| the paper | 0.446 |" in (out / "tables.md").read_text()
    assert (out / "tables.tex").read_text().count(r"\toprule") == 4
    assert (out / "tw" / "report" / "index.html").is_file()

    # a training that had been saved when all ended is not taken again
    done = json.loads((out / "tw" / "reproduce.json").read_text())
    (out / "tw" / "reproduce.json").write_text(json.dumps({**done, "done": []}))
    steps.clear()
    run("reproduce", *command, "--seed", 1)
    assert steps == []  # other flags than it was begun with
    run("reproduce", *command)
    assert steps == [("tw", step) for step in STEPS[1:]]


def test_refusals(run, tmp_path):
    for argv, message in (
        ([], "--data_root, or take --demo"),
        (["--data_root", tmp_path, "--demo", "true"], "--data_root, or take --demo"),
        (["--data_root", tmp_path, "--datasets", "bild"], "--datasets are rt, tw, rss, not bild"),
    ):
        code, _, errors = run("reproduce", *argv, "--output_dir", tmp_path / "out")
        assert code == 2
        assert message in errors
        assert "Traceback" not in errors


def test_on_the_demo_all_three_are_in_its_news(run, monkeypatch, tmp_path):
    commands = []

    def fail(command):
        commands.append(command)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(subprocess, "run", fail)
    assert run("reproduce", "--demo", "true", "--output_dir", tmp_path)[0] == 2
    recipes = [next(word for word in command if word.startswith("--config=")) for command in commands]
    assert [Path(recipe).name for recipe in recipes] == ["demo_portal.yaml", "demo.yaml", "demo.yaml"]
    assert "--text_fields=title" in commands[1]
    assert all(command[1:3] == ["-m", "accelerate.commands.launch"] for command in commands)
