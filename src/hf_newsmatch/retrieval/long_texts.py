"""Texts that are longer than a model's context, in pieces that fit."""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from transformers import ProcessorMixin

from ..models.architectures import CLIP, Architecture
from ..models.inputs import cased

# Where a sentence ends, with the space behind it: at a full stop or its like and any closing quotes, but neither after
# a number ("am 3. Mai") nor after a single letter ("J. Doe"); in scripts without spaces at theirs; at a line's end.
_SENTENCE_END = re.compile(r"(?:[!?…]|(?<!\d)(?<!\b\w)\.)[.!?…]*[\"'“”’«»)\]]*\s+|[。！？]+[」』”）]*\s*|\s*\n\s*")
_WORD_END = re.compile(r"\S\s+(?=\S)")
# No stretch of more characters is tokenized at a time: hardly a token has as many.
_CHARACTERS_A_TOKEN = 32


class Piece(NamedTuple):
    """A piece of a text.

    Args:
        text (`str`): The piece.
        tokens (`int`): Its tokens, without those that only mark its ends.
    """

    text: str
    tokens: int


def long_pieces(
    processor: ProcessorMixin, texts: Iterable[str], architecture: Architecture = CLIP
) -> dict[str, list[Piece]]:
    """The pieces of each text that is longer than the context, by text; see [`pieces_within`].

    Args:
        processor (`ProcessorMixin`):
            As [`load_model`] gives it: its tokenizer's limit is the model's context.
        texts (`Iterable[str]`):
            The texts.
        architecture ([`Architecture`], *optional*):
            That of the model; CLIP's by default.
    """
    tokenizer = processor.tokenizer
    limit = tokenizer.model_max_length

    def counts(texts: list[str], special: bool) -> list[int]:
        # with `verbose`, it warns of the first long text
        ids = tokenizer(cased(texts, architecture), add_special_tokens=special, verbose=False).input_ids
        return [len(found) for found in ids]

    def fits(text: str) -> bool:
        return counts([text], special=True)[0] <= limit

    distinct = list(dict.fromkeys(texts))
    found = {}
    for text, tokens in zip(distinct, counts(distinct, special=True) if distinct else ()):
        if tokens > limit:
            pieces = pieces_within(text, fits, limit * _CHARACTERS_A_TOKEN)
            # a piece without a token counts as one
            found[text] = [Piece(piece, max(1, n)) for piece, n in zip(pieces, counts(pieces, special=False))]
    return found


def pieces_within(text: str, fits: Callable[[str], bool], longest: int) -> list[str]:
    """Cut a text into pieces that fit, each of as many whole sentences as it takes.

    A sentence that does not fit alone is cut between words, and a word that does not between characters. Nothing but
    white space between the pieces is lost.

    Args:
        text (`str`):
            The text.
        fits (`Callable`):
            Whether a piece fits.
        longest (`int`):
            The most characters of a piece.
    """
    pieces, begun = [], ""
    for sentence in _sentences(text):
        joined = begun + sentence
        if len(joined) <= longest and fits(joined.strip()):
            begun = joined
            continue
        if begun.strip():
            pieces.append(begun.strip())
        begun = sentence
        while len(begun) > longest or not fits(begun.strip()):
            end = _cut(begun[:longest], fits)
            pieces.append(begun[:end].strip())
            begun = begun[end:]
    if begun.strip():
        pieces.append(begun.strip())
    return [piece for piece in pieces if piece] or [text[:1]]


def _sentences(text: str) -> Iterator[str]:
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return (text[begin:end] for begin, end in itertools.pairwise(dict.fromkeys([0, *ends, len(text)])))


def _cut(text: str, fits: Callable[[str], bool]) -> int:
    """The length of the longest beginning of a text that fits: of whole words if one fits, else of characters."""
    words = [match.end() for match in _WORD_END.finditer(text)]
    for ends in (words, range(1, len(text) + 1)):
        low, high = 0, len(ends)  # so many fit, so many or fewer may
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(text[: ends[middle - 1]].strip()) else (low, middle - 1)
        if low:
            return ends[low - 1]
    return 1
