"""The translation of the rows of a data set."""

import logging
from collections import Counter
from collections.abc import Sequence

from datasets import Dataset, Features, Value, concatenate_datasets
from datasets.fingerprint import Hasher

from ..errors import NewsMatchError
from ..version import __version__
from .languages import LanguageDetector, base_language
from .translator import Translator

logger = logging.getLogger(__name__)


def translate_dataset(
    dataset: Dataset,
    columns: Sequence[str] = ("title", "text"),
    translator: Translator | None = None,
    *,
    language: str | None = None,
    max_sentences: int | None = None,
) -> Dataset:
    """Translate columns of a data set, row by row in its order.

    Rows in the target language, or in a third one, stay as they are. The language of a row is that of its column
    `language`, or else detected. Pictures and other columns are not read.

    Args:
        dataset ([`~datasets.Dataset`]):
            The data set, as [`load_pairs`] and [`load_articles`] give it or any other with texts.
        columns (`Sequence[str]`, *optional*, defaults to `("title", "text")`):
            The columns to translate.
        translator ([`Translator`], *optional*):
            By default German to English with `Helsinki-NLP/opus-mt-de-en`. Its `report` counts the sentences.
        language (`str`, *optional*):
            The language of all rows, instead of the column `language`.
        max_sentences (`int`, *optional*):
            The number of sentences of each column to translate; the others are left out. By default all.

    Returns:
        [`~datasets.Dataset`]: The same rows with translated columns, `language` set, and the originals beside them in
        `title_source`, `text_source` and `language_source`.

    Raises:
        [`NewsMatchError`]: on a column that does not exist or holds no strings, or a language the model does not take.
    """
    for name in columns:
        if name not in dataset.column_names:
            raise NewsMatchError(
                f"There is no column '{name}' to translate; the columns are {', '.join(dataset.column_names)}."
            )
        if dataset.features[name] not in (Value("string"), Value("large_string")):
            raise NewsMatchError(f"The column '{name}' holds no texts to translate.")
    translator = translator or Translator()
    source, target = translator.checkpoint.source_language, translator.checkpoint.target_language
    if language is not None and base_language(language) not in (source, target):
        raise NewsMatchError(
            f"The rows are said to be in '{language}', but '{translator.checkpoint.name}' translates from '{source}';"
            " name a checkpoint of that language."
        )
    cells = dataset.select_columns(list(columns))[:]
    languages = row_languages(dataset, columns, (source, target), language)
    to_do = [i for i, code in enumerate(languages) if code is not None and base_language(code) == source]
    _warn_of_others(languages, (source, target))

    texts = list(dict.fromkeys(cells[name][i] for i in to_do for name in columns if cells[name][i]))
    documents = dict(zip(texts, translator.translate_documents(texts, max_sentences)))
    rows = set(to_do)

    def assemble(batch: dict[str, list], indices: list[int]) -> dict[str, list]:
        result = {name: list(batch[name]) for name in columns}
        result["language"] = [languages[i] for i in indices]
        for name in (*columns, "language"):
            # a row that was translated before keeps its original
            before = batch.get(f"{name}_source", [None] * len(indices))
            result[f"{name}_source"] = [
                old if old is not None and i not in rows else new
                for i, old, new in zip(indices, before, list(result[name]))
            ]
        for at, i in enumerate(indices):
            made = [documents[batch[name][at]] for name in columns if batch[name][at]] if i in rows else []
            for name in columns:
                if i in rows and batch[name][at]:
                    result[name][at] = documents[batch[name][at]].text
            if any(document.translated for document in made):
                result["language"][at] = target
        return result

    sources = [f"{name}_source" for name in (*columns, "language")]
    own = [name for name in (*columns, "language", *sources) if name in dataset.column_names]
    features = Features({name: Value("string") for name in (*columns, "language", *sources)})
    fingerprint = [dataset._fingerprint, translator.cache.identity, __version__, columns, language, max_sentences]
    translated = dataset.select_columns(own).map(
        assemble,
        batched=True,
        with_indices=True,
        features=features,
        # by content: datasets would hash the function, and with it every text
        new_fingerprint=Hasher.hash(fingerprint),
        load_from_cache_file=False,
        desc="Joining sentences",
    )
    others = dataset.select_columns([name for name in dataset.column_names if name not in own])
    if others.column_names:
        translated = concatenate_datasets([translated, others], axis=1)
    new = [name for name in translated.column_names if name not in dataset.column_names]
    return translated.select_columns([*dataset.column_names, *new])


def row_languages(
    dataset: Dataset, columns: Sequence[str], pair: tuple[str, str], language: str | None = None
) -> list[str | None]:
    """The language of each row: the given one, else that of the data, else the one of the pair that is detected.

    A row without text has no language unless one is given.

    Args:
        dataset ([`~datasets.Dataset`]):
            The rows.
        columns (`Sequence[str]`):
            The columns to detect the language from.
        pair (`tuple[str, str]`):
            The languages to choose from.
        language (`str`, *optional*):
            The language of all rows.
    """
    if language is not None:
        return [language] * len(dataset)
    given = dataset["language"][:] if "language" in dataset.column_names else [None] * len(dataset)
    if all(given):
        return given
    detect = None
    languages = list(given)
    cells = dataset.select_columns(list(columns))[:]
    for i, code in enumerate(given):
        text = " ".join(cells[name][i] for name in columns if cells[name][i])
        if not code and any(character.isalpha() for character in text):
            detect = detect or LanguageDetector(pair)
            languages[i] = detect(text)
        elif not code:
            languages[i] = None
    detected = Counter(code for code, before in zip(languages, given) if code and not before)
    if detected:
        found = ", ".join(f"{count} {code}" for code, count in detected.most_common())
        logger.info("The language of %d rows was detected: %s.", sum(detected.values()), found)
    return languages


def _warn_of_others(languages: Sequence[str | None], pair: tuple[str, str]) -> None:
    others = Counter(code for code in languages if code is not None and base_language(code) not in pair)
    if others:
        found = ", ".join(f"{count} {code}" for code, count in others.most_common())
        logger.warning("%d rows are in other languages and stay as they are: %s.", sum(others.values()), found)
