"""Translation on the ordinary road: the data of a run, before they are split."""

from typing import Any

from datasets import Dataset

from ..configs import DataArguments
from ..errors import NewsMatchError
from ..translation.dataset import translate_dataset
from ..translation.translator import Translator


class NewsTranslation:
    """Translates the articles of a run into English, which is what CLIP reads.

    Nothing is loaded when all articles are in English already, or all is done already. Each process does what it is
    asked for: one reads the data first and the others find the translations cached.

    Args:
        data_args ([`DataArguments`]): Whether to translate, with which model, and how much.
        articles (`Dataset`): Articles of the run. When there is anything to do for them, the model is looked up now,
            before longer work begins.

    Raises:
        [`NewsMatchError`]: when the model cannot be used, or does not translate into English.
    """

    def __init__(self, data_args: DataArguments, articles: Dataset):
        self._data_args = data_args
        self._columns = [name for name in ("title", "text") if name in data_args.text_fields]
        self._translator: Translator | None = None
        self._prepare(articles)

    def _prepare(self, articles: Dataset) -> bool:
        """Whether there is anything to translate, with the translator for it."""
        data_args = self._data_args
        if not data_args.translate or set(articles["language"][:]) <= {"en"}:
            return False
        if self._translator is None:
            self._translator = Translator(data_args.translation_model, data_args.translation_revision, share=False)
            target = self._translator.checkpoint.target_language
            if target != "en":
                raise NewsMatchError(
                    f"'{data_args.translation_model}' translates into '{target}', but CLIP reads English; name a"
                    " checkpoint like Helsinki-NLP/opus-mt-de-en."
                )
        return True

    def __call__(self, articles: Dataset) -> Dataset:
        """The articles in English."""
        if not self._prepare(articles):
            return articles
        max_sentences = self._data_args.max_sentences
        return translate_dataset(articles, self._columns, self._translator, max_sentences=max_sentences)

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
