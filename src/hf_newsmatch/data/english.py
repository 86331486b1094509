"""The translation of a corpus into English, before it is split."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from datasets import Dataset

from ..configs import DataArguments
from ..errors import NewsMatchError
from ..models.architectures import Architecture

if TYPE_CHECKING:
    from ..translation.translator import Translator


class EnglishTranslation:
    """Translates the articles of a run into English, which is what the text towers read.

    No model is loaded when all articles are in English or all their translations are cached. Each process translates
    what it is given: one process reads the data first, and the others find the translations cached.

    Args:
        data_args ([`DataArguments`]):
            Whether to translate, with which model, and how many sentences.
        articles (`datasets.Dataset`):
            The articles of each list of the run. When some are to be translated, the model is looked up now, before
            longer work begins.

    Raises:
        [`NewsMatchError`]: when the model cannot be used, or does not translate into English.
    """

    def __init__(self, data_args: DataArguments, *articles: Dataset):
        self._data_args = data_args
        self._columns = [name for name in ("title", "text") if name in data_args.text_fields]
        self._translator = _english_translator(data_args) if any(map(self._is_needed_for, articles)) else None

    def _is_needed_for(self, articles: Dataset) -> bool:
        return self._data_args.translate is True and not set(articles["language"][:]) <= {"en"}

    def __call__(self, articles: Dataset) -> Dataset:
        """The articles in English."""
        if not self._is_needed_for(articles):
            return articles
        if self._translator is None:
            self._translator = _english_translator(self._data_args)
        from ..translation.dataset import translate_dataset

        max_sentences = self._data_args.max_sentences
        return translate_dataset(articles, self._columns, self._translator, max_sentences=max_sentences)

    def report(self) -> dict[str, Any] | None:
        """The model and its counts for the record of the run, or `None` when there was nothing to translate."""
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


def decide_translation(
    data_args: DataArguments, architecture: Architecture, languages: Sequence[str] | None = None
) -> DataArguments:
    """The arguments with `translate` decided where it is `"auto"`: only what the model cannot read is translated.

    Args:
        data_args ([`DataArguments`]):
            The arguments.
        architecture ([`Architecture`]):
            That of the model.
        languages (`Sequence[str]`, *optional*):
            The languages that the model reads, as codes; by default those of the architecture.

    Raises:
        [`NewsMatchError`]: when the languages of the model are not known, or the translation model cannot be used.
    """
    if data_args.translate != "auto":
        return data_args
    reads = architecture.languages if languages is None else tuple(languages)
    if reads is None:
        raise NewsMatchError(
            f"--translate auto cannot tell the languages that a {architecture.title} reads; name them with"
            " --model_languages, such as de en, or give --translate true or false."
        )
    if "*" in reads:
        return dataclasses.replace(data_args, translate=False)
    from ..translation.checkpoint import MarianCheckpoint

    source = MarianCheckpoint(data_args.translation_model, data_args.translation_revision).source_language
    return dataclasses.replace(data_args, translate=source not in reads)


def _english_translator(data_args: DataArguments) -> "Translator":
    # needs the extra `translation`, which data in English do not
    from ..translation.translator import Translator

    translator = Translator(data_args.translation_model, data_args.translation_revision, share=False)
    target = translator.checkpoint.target_language
    if target != "en":
        raise NewsMatchError(
            f"'{data_args.translation_model}' translates into '{target}', but the text towers read English; name a"
            " checkpoint like Helsinki-NLP/opus-mt-de-en."
        )
    return translator
