import io

import pytest
from rich.console import Console
from transformers import TrainerState

from hf_newsmatch import ContrastiveTrainingArguments
from hf_newsmatch.training.learning_curve import curve, curve_table, kept_weights


def make_state(losses) -> TrainerState:
    state = TrainerState()
    for epoch, loss in enumerate(losses, start=1):
        state.log_history += [
            {"loss": 2 * loss, "grad_norm": 1.0, "epoch": float(epoch), "step": 10 * epoch},
            {"eval_loss": loss, "eval_mrr@100": 1 / loss, "epoch": float(epoch), "step": 10 * epoch},
        ]
    best = min(range(len(losses)), key=losses.__getitem__)
    state.best_metric, state.best_global_step = losses[best], 10 * (best + 1)
    return state


def arguments(**settings) -> ContrastiveTrainingArguments:
    return ContrastiveTrainingArguments(output_dir="x", use_cpu=True, **{"num_train_epochs": 3, **settings})


def text(table) -> list[str]:
    console = Console(file=io.StringIO(), width=100)
    console.print(table)
    return console.file.getvalue().splitlines()


def test_the_kept_epoch_is_marked_and_explained():
    state = make_state([3.0, 2.0, 2.5])
    assert kept_weights(state, arguments()) == "epoch 2 of 3, with the lowest validation loss, 2.0000"
    (marked,) = [line for line in text(curve_table(state, arguments())) if "◀" in line and "│" in line]
    assert marked.split("│")[1:4] == ["     2 ", "    4.000 ", "      2.000 "]


def test_without_a_best_epoch_it_is_the_last():
    state = make_state([3.0, 2.0, 2.5])
    args = arguments(load_best_model_at_end=False)
    assert kept_weights(state, args) == "the last epoch's weights"
    assert not [line for line in text(curve_table(state, args)) if "◀" in line and "│" in line]


def test_a_training_of_so_many_steps_is_told_in_steps():
    """--max_steps makes the number of epochs a fraction, or leaves --num_train_epochs without meaning."""
    state = make_state([3.0, 2.0, 2.5])
    for entry in state.log_history:
        entry["epoch"] = entry["step"] / 4.285
    expected = "step 20 of 35, with the lowest validation loss, 2.0000"
    assert kept_weights(state, arguments(num_train_epochs=2, max_steps=35)) == expected
    stopping = arguments(num_train_epochs=2, max_steps=35, early_stopping_patience=1)
    assert kept_weights(state, stopping) == f"{expected}; stopped early after step 30"
    (marked,) = [line for line in text(curve_table(state, stopping)) if "◀" in line and "│" in line]
    assert marked.split("│")[1].strip() == "4.67"


@pytest.mark.parametrize("best", [0, 28, 49])
def test_a_long_training_is_shown_in_part(best):
    losses = [3.0] * 50
    losses[best] = 1.0
    lines = [line for line in text(curve_table(make_state(losses), arguments(num_train_epochs=50))) if "│" in line]
    shown = [int(cell) for line in lines if (cell := line.split("│")[1].strip()).isdigit()]
    assert len(shown) <= 20
    assert {1, best + 1, 50} <= set(shown)


def test_what_is_logged_belongs_to_the_evaluation_after_it():
    rows = curve(make_state([3.0, 2.0]))
    assert [(row["loss"], row["eval_loss"], row["step"]) for row in rows] == [(6.0, 3.0, 10), (4.0, 2.0, 20)]


def test_early_stopping_is_mentioned_when_it_came():
    state = make_state([3.0, 2.0, 2.5])
    stopped = arguments(num_train_epochs=9, early_stopping_patience=1)
    assert kept_weights(state, stopped) == (
        "epoch 2 of 9, with the lowest validation loss, 2.0000; stopped early after epoch 3"
    )
    assert kept_weights(state, arguments(early_stopping_patience=1)).endswith("loss, 2.0000")


@pytest.mark.parametrize(("patience", "ending"), [(None, "2.0000"), (1, "2.0000; stopped early after step 30")])
def test_steps_in_place_of_epochs(patience, ending):
    """44 steps an epoch, evaluated every 10, whatever --num_train_epochs says."""
    state = make_state([3.0, 2.0, 2.5])
    for row in state.log_history:
        row["epoch"] = row["step"] / 44
    args = arguments(num_train_epochs=6, max_steps=50, early_stopping_patience=patience)
    assert kept_weights(state, args) == f"step 20 of 50, with the lowest validation loss, {ending}"
    shown = [line.split("│")[1].strip() for line in text(curve_table(state, args)) if "│" in line]
    assert [cell for cell in shown if cell] == ["0.23", "0.45", "0.68"]
