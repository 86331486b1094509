"""Building a trainer from a checkpoint and data, the same way in every command."""

from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset

from ..data.text import DEFAULT_TEXT_FIELDS
from ..errors import explain, first_sentence
from ..models.loading import load_model
from .arguments import ContrastiveTrainingArguments
from .trainer import ContrastiveTrainer


def build_trainer(
    model_name_or_path: str | Path,
    revision: str | None,
    train_dataset: Dataset,
    eval_dataset: Dataset | None,
    args: ContrastiveTrainingArguments,
    text_fields: Sequence[str] = DEFAULT_TEXT_FIELDS,
) -> ContrastiveTrainer:
    """Load a checkpoint and make the trainer that fine-tunes it.

    Args:
        model_name_or_path (`str` or `Path`):
            A Hub id, a folder, or `"demo"`.
        revision (`str`, *optional*):
            Branch, tag or commit of a Hub id.
        train_dataset (`datasets.Dataset`):
            The training split.
        eval_dataset (`datasets.Dataset`, *optional*):
            The validation split.
        args ([`ContrastiveTrainingArguments`]):
            The recipe.
        text_fields (`Sequence[str]`, *optional*, defaults to `("title", "text")`):
            The columns that the text tower reads.

    Raises:
        [`NewsMatchError`]: when there is no such checkpoint, an option needs a package that is not installed, or the
            data are too few.
    """
    model, processor = load_model(model_name_or_path, revision, strict=True)
    with explain(
        ImportError,  # how transformers reports the missing package of an option
        RuntimeError,
        ValueError,
        AttributeError,
        sentence=lambda error: f"{first_sentence(error)}.",
    ):
        trainer = ContrastiveTrainer(
            model=model,
            args=args,
            processing_class=processor,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            text_fields=text_fields,
        )
        trainer.check_optimizer()
    return trainer
