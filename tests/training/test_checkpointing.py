"""Trainings that are killed, told to stop, run out of disk, or run away."""

import multiprocessing
import os
import random
import resource
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from hf_newsmatch import ContrastiveTrainer, ContrastiveTrainingArguments, NewsMatchError
from hf_newsmatch.training.callbacks import SaveOnSignalCallback, TrainingStopped
from hf_newsmatch.training.checkpointing import UNFINISHED, checkpoint_defect, explained_writing, last_checkpoint
from tests.utils.news import make_model, make_pairs

STEPS_AN_EPOCH, EPOCHS = 5, 4
LAST = STEPS_AN_EPOCH * EPOCHS


class At(TrainerCallback):
    """Does something at the end of a step."""

    def __init__(self, step, do):
        self.step, self.do = step, do

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step == self.step:
            self.do(model)


def make_trainer(folder, processor, pairs, *callbacks, **settings) -> ContrastiveTrainer:
    """A training whose every part is remembered: random layers, momentum, a schedule, an order, a best epoch."""
    args = ContrastiveTrainingArguments(
        output_dir=str(folder / "run"),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        **{
            "num_train_epochs": EPOCHS,
            "per_device_train_batch_size": 4,
            "learning_rate": 1e-3,
            "lr_scheduler_type": "cosine",
            **settings,
        },
    )
    model = make_model(processor)
    for module in model.modules():
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.2
    return ContrastiveTrainer(
        model, args, processor, train_dataset=pairs, eval_dataset=pairs, callbacks=list(callbacks)
    )


def start(folder, processor, pairs, *callbacks, **settings) -> None:
    """What `scripts/train.py` does: go on from the last checkpoint when there is one, and save the weights kept."""
    trainer = make_trainer(folder, processor, pairs, *callbacks, **settings)
    torch.manual_seed(0)
    checkpoint = last_checkpoint(folder / "run")
    trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    trainer.model.save_pretrained(folder / "final")


def in_child(function, *args, **kwargs) -> int:
    """Run a function in a process of its own and give its exit code."""
    process = multiprocessing.get_context("fork").Process(target=function, args=args, kwargs=kwargs)
    process.start()
    process.join(120)
    return process.exitcode


