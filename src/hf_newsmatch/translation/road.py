"""Translation on the ordinary road: the data of a run, before they are split."""

import logging
from typing import Any

from datasets import Dataset

from ..arguments import DataArguments
from ..errors import NewsMatchError
from .dataset import translate_dataset
from .translator import Translator

logger = logging.getLogger(__name__)


class NewsTranslation:
    """Translates the articles of a run into English, which is what CLIP reads.

    Nothing is loaded when all articles are in English already, or all is done already. Each process does what it is
    asked for: one reads the data first and the others find the translations cached.

    Args:
        data_args ([`DataArguments`]): Whether to translate, with which model, and how much.
        parts (`Dataset`): The articles of the run, to see whether there is anything to do.

    Raises:
        [`NewsMatchError`]: when the model cannot be used, or does not translate into English.
    """

    def __init__(self, data_args: DataArguments, *parts: Dataset):
        self._max_sentences = data_args.max_sentences
        self._columns = [name for name in ("title", "text") if name in data_args.text_fields]
        self._translator = None
        if data_args.translate and not all(set(part["language"][:]) <= {"en"} for part in parts):
            self._translator = Translator(data_args.translation_model, data_args.translation_revision, share=False)
            target = self._translator.checkpoint.target_language
            if target != "en":
                raise NewsMatchError(
                    f"'{data_args.translation_model}' translates into '{target}', but CLIP reads English; name a"
                    " checkpoint like Helsinki-NLP/opus-mt-de-en."
                )

    def __call__(self, articles: Dataset) -> Dataset:
        """The articles in English."""
        if self._translator is None:
            return articles
        return translate_dataset(articles, self._columns, self._translator, max_sentences=self._max_sentences)

    def report(self) -> dict[str, Any] | None:
        """What the run's record says about it; `None` when nothing was translated."""
        if self._translator is None:
            return None
        report = self._translator.report
        return {
            "model": self._translator.checkpoint.name,
            "model_identity": self._translator.checkpoint.identity,
            "sentences": report.sentences,
            "distinct": report.distinct,
            "in_parts": report.in_parts,
            "kept": report.kept,
        }
