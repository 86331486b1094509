"""What small translation models do on odd input, recognised: nothing, the same again and again, far too much."""

import re

_FACTOR, _ALLOWANCE, _STEP = 3, 16, 16
# A group of words three times over in a row and more, or of characters, for words without spaces.
_REPEATS = 4
_LONGEST_GROUP = 12
_CHARACTERS = re.compile(r"(\S{1,8}?)\1{9,}")


def output_limit(source_tokens: int) -> int:
    """The tokens after which a translation has run away: three times the source's and some for very short ones.

    It depends on the sentence alone, never on its batch. Rounded up, so that sentences of similar length share it.
    """
    return -(-(_FACTOR * source_tokens + _ALLOWANCE) // _STEP) * _STEP


def find_problem(source: str, output: str, output_tokens: int, limit: int) -> str | None:
    """Why a translation cannot be one.

    Args:
        source (`str`): The sentence.
        output (`str`): What the model made of it.
        output_tokens (`int`): The tokens of the output, without the one that ends it.
        limit (`int`): The tokens after which generation was stopped.

    Returns:
        `str`: `"empty"`, `"repeated"` or `"overlong"`; `None` when nothing speaks against it.
    """
    if not any(character.isalnum() for character in output):
        return "empty"
    # a choir that sings "la la la la la" is no defect of the model
    repeats = _most_repeats(output)
    if repeats >= _REPEATS and repeats > _most_repeats(source):
        return "repeated"
    if _CHARACTERS.search(output) and not _CHARACTERS.search(source):
        return "repeated"
    # the last position is kept for the token that ends a sentence: who gets there was stopped
    if output_tokens >= limit - 1:
        return "overlong"
    return None


def _most_repeats(text: str) -> int:
    """How many times in a row a group of words comes at most."""
    words, most = text.lower().split(), 1
    for size in range(1, min(_LONGEST_GROUP, len(words) // 2) + 1):
        run = 0
        for word, later in zip(words, words[size:]):
            run = run + 1 if word == later else 0
            most = max(most, run // size + 1)
    return most
