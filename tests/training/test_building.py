import importlib.util

import pytest
import torch

from hf_newsmatch import ContrastiveTrainingArguments, NewsMatchError
from hf_newsmatch.training.building import build_trainer
from tests.utils.news import make_model


def arguments(tmp_path, **settings) -> ContrastiveTrainingArguments:
    settings = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, **settings}
    return ContrastiveTrainingArguments(output_dir=str(tmp_path / "run"), per_device_train_batch_size=4, **settings)


def test_a_trainer_of_the_named_checkpoint_and_data(checkpoints, tmp_path, processor, pairs):
    train, validation = pairs.select(range(8)), pairs.select(range(8, 12))
    args = arguments(tmp_path)
    trainer = build_trainer(checkpoints / "fine_tuned", None, train, validation, args, ["title"])
    expected = make_model(processor, seed=1).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in trainer.model.state_dict().items())
    assert trainer.args is args
    assert trainer.train_dataset["article_id"][:] == train["article_id"][:]
    assert trainer.eval_dataset["article_id"][:] == validation["article_id"][:]
    texts = trainer.processing_class.tokenizer(train["title"][:4], padding=True, return_tensors="pt")
    batch = trainer.data_collator([trainer.train_dataset[row] for row in range(4)])
    assert torch.equal(batch["input_ids"], texts["input_ids"])


@pytest.mark.skipif(importlib.util.find_spec("tensorboard"), reason="tensorboard is installed")
def test_a_missing_optional_package_is_one_sentence(checkpoints, tmp_path, pairs):
    with pytest.raises(NewsMatchError, match=r"^[^.]*TensorBoard[^.]*\.$"):
        build_trainer(checkpoints / "fine_tuned", None, pairs, pairs, arguments(tmp_path, report_to="tensorboard"))


def test_no_checkpoint(tmp_path, pairs):
    with pytest.raises(NewsMatchError, match="No checkpoint of a dual encoder"):
        build_trainer(tmp_path, None, pairs, pairs, arguments(tmp_path))
