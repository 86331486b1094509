"""Trainings that go on from checkpoints of here and elsewhere, and those that replace a finished one."""

import json
import os
import shutil
import signal

import pytest

from hf_newsmatch import ContrastiveTrainer, ContrastiveTrainingArguments, NewsMatchError
from hf_newsmatch.configs import DataArguments, ModelArguments, TrainArguments
from hf_newsmatch.experiment.prediction import open_experiment, predict
from hf_newsmatch.experiment.training import train
from hf_newsmatch.training.callbacks import TrainingStopped
from hf_newsmatch.training.checkpointing import last_checkpoint
from tests.utils.news import arguments, write_news_folder


@pytest.fixture
def start(tmp_path, checkpoints):
    """Train on a folder of news, by default two epochs of three steps."""
    write_news_folder(tmp_path / "news")

    def start(output_dir="run", news="news", overwrite=False, base="zero_shot", **options):
        training_args = ContrastiveTrainingArguments(
            output_dir=str(tmp_path / output_dir),
            **{
                "num_train_epochs": 2,
                "per_device_train_batch_size": 8,
                "learning_rate": 3e-3,
                "save_total_limit": None,
                "use_cpu": True,
                "report_to": "none",
                "disable_tqdm": True,
                **options,
            },
        )
        model_args = ModelArguments(model_name_or_path=str(checkpoints / base))
        return train(arguments(tmp_path / news), model_args, training_args, TrainArguments(overwrite))

    return start


def files(folder) -> dict[str, bytes]:
    """All files below a folder with their content."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def weights(folder) -> bytes:
    return (folder / "fine_tuned" / "model.safetensors").read_bytes()


def first_checkpoint(folder):
    return min(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))


OTHERS = [
    ({"learning_rate": 1e-3}, r"began with learning_rate 0\.001, not 0\.003"),
    ({"train_sampling_strategy": "sequential"}, "began with train_sampling_strategy sequential, not None"),
    ({"eval_delay": 1}, "began with eval_delay 1, not None"),
    ({"base": "fine_tuned"}, "another base model"),
    ({"news": "other"}, "another data"),
]


@pytest.mark.parametrize(("options", "message"), OTHERS)
def test_a_checkpoint_of_another_training_is_refused(tmp_path, start, options, message):
    """By what the checkpoint says or, of an older version, by the record of its folder."""
    write_news_folder(tmp_path / "other", first=100)
    start("elsewhere", max_steps=1, **options)
    checkpoint = first_checkpoint(tmp_path / "elsewhere")
    for _ in range(2):
        with pytest.raises(NewsMatchError, match=message):
            start(max_steps=1, resume_from_checkpoint=str(checkpoint))
        assert files(tmp_path / "run") == {}
        (checkpoint / "newsmatch.json").unlink(missing_ok=True)


def test_a_refused_checkpoint_changes_nothing(tmp_path, start):
    start("elsewhere", max_steps=1, seed=7)
    start(max_steps=1)
    before = files(tmp_path / "run")
    for overwrite in (False, True):
        with pytest.raises(NewsMatchError, match="began with seed 7, not 42"):
            start(
                max_steps=1,
                overwrite=overwrite,
                resume_from_checkpoint=str(first_checkpoint(tmp_path / "elsewhere")),
            )
        assert files(tmp_path / "run") == before


def test_a_checkpoint_goes_on_in_a_new_folder(tmp_path, start):
    start("elsewhere")
    training = start(resume_from_checkpoint=str(first_checkpoint(tmp_path / "elsewhere")))
    assert weights(tmp_path / "run") == weights(tmp_path / "elsewhere")
    records = [json.loads((tmp_path / name / "newsmatch.json").read_text()) for name in ("run", "elsewhere")]
    assert records[0]["recipe"] == records[1]["recipe"]
    assert records[0]["train"]["sha256"] == records[1]["train"]["sha256"]
    assert training.state.global_step == records[1]["train"]["log_history"][-1]["step"]


def test_a_checkpoint_does_not_go_on_in_the_folder_of_another_training(tmp_path, start):
    start("elsewhere")
    start(seed=7)
    before = files(tmp_path / "run")
    checkpoint = str(first_checkpoint(tmp_path / "elsewhere"))
    with pytest.raises(NewsMatchError, match="began with seed 7, not 42; start over with --overwrite"):
        start(resume_from_checkpoint=checkpoint)
    assert files(tmp_path / "run") == before
    start(resume_from_checkpoint=checkpoint, overwrite=True)
    assert weights(tmp_path / "run") == weights(tmp_path / "elsewhere")


def test_a_checkpoint_of_unknown_origin_is_refused(tmp_path, start):
    start("elsewhere")
    shutil.move(first_checkpoint(tmp_path / "elsewhere"), tmp_path / "lost")
    (tmp_path / "lost" / "newsmatch.json").unlink()
    with pytest.raises(NewsMatchError, match="lost does not say what it was trained with"):
        start(resume_from_checkpoint=str(tmp_path / "lost"))


def test_a_checkpoint_goes_on_in_its_folder_without_the_record_of_that(tmp_path, start):
    """The checkpoint says where it comes from; nothing of the folder is taken for a former training's."""
    start("elsewhere")
    out, checkpoint = tmp_path / "run", first_checkpoint(tmp_path / "elsewhere")
    shutil.copytree(checkpoint, out / checkpoint.name)
    start()
    assert weights(out) == weights(tmp_path / "elsewhere")
    assert first_checkpoint(out).name == checkpoint.name
    assert (out / "newsmatch.json").is_file()


