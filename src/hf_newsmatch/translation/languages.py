"""Codes of languages, and which language a text is in."""

from collections.abc import Sequence

from ..errors import NewsMatchError, needs_extra

# Some Marian checkpoints name their languages with three letters.
_THREE_LETTERS = {
    "ces": "cs", "dan": "da", "deu": "de", "eng": "en", "fin": "fi", "fra": "fr", "ger": "de", "ita": "it",
    "nld": "nl", "pol": "pl", "por": "pt", "ron": "ro", "rus": "ru", "spa": "es", "swe": "sv", "tur": "tr",
    "ukr": "uk",
}  # fmt: skip


def base_language(code: str) -> str:
    """The language of a code without its region and script, in two letters where we know them: `de` of `de-AT`."""
    code = code.strip().replace("_", "-").split("-")[0].lower()
    return _THREE_LETTERS.get(code, code)


class LanguageDetector:
    """Tells which of a few languages a text is in.

    Args:
        languages (`Sequence[str]`): The codes to choose from. The fewer, the surer: headlines are short.

    Raises:
        [`NewsMatchError`]: when the detector does not know one of them.
    """

    def __init__(self, languages: Sequence[str]):
        with needs_extra("py3langid"):
            from py3langid.langid import MODEL_FILE, LanguageIdentifier

        self._identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
        try:
            self._identifier.set_languages(languages)
        except ValueError as error:
            raise NewsMatchError(
                f"Rows without a language cannot be told apart by {' and '.join(languages)} ({error}); say which"
                " language they are in with language=… (--language)."
            ) from error

    def __call__(self, text: str) -> str:
        return self._identifier.classify(text)[0]
