"""The trainer in Python, with the data sets and options that any Trainer takes."""

import pytest
import torch
from datasets import DatasetDict

from hf_newsmatch import ContrastiveTrainer, ContrastiveTrainingArguments, NewsMatchError
from tests.utils.news import make_model, make_pairs


class Rows(torch.utils.data.Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, row):
        return self.rows[row]


class Stream(torch.utils.data.IterableDataset):
    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return (self.rows[row] for row in range(len(self.rows)))


def make_trainer(folder, processor, train, evaluation, model=None, **options) -> ContrastiveTrainer:
    own = {name: options.pop(name) for name in ("compute_metrics", "model_init") if name in options}
    args = ContrastiveTrainingArguments(
        output_dir=str(folder / "run"),
        **{
            "max_steps": 2,
            "per_device_train_batch_size": 4,
            "eval_strategy": "steps",
            "eval_steps": 2,
            "save_strategy": "no",
            "load_best_model_at_end": False,
            "optim": "sgd",
            "coupled_weight_decay": False,
            "learning_rate": 1e-2,
            "train_sampling_strategy": "sequential",
            "use_cpu": True,
            "report_to": "none",
            "disable_tqdm": True,
            **options,
        },
    )
    model = make_model(processor) if model is None and "model_init" not in own else model
    return ContrastiveTrainer(model, args, processor, train_dataset=train, eval_dataset=evaluation, **own)


def trained(trainer) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    trainer.train()
    metrics = {name: value for entry in trainer.state.log_history for name, value in entry.items()}
    return trainer.finished_model().state_dict(), metrics


@pytest.fixture
def expected(tmp_path, processor, pairs):
    return trained(make_trainer(tmp_path, processor, pairs, pairs))


@pytest.mark.parametrize("make", [Rows, Stream, list, lambda pairs: pairs.to_iterable_dataset()])
def test_other_data_sets_train_the_same(tmp_path, processor, pairs, expected, make):
    """In the order of the data, two batches of four."""
    weights, metrics = trained(make_trainer(tmp_path, processor, make(pairs), make(pairs)))
    assert all(torch.equal(tensor, expected[0][name]) for name, tensor in weights.items())
    assert metrics["eval_loss"] == pytest.approx(expected[1]["eval_loss"])


def test_integer_ids_are_as_good_as_strings(tmp_path, processor, expected):
    pairs = make_pairs(tmp_path)
    ids = {"image_id": list(range(12)), "article_id": list(range(12))}
    numbered = pairs.remove_columns(list(ids))
    for name, values in ids.items():
        numbered = numbered.add_column(name, values)
    for data in (numbered, numbered.remove_columns("article_id")):
        weights, _ = trained(make_trainer(tmp_path, processor, data, data))
        assert all(torch.equal(tensor, expected[0][name]) for name, tensor in weights.items())


@pytest.mark.parametrize("column", ["image", "image_id", "title"])
def test_a_missing_column_is_named(tmp_path, processor, pairs, column):
    with pytest.raises(NewsMatchError, match=f"no column '{column}'"):
        make_trainer(tmp_path, processor, pairs.remove_columns(column), pairs)
    if column != "image":  # a data set that does not name its columns
        with pytest.raises(NewsMatchError, match=f"The rows have no '{column}'"):
            make_trainer(tmp_path, processor, Rows(pairs.remove_columns(column)), None, eval_strategy="no").train()


@pytest.mark.parametrize("make", [dict, DatasetDict])
def test_several_validation_sets(tmp_path, processor, pairs, expected, make):
    several = make(all=pairs, few=pairs.select(range(8)))
    _, metrics = trained(make_trainer(tmp_path, processor, pairs, several))
    assert metrics["eval_all_loss"] == pytest.approx(expected[1]["eval_loss"])
    assert metrics["eval_few_mrr@100"] != metrics["eval_all_mrr@100"]
    best = {"load_best_model_at_end": True, "save_strategy": "steps", "save_steps": 2}
    with pytest.raises(NewsMatchError, match="names one of them: all_loss or few_loss, not loss"):
        make_trainer(tmp_path, processor, pairs, several, **best)
    trainer = make_trainer(tmp_path, processor, pairs, several, **best, metric_for_best_model="few_mrr@100")
    trainer.train()
    assert trainer.state.best_metric == trainer.evaluate()["eval_few_mrr@100"]


