"""Recognition of outputs that cannot be translations: empty, repeating themselves, or far too long."""

import re

_FACTOR, _ALLOWANCE, _STEP = 3, 16, 16
# A group of words three times over in a row and more, or of characters, for words without spaces.
_REPEATS = 4
_LONGEST_GROUP = 12
_CHARACTERS = re.compile(r"(\S{1,8}?)\1{9,}")


def output_limit(source_tokens: int) -> int:
    """The number of tokens after which generation is stopped: three times the source's, and 16 for very short ones.

    It depends on the sentence alone, never on its batch, and is rounded up so that sentences of similar length have
    the same limit.
    """
    return -(-(_FACTOR * source_tokens + _ALLOWANCE) // _STEP) * _STEP


def find_problem(source: str, output: str, output_tokens: int, limit: int) -> str | None:
    """The reason why an output cannot be a translation.

    Args:
        source (`str`):
            The sentence.
        output (`str`):
            The model's output.
        output_tokens (`int`):
            The number of tokens of the output, without the end token.
        limit (`int`):
            The number of tokens after which generation was stopped.

    Returns:
        `str` or `None`: `"empty"`, `"repeated"` or `"overlong"`; `None` for an output that can be a translation.
    """
    if not any(character.isalnum() for character in output):
        return "empty"
    # a choir that sings "la la la la la" is no defect of the model
    repeats = _most_repeats(output)
    if repeats >= _REPEATS and repeats > _most_repeats(source):
        return "repeated"
    if _CHARACTERS.search(output) and not _CHARACTERS.search(source):
        return "repeated"
    # the last position is the end token's: an output that fills all others was stopped
    if output_tokens >= limit - 1:
        return "overlong"
    return None


def _most_repeats(text: str) -> int:
    """The largest number of times that a group of words occurs in a row."""
    words, most = text.lower().split(), 1
    for size in range(1, min(_LONGEST_GROUP, len(words) // 2) + 1):
        run = 0
        for word, later in zip(words, words[size:]):
            run = run + 1 if word == later else 0
            most = max(most, run // size + 1)
    return most
