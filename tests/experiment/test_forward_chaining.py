import json
from datetime import datetime

import pytest

from hf_newsmatch import (
    AlphaSweep,
    ContrastiveTrainer,
    ContrastiveTrainingArguments,
    NewsMatchError,
    load_clip,
)
from hf_newsmatch.configs import DataArguments, ModelArguments
from hf_newsmatch.experiment.folder import Experiment
from hf_newsmatch.experiment.forward_chaining import fine_tune_again, sweep_folds, training_arguments
from hf_newsmatch.experiment.record import TrainRecord
from hf_newsmatch.models.weights import save_checkpoint
from tests.utils.news import make_pairs, write_news_folder


def dated(pairs, days):
    return pairs.add_column("published", [datetime(2022, 1, 1 + day) for day in days])


def test_each_fold_trains_on_what_came_before(tmp_path):
    # the file is not in the order of time
    days = [7, 0, 1, 2, 3, 4, 5, 6, 9, 8]
    pairs = dated(make_pairs(tmp_path, 10), days)
    calls = []

    def fine_tune(train, validation):
        calls.append((train["article_id"][:], validation["article_id"][:]))
        return f"checkpoint {len(calls)}"

    swept = []

    def sweep(checkpoint, part):
        swept.append((checkpoint, part["article_id"][:]))
        return AlphaSweep([], {}, [])

    assert len(sweep_folds(pairs, fine_tune, sweep, 3)) == 2
    # ten articles make slices of 4, 3 and 3
    first, second, third = ["a1", "a2", "a3", "a4"], ["a5", "a6", "a7"], ["a0", "a9", "a8"]
    assert calls == [(first, second), (first + second, third)]
    assert swept == [("checkpoint 1", second), ("checkpoint 2", third)]


@pytest.mark.parametrize(
    ("count", "days", "slices", "sort_by", "message"),
    [
        (6, range(6), 1, None, "at least 2"),
        (6, range(6), 7, None, "6 rows cannot be cut into 7 slices"),
        (6, None, 2, None, "no dates to slice them by"),
    ],
)
def test_refuses(tmp_path, count, days, slices, sort_by, message):
    pairs = make_pairs(tmp_path, count)
    pairs = pairs if days is None else dated(pairs, days)
    with pytest.raises(NewsMatchError, match=message):
        sweep_folds(pairs, None, None, slices, sort_by)


def test_the_recipe_is_the_recorded_one(tmp_path):
    args = ContrastiveTrainingArguments(
        output_dir=str(tmp_path),
        learning_rate=3e-3,
        num_train_epochs=2,
        per_device_train_batch_size=8,
        contrastive_chunk_size=4,
        logits_factor=0.942,
        lr_scheduler_type="cosine",
        lr_scheduler_kwargs={"num_cycles": 2},
        push_to_hub=True,
        hub_token="secret",
        use_cpu=True,
        seed=7,
    )
    # as scripts/train.py records it, and JSON keeps it
    recorded = TrainRecord(None, json.loads(json.dumps({"overwrite": True, **args.to_dict()})), processes=3)
    again = training_arguments(recorded, tmp_path / "again")
    differing = {name for name, value in args.to_dict().items() if again.to_dict()[name] != value}
    assert differing == {"output_dir", "per_device_train_batch_size", "push_to_hub", "save_only_model"}
    assert again.hub_token is None
    # the negatives of a pair were those of all three processes
    assert again.per_device_train_batch_size == 24
    assert again.output_dir == str(tmp_path / "again")


@pytest.mark.parametrize(("name", "value"), [("auto_find_batch_size", True), ("learning_rate", -1.0)])
def test_a_recorded_training_that_cannot_be_repeated_is_one_sentence(tmp_path, name, value):
    """As an older version took it."""
    recorded = ContrastiveTrainingArguments(output_dir=str(tmp_path), use_cpu=True).to_dict() | {name: value}
    with pytest.raises(NewsMatchError, match=f"cannot be repeated here: --{name}"):
        training_arguments(TrainRecord(None, recorded), tmp_path)


@pytest.mark.parametrize("options", [{}, {"lora_rank": 2, "train_towers": "vision"}], ids=["all weights", "LoRA"])
def test_fine_tuning_again_gives_the_runs_own_model(checkpoints, tmp_path, options):
    """On the run's own parts, the recipe gives the run's own weights."""
    if options:
        pytest.importorskip("peft")
    news = write_news_folder(tmp_path / "news")
    experiment, data = Experiment.create(
        tmp_path / "run",
        DataArguments(articles_file=str(news / "articles.tsv")),
        ModelArguments(model_name_or_path=str(checkpoints / "zero_shot")),
    )
    args = ContrastiveTrainingArguments(
        output_dir=str(tmp_path / "run"),
        num_train_epochs=2,
        per_device_train_batch_size=8,
        learning_rate=3e-3,
        use_cpu=True,
        disable_tqdm=True,
        report_to="none",
        seed=5,
        **options,
    )
    model, processor = load_clip(checkpoints / "zero_shot")
    trainer = ContrastiveTrainer(model, args, processor, data.train, data.validation)
    trainer.train()
    save_checkpoint(trainer.finished_model(), processor, tmp_path / "expected")
    experiment.record.train = TrainRecord(None, args.to_dict())
    folder = fine_tune_again(experiment, tmp_path)(data.train, data.validation)
    assert (folder / "model.safetensors").read_bytes() == (tmp_path / "expected/model.safetensors").read_bytes()
