import logging
import math

import pytest
import torch

from hf_newsmatch import ContrastiveTrainer, ContrastiveTrainingArguments, NewsMatchError
from hf_newsmatch.training.health import LearningCheck, is_one_direction
from tests.utils.news import make_model, make_pairs


def make_trainer(folder, processor, pairs, model=None, **settings) -> ContrastiveTrainer:
    args = ContrastiveTrainingArguments(
        output_dir=str(folder / "run"),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        **{
            "per_device_train_batch_size": 4,
            "max_steps": 10,
            "eval_strategy": "no",
            "save_strategy": "no",
            "load_best_model_at_end": False,
            **settings,
        },
    )
    return ContrastiveTrainer(model or make_model(processor), args, processor, train_dataset=pairs)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"image_ids": ["p1"] * 6}, "All 6 training pairs have the same picture"),
        ({"titles": ["one"] * 6}, "All 6 training pairs have the same text.*--text_fields"),
    ],
)
def test_data_without_negatives_are_refused(tmp_path, processor, kwargs, message):
    pairs = make_pairs(tmp_path, 6, **kwargs)
    if "titles" in kwargs:
        pairs = pairs.remove_columns("text").add_column("text", ["body"] * 6)
    with pytest.raises(NewsMatchError, match=message):
        make_trainer(tmp_path, processor, pairs)


def test_a_batch_without_negatives_is_named_once(tmp_path, processor, caplog):
    """Nine pairs in batches of four leave one alone."""
    trainer = make_trainer(tmp_path, processor, make_pairs(tmp_path, 9), dataloader_drop_last=False)
    trainer.train()
    assert caplog.text.count("In step 3 all pairs of a batch have the same picture or text, or there is only one") == 1
    assert caplog.text.count("nothing is learned from such a batch") == 1


@pytest.mark.parametrize("settings", [{}, {"contrastive_chunk_size": 2}, {"gradient_accumulation_steps": 2}])
def test_texts_of_one_embedding_are_named(tmp_path, processor, caplog, settings):
    model = make_model(processor)
    with torch.no_grad():  # the text's length and words have no way to the embedding
        for layer in model.text_model.encoder.layers:
            layer.self_attn.out_proj.weight.zero_()
        tokens = model.text_model.embeddings.token_embedding.weight
        tokens.copy_(tokens[:1].expand_as(tokens).clone())
        model.text_model.embeddings.position_embedding.weight.zero_()
    make_trainer(tmp_path, processor, make_pairs(tmp_path, 12), model, learning_rate=0.0, **settings).train()
    assert caplog.text.count("In step 1 all texts of a batch have the same embedding") == 1
    assert "all pictures of" not in caplog.text


def test_a_model_that_tells_pairs_apart_gets_no_warning(tmp_path, processor, caplog):
    make_trainer(tmp_path, processor, make_pairs(tmp_path, 12), learning_rate=1e-3).train()
    assert not [entry for entry in caplog.records if entry.levelno >= logging.WARNING and "health" in entry.name]


def test_a_loss_that_stays_at_guessing_is_named(tmp_path, processor, caplog):
    """Weights so small that all logits are nearly equal, and pairs that share a picture: guessing is not ln(4)."""
    model = make_model(processor)
    with torch.no_grad():
        model.logit_scale.fill_(-8.0)
    pairs = make_pairs(tmp_path, 4, ["p0", "p1", "p0", "p1"])
    trainer = make_trainer(tmp_path, processor, pairs, model, learning_rate=1e-6)
    trainer.train()
    # each pair of the only batch has two negatives
    assert f"For 10 steps the training loss has been {math.log(3):.3f}, and guessing gives 1.099" in caplog.text


@pytest.mark.parametrize("max_steps", [10, 50, 1000])
def test_one_loss_away_from_guessing_is_enough(max_steps, caplog):
    for away in (False, True):
        check = LearningCheck(max_steps)
        torch.manual_seed(0)
        embeds = torch.nn.functional.normalize(torch.randn(4, 8), dim=-1)
        for step in range(1, min(max_steps, 60) + 1):
            loss = torch.tensor(math.log(4) - 0.1 * (away and step == 7))
            check.check(step, loss, embeds, embeds, *[torch.arange(4)] * 2, chance=lambda: torch.tensor(math.log(4)))
        assert ("nothing is learned so far" in caplog.text) is not away
        caplog.clear()


def test_one_direction():
    embeds = torch.nn.functional.normalize(torch.randn(5, 8), dim=-1)
    assert not is_one_direction(embeds)
    assert is_one_direction(embeds[:1].repeat(5, 1))