def test_own_metrics_join_ours(tmp_path, processor, pairs, expected):
    def count(evaluation):
        return {"rows": len(evaluation.label_ids)}

    _, metrics = trained(make_trainer(tmp_path, processor, pairs, pairs, compute_metrics=count))
    assert metrics["eval_rows"] == 12
    assert metrics["eval_loss"] == pytest.approx(expected[1]["eval_loss"])


@pytest.mark.parametrize("with_trial", [False, True])
def test_model_init_makes_the_model(tmp_path, processor, pairs, expected, with_trial):
    init = (lambda trial: make_model(processor)) if with_trial else (lambda: make_model(processor))
    weights, _ = trained(make_trainer(tmp_path, processor, pairs, pairs, model_init=init))
    assert all(torch.equal(tensor, expected[0][name]) for name, tensor in weights.items())


def test_every_model_that_model_init_makes_is_frozen(tmp_path, processor, pairs):
    def init():
        return make_model(processor)

    weights, _ = trained(make_trainer(tmp_path, processor, pairs, pairs, model_init=init, train_towers="text"))
    before = make_model(processor).state_dict()
    changed = {name for name, tensor in weights.items() if not torch.equal(tensor, before[name])}
    assert changed
    assert not any(name.startswith("vision_model.") for name in changed)


def test_no_model_is_one_sentence(tmp_path, pairs, processor):
    args = ContrastiveTrainingArguments(str(tmp_path), use_cpu=True, report_to="none")
    with pytest.raises(NewsMatchError, match="Neither a model nor model_init is given"):
        ContrastiveTrainer(None, args, processor, train_dataset=pairs, eval_dataset=pairs)


@pytest.mark.parametrize("size", [0, 3, 7])
def test_a_stream_without_a_whole_step_is_one_sentence(tmp_path, processor, pairs, size):
    rows = Stream(pairs.select(range(size)))
    trainer = make_trainer(tmp_path, processor, rows, pairs, gradient_accumulation_steps=2)
    with pytest.raises(NewsMatchError, match=f"gives {size} pairs and one step takes 8"):
        trainer.train()


@pytest.mark.parametrize(("drop_last", "sizes"), [(True, [4, 4, 4, 4]), (False, [4, 4, 2, 4])])
def test_a_stream_is_read_again_from_its_beginning(tmp_path, processor, pairs, monkeypatch, drop_last, sizes):
    """The pairs at its end that fill no batch are left out as those of other data are."""
    trainer = make_trainer(
        tmp_path, processor, Stream(pairs.select(range(10))), pairs, max_steps=4, dataloader_drop_last=drop_last
    )
    step, seen = ContrastiveTrainer.training_step, []

    def noting(self, model, inputs, *args, **kwargs):
        seen.append(inputs["article_ids"])
        return step(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(ContrastiveTrainer, "training_step", noting)
    trainer.train()
    assert [len(batch) for batch in seen] == sizes
    assert seen[0] == seen[2 if drop_last else 3] != seen[1]


@pytest.mark.parametrize("make", [Stream, lambda pairs: pairs.to_iterable_dataset(num_shards=3).shuffle(seed=1)])
@pytest.mark.parametrize(
    ("saving", "accumulated"), [pytest.param("steps", 1, marks=pytest.mark.thorough), ("epoch", 2)]
)
def test_a_stream_that_is_resumed_in_any_pass(tmp_path, processor, pairs, make, saving, accumulated):
    """Bit for bit, and with the same evaluations: the steps alone do not tell how often it was read."""
    options = {
        "max_steps": 5,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": accumulated,
        "eval_strategy": "epoch",
        "save_strategy": saving,
        "save_steps": 1,
        "save_total_limit": None,
        "logging_strategy": "steps",
        "logging_steps": 1,
    }
    rows = pairs.select(range(5 if accumulated == 1 else 9))

    def train(checkpoint=None):
        trainer = make_trainer(tmp_path, processor, make(rows), pairs, **options)
        trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
        log = trainer.state.log_history
        evaluations = [(entry["step"], entry["eval_loss"]) for entry in log if "eval_loss" in entry]
        return trainer.finished_model().state_dict(), evaluations

    weights, evaluations = train()
    checkpoints = sorted((tmp_path / "run").glob("checkpoint-*"))
    assert len(checkpoints) > 1
    for checkpoint in checkpoints:
        again, evaluated = train(checkpoint)
        assert all(torch.equal(tensor, again[name]) for name, tensor in weights.items()), checkpoint.name
        assert evaluated == evaluations, checkpoint.name
