"""Language codes, and the detection of a text's language."""

from collections.abc import Sequence
from functools import lru_cache

import langcodes

from ..errors import NewsMatchError, needs_extra


@lru_cache
def base_language(code: str) -> str:
    """The language of a code without region and script, in two letters where it has them: `de` of `de-AT` and `deu`.

    Some Marian checkpoints name their languages with three letters, or groups of languages (`gmw`), which stay.

    Args:
        code (`str`):
            A language code of any spelling, such as `de`, `de-AT`, `deu`, `ger` or `deu_Latn`.
    """
    code = code.strip().replace("_", "-").split("-")[0].lower()
    if len(code) != 3:  # two letters stay: langcodes would rename some that other libraries know (tl, iw)
        return code
    try:
        language = langcodes.get(code).language or code
    except langcodes.LanguageTagError:  # three characters that are no code
        return code
    return language if len(language) == 2 else code


class LanguageDetector:
    """Detects which of a few languages a text is in.

    Args:
        languages (`Sequence[str]`):
            The codes to choose from. The fewer there are, the surer the choice, since headlines are short.

    Raises:
        [`NewsMatchError`]: when the detector does not know one of the languages.
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
        """The code of a text's language."""
        return self._identifier.classify(text)[0]