def weights(folder) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in load_file(folder / "model.safetensors").items()}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    # two incomplete batches are dropped: 22 pairs make 5 steps of 4
    return make_pairs(folder, 22, [f"p{number % 20}" for number in range(22)])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, processor, data):
    """The final weights of a training that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    start(folder, processor, data)
    return weights(folder / "final")


def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("saving", "steps"),
    [
        ("epoch", random.Random(1).sample(range(1, LAST), 3)),
        ("steps", random.Random(2).sample(range(1, LAST), 3)),
        # each after a checkpoint of an epoch's last step, which waits for the epoch's evaluation
        ("steps", [11, 6, 16]),
    ],
)
def test_killed_three_times_it_ends_the_same(tmp_path, processor, data, undisturbed, saving, steps):
    settings = {}
    if saving == "steps":
        settings = {"save_strategy": "steps", "save_steps": 2, "save_total_limit": 2, "load_best_model_at_end": False}
        start(tmp_path / "whole", processor, data, **settings)
        undisturbed = weights(tmp_path / "whole" / "final")
    for step in sorted(steps):
        assert in_child(start, tmp_path, processor, data, At(step, kill), **settings) == -signal.SIGKILL
    start(tmp_path, processor, data, **settings)
    assert weights(tmp_path / "final") == undisturbed


def test_killed_while_saving_it_ends_the_same(tmp_path, processor, data, undisturbed, monkeypatch):
    """Some files of the second checkpoint are written, the state that makes it one is not."""

    def killed(self, output_dir):
        if self.state.global_step > STEPS_AN_EPOCH:
            kill()
        save(self, output_dir)

    save = ContrastiveTrainer._save_rng_state
    with monkeypatch.context() as patch:
        patch.setattr(ContrastiveTrainer, "_save_rng_state", killed)
        assert in_child(start, tmp_path, processor, data) == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-5"]
    assert (tmp_path / "run" / ".unfinished" / "checkpoint-10" / "model.safetensors").is_file()
    start(tmp_path, processor, data)
    assert weights(tmp_path / "final") == undisturbed
    assert not (tmp_path / "run" / ".unfinished" / "checkpoint-10").exists()


@pytest.mark.parametrize("step", [7, 2 * STEPS_AN_EPOCH], ids=["within an epoch", "at its end"])
def test_sigterm_saves_and_stops(tmp_path, processor, data, undisturbed, step):
    def terminate(*_):
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(TrainingStopped) as stopped:
        start(tmp_path, processor, data, At(step, terminate), SaveOnSignalCallback())
    assert signal.getsignal(signal.SIGTERM) is before
    assert stopped.value.checkpoint == str(tmp_path / "run" / f"checkpoint-{step}")
    assert last_checkpoint(tmp_path / "run") == tmp_path / "run" / f"checkpoint-{step}"
    start(tmp_path, processor, data)
    assert weights(tmp_path / "final") == undisturbed


@pytest.mark.parametrize("step", [7, 2 * STEPS_AN_EPOCH], ids=["within an epoch", "at its end"])
def test_the_losses_of_a_resumed_epoch_are_those_of_the_whole(tmp_path, processor, data, step):
    """As Trainer logs them once an epoch, and the mean over all steps that it returns in the end."""
    saving = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": None, "load_best_model_at_end": False}
    whole = make_trainer(tmp_path, processor, data, **saving)
    result = whole.train()
    resumed = make_trainer(tmp_path, processor, data, **saving)
    again = resumed.train(resume_from_checkpoint=str(tmp_path / "run" / f"checkpoint-{step}"))
    losses = [[entry["loss"] for entry in log if "loss" in entry] for log in (log_of(whole), log_of(resumed))]
    assert len(losses[0]) == EPOCHS
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)
    assert again.training_loss == pytest.approx(result.training_loss, abs=1e-6)


def log_of(trainer) -> list[dict[str, float]]:
    return trainer.state.log_history


def test_a_second_sigterm_ends_at_once(tmp_path, processor, data):
    def terminate_twice(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)

    assert in_child(start, tmp_path, processor, data, At(1, terminate_twice), SaveOnSignalCallback()) == 143
    assert last_checkpoint(tmp_path / "run") is None


@pytest.mark.parametrize("size", [20_000, 60_000, 100_000])
def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, processor, data, undisturbed, size):
    """Wherever it fills: within the weights, or within the state of the optimizer, which is twice as large."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(*_):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))

    try:
        with pytest.raises(NewsMatchError, match=r"could not be written .* goes on from .*checkpoint-5"):
            start(tmp_path, processor, data, At(STEPS_AN_EPOCH + 2, fill))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoint-5"]
    start(tmp_path, processor, data)
    assert weights(tmp_path / "final") == undisturbed


def test_what_pytorch_says_of_a_full_disk(tmp_path):
    """The words differ with the place in the file where it filled."""
    for text in ("[enforce fail at inline_container.cc:603] . unexpected pos 192 vs 86", "PytorchStreamWriter failed"):
        (tmp_path / UNFINISHED / "checkpoint-1").mkdir(parents=True)
        with (
            pytest.raises(NewsMatchError, match=r"could not be written .*the disk is full.*starts again"),
            explained_writing(tmp_path),
        ):
            raise RuntimeError(text)
        assert not (tmp_path / UNFINISHED).exists()
    with pytest.raises(RuntimeError, match="another"), explained_writing(tmp_path):
        raise RuntimeError("another")


