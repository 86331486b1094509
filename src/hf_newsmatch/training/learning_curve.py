"""The learning curve of a training as a table, and the epoch whose weights were kept."""

from transformers import TrainerState

from ..metrics.tables import metric_label
from ..utils.tables import Cell, Table
from .arguments import ContrastiveTrainingArguments

_ROWS = 20
_SHOWN = {
    "loss": "training\nloss",
    "eval_loss": "validation\nloss",
    "eval_mrr@100": metric_label("mrr@100"),
    "eval_recall@1": metric_label("recall@1"),
    "logit_scale": "logit\nscale",
    "logit_bias": "logit\nbias",
    "temperature": "temper-\nature",
    "grad_norm": "gradient\nnorm",
    "pictures_per_second": "pictures\na second",
    "epoch_time": "seconds",
}


def curve(state: TrainerState) -> list[dict[str, float]]:
    """The logged values of each evaluation and of the training before it, in order, by the names of the log."""
    rows, row = [], {}
    for entry in state.log_history:
        row.update(entry)
        if "eval_loss" in entry:
            rows.append(row)
            row = {}
    return rows


def curve_table(state: TrainerState, args: ContrastiveTrainingArguments) -> Table:
    """The learning curve as a table that marks the kept epoch; a long one shows every few epochs."""
    rows = curve(state)
    names = [name for name in _SHOWN if any(name in row for row in rows)]
    shown = []
    every = -(-len(rows) // _ROWS)
    for number, row in enumerate(rows, start=1):
        kept = _has_best(state, args) and row["step"] == state.best_global_step
        if kept or number % every == 0 or number in (1, len(rows)):
            values = [f"{row[name]:.3f}" if name in row else "" for name in names]
            cells = [_epoch(row["epoch"]), *values, "◀" if kept else ""]
            shown.append([Cell(text, best=kept) for text in cells])
    header, caption = ["epoch", *(_SHOWN[name] for name in names), ""], f"◀ {kept_weights(state, args)}."
    return Table("learning-curve", "Learning curve", header, shown, caption, name_columns=0)


def kept_weights(state: TrainerState, args: ContrastiveTrainingArguments) -> str:
    """A phrase that says which epoch's weights were kept, and why."""
    if not _has_best(state, args):
        return "the last epoch's weights"
    rows = curve(state)
    best = next(row for row in rows if row["step"] == state.best_global_step)
    # a training of so many steps has no number of epochs
    unit, whole = ("step", args.max_steps) if args.max_steps > 0 else ("epoch", args.num_train_epochs)
    extreme = "highest" if args.greater_is_better else "lowest"
    last = rows[-1][unit]
    early = args.early_stopping_patience is not None and last < whole
    return (
        f"{unit} {best[unit]:g} of {whole:g}, with the {extreme} validation"
        f" {str(args.metric_for_best_model).removeprefix('eval_')}, {state.best_metric:.4f}"
        + (f"; stopped early after {unit} {last:g}" if early else "")
    )


def _epoch(epoch: float) -> str:
    """An epoch, or the share of it that an evaluation in steps came after, to two decimals."""
    return f"{round(epoch, 2):g}"


def _has_best(state: TrainerState, args: ContrastiveTrainingArguments) -> bool:
    return args.load_best_model_at_end and state.best_metric is not None