def failing(error):
    def training_step(self, *args, **kwargs):
        raise error

    return training_step


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()])
def test_what_is_to_be_replaced_comes_back_where_nothing_replaces_it(tmp_path, start, monkeypatch, error):
    start(max_steps=1)
    (tmp_path / "run" / "scores.json").write_text("{}")
    before = files(tmp_path / "run")
    monkeypatch.setattr(ContrastiveTrainer, "training_step", failing(error))
    with pytest.raises(type(error)):
        start(overwrite=True, seed=7)
    assert files(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optim": "adamw_bnb_8bit", "coupled_weight_decay": False}, "bitsandbytes"),
        ({"optim": "lomo", "coupled_weight_decay": False}, "lomo"),
    ],
)
def test_a_missing_package_leaves_everything(tmp_path, start, options, message):
    start(max_steps=1)
    before = files(tmp_path / "run")
    with pytest.raises(NewsMatchError, match=message):
        start(overwrite=True, **options)
    assert files(tmp_path / "run") == before


def test_a_replacement_that_is_killed_goes_on_and_ends(tmp_path, start, monkeypatch):
    """Nothing of the first training is lost before the second is complete, and nothing is left of it then."""
    start()
    first = weights(tmp_path / "run")
    start("undisturbed", seed=7)

    def kill_at(step):
        save = ContrastiveTrainer._save_checkpoint

        def saving(self, *args, **kwargs):
            if self.state.global_step == step:
                os._exit(9)
            save(self, *args, **kwargs)

        child = os.fork()
        if not child:
            with monkeypatch.context() as patch:
                patch.setattr(ContrastiveTrainer, "_save_checkpoint", saving)
                start(overwrite=True, seed=7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9

    steps = sorted(int(path.name.rpartition("-")[2]) for path in (tmp_path / "undisturbed").glob("checkpoint-*"))
    for step in steps:
        kill_at(step)
        assert (tmp_path / "run" / ".replaced" / "fine_tuned" / "model.safetensors").read_bytes() == first
    assert last_checkpoint(tmp_path / "run").name == f"checkpoint-{steps[0]}"
    start(overwrite=True, seed=7)
    assert weights(tmp_path / "run") == weights(tmp_path / "undisturbed") != first
    assert not (tmp_path / "run" / ".replaced").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_with_weights_alone_it_goes_on(tmp_path, start, monkeypatch, number):
    """Of --save_only_model no checkpoint could be resumed; the one that the message names can."""
    start("undisturbed", save_only_model=True)
    step = ContrastiveTrainer.training_step

    def stopping(self, *args, **kwargs):
        if self.state.global_step == 3:
            os.kill(os.getpid(), number)
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(ContrastiveTrainer, "training_step", stopping)
        with pytest.raises(TrainingStopped) as stopped:
            start(save_only_model=True)
    assert stopped.value.signal == number
    assert last_checkpoint(tmp_path / "run") == tmp_path / "run" / "checkpoint-4"
    assert start(save_only_model=True).state.log_history[0]["step"] <= 4
    assert weights(tmp_path / "run") == weights(tmp_path / "undisturbed")


def test_predictions_on_other_data_are_not_trained_over(start, tmp_path, checkpoints):
    model_args = ModelArguments(model_name_or_path=str(checkpoints / "zero_shot"))
    write_news_folder(tmp_path / "other", count=20)
    for news in ("other", "news"):
        folder = tmp_path / f"on_{news}"
        predict(*open_experiment(folder, arguments(tmp_path / news), model_args))
    before = files(tmp_path / "on_other")
    with pytest.raises(NewsMatchError, match=r"on_other holds predictions on other data .* another --output_dir"):
        start("on_other", max_steps=1)
    assert files(tmp_path / "on_other") == before
    start("on_other", overwrite=True, max_steps=1)
    assert not (tmp_path / "on_other" / "runs").exists()
    start("on_news", max_steps=1)


@pytest.mark.parametrize("name", ["test_images", "gold_file", "test_image_dir"])
def test_what_belongs_to_a_test_list_asks_for_one(tmp_path, checkpoints, name):
    model_args = ModelArguments(model_name_or_path=str(checkpoints / "zero_shot"))
    with pytest.raises(NewsMatchError, match=f"--{name} belongs to a test list; name that with --test_articles_file"):
        open_experiment(tmp_path / "run", DataArguments(**{name: str(tmp_path)}), model_args)


@pytest.mark.parametrize("name", ["runs/events.out", "report/mine.md", "wise_ft/model.safetensors", "scores.json"])
def test_what_no_experiment_made_is_not_removed(tmp_path, start, name):
    """Such as the runs of TensorBoard, or another trainer's."""
    file = tmp_path / "run" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(NewsMatchError, match=r"is there, but .* holds no experiment .* --output_dir, or replace it"):
        start(max_steps=1)
    assert file.read_text() == "mine"
    start(max_steps=1, overwrite=True)
    assert not file.exists()


class Stopped(Exception):
    """In place of a kill."""


@pytest.mark.parametrize("moves", [pytest.param(n, marks=[] if n == 2 else pytest.mark.thorough) for n in range(1, 6)])
@pytest.mark.parametrize("options", [{"seed": 7}, {}])
def test_stopped_while_it_sets_aside_or_puts_back_nothing_is_lost(tmp_path, start, monkeypatch, moves, options):
    start(max_steps=2, save_strategy="steps", save_steps=1, load_best_model_at_end=False)
    (tmp_path / "run" / "runs" / "test").mkdir(parents=True)
    (tmp_path / "run" / "runs" / "test" / "zero_shot.tsv").write_text("x")
    (tmp_path / "run" / "scores.json").write_text("{}")
    before = files(tmp_path / "run")

    def moving(allowed):
        move, left = os.replace, [allowed]

        def replace(source, target):
            # the copies of the record and of the pictures count not
            if ".replaced" in f"{source}{target}" and "newsmatch" not in f"{source}":
                left[0] -= 1
                if left[0] < 0:
                    raise Stopped
            move(source, target)

        return replace

    def fail(*args, **kwargs):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr("hf_newsmatch.experiment.replacing.os.replace", moving(moves - 1))
        with pytest.raises(Stopped):
            start(max_steps=1, overwrite=True, **options)
    # ... and the next attempt fails, is stopped once more while it puts back, and the third fails too
    monkeypatch.setattr(ContrastiveTrainer, "training_step", fail)
    with monkeypatch.context() as patch:
        patch.setattr("hf_newsmatch.experiment.replacing.os.replace", moving(4 + 2 * moves))
        with pytest.raises((Stopped, RuntimeError)):
            start(max_steps=1, overwrite=True, **options)
    with pytest.raises(RuntimeError, match="out of memory"):
        start(max_steps=1, overwrite=True, **options)
    assert files(tmp_path / "run") == before