def spoil(value):
    def do(model):
        with torch.no_grad():
            model.text_model.embeddings.token_embedding.weight.fill_(value)

    return do


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("settings", [{}, {"contrastive_chunk_size": 2}, {"gradient_accumulation_steps": 2}])
def test_a_loss_that_is_no_number_stops(tmp_path, processor, data, value, settings):
    with pytest.raises(NewsMatchError, match=r"became nan at step 3; the articles .* a\d+, a\d+.*--learning_rate"):
        start(tmp_path, processor, data, At(2, spoil(value)), **settings)


def test_only_the_articles_that_spoil_it_are_named(tmp_path, processor, data):
    """A token that one article alone has gets an embedding that is no number."""
    trainer = make_trainer(tmp_path, processor, data)
    batch = trainer.data_collator([data[row] for row in range(4)])
    batch["input_ids"][2, 1] = processor.tokenizer.convert_tokens_to_ids("-")
    with torch.no_grad():
        trainer.model.text_model.embeddings.token_embedding.weight[batch["input_ids"][2, 1]] = float("nan")
    assert (batch["input_ids"] == batch["input_ids"][2, 1]).sum() == 1
    with pytest.raises(NewsMatchError, match=r"not finite either: a2\. Start over"):
        trainer.compute_loss(trainer.model, batch)


@pytest.mark.parametrize("settings", [{}, {"eval_strategy": "no", "load_best_model_at_end": False}])
def test_weights_that_are_no_numbers_are_not_saved(tmp_path, processor, data, settings):
    with pytest.raises(NewsMatchError, match=r"After step 10 the weight text_model\S+ is not finite"):
        start(tmp_path, processor, data, At(10, spoil(float("nan"))), **settings)
    assert last_checkpoint(tmp_path / "run").name == "checkpoint-5"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, processor, data):
    folder = tmp_path_factory.mktemp("one")
    make_trainer(folder, processor, data, max_steps=1, eval_strategy="no", load_best_model_at_end=False).train()
    return folder / "run" / "checkpoint-1"


@pytest.mark.parametrize("name", ["trainer_state.json", "model.safetensors", "optimizer.pt", "scheduler.pt"])
@pytest.mark.parametrize("damage", ["cut", "removed"])
def test_damaged_checkpoints_are_passed_over(tmp_path, checkpoint, caplog, name, damage):
    shutil.copytree(checkpoint, tmp_path / "checkpoint-1")
    shutil.copytree(checkpoint, tmp_path / "checkpoint-10")
    assert last_checkpoint(tmp_path).name == "checkpoint-10"
    file = tmp_path / "checkpoint-10" / name
    if damage == "removed" or name.endswith(".pt"):
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert last_checkpoint(tmp_path).name == "checkpoint-1"
    assert "checkpoint-10 is passed over" in caplog.text


def test_what_is_no_checkpoint(tmp_path):
    assert "trainer_state.json" in checkpoint_defect(tmp_path)
    assert last_checkpoint(tmp_path) is None


@pytest.mark.parametrize("length", [{"max_steps": 8}, {"num_train_epochs": 1.5}])
@pytest.mark.parametrize("saving", ["steps", "epoch"])
def test_a_training_that_ends_within_an_epoch_has_ended(tmp_path, processor, data, length, saving):
    """Killed after its last checkpoint, it takes no step more, and its last evaluation is in the log."""
    settings = {"save_strategy": saving, "save_steps": 1, "load_best_model_at_end": False, **length}
    whole = make_trainer(tmp_path, processor, data, **settings)
    whole.train()
    steps, log = whole.state.global_step, log_of(whole)
    assert steps == 8
    resumed = make_trainer(tmp_path, processor, data, **settings)
    resumed.train(resume_from_checkpoint=str(last_checkpoint(tmp_path / "run")))
    assert resumed.state.global_step == steps
    losses = [[entry["eval_loss"] for entry in each if "eval_loss" in entry] for each in (log, log_of(resumed))]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 2
    before, after = (trainer.model.state_dict() for trainer in (whole, resumed))
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
