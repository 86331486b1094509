"""Sentence splitting for a translation model, without the loss of a character."""

import itertools
import re
from collections.abc import Callable
from functools import lru_cache

import pysbd
from pysbd.languages import LANGUAGE_CODES

from .protection import find_spans, peel

# A text of at most this length without a full stop is a headline.
_HEADLINE = 150
_SENTENCE_END = tuple(".!?…\"'“”«»)")
# Paragraphs that were joined without a space: "… ist gesperrt.Wie die Bahn mitteilte".
_GLUED = re.compile(r"(?<=[^\W\d_A-ZÄÖÜ]{2})[.!?]+[“”\"«]?(?=[„»\"]?[A-ZÄÖÜ][^\W\d_A-ZÄÖÜ]*\s)")
_CLAUSE_END = re.compile(r"[;:,–—)](?=\s)|\s[–—-](?=\s)")


def split_sentences(text: str, language: str) -> list[str]:
    """Split a text into sentences with the space after each: joined, they are the text again.

    A headline, short and without a full stop, stays whole.

    Args:
        text (`str`):
            The text.
        language (`str`):
            Its language, two letters; a language that the splitter has no rules for is split as English.
    """
    cuts = {match.end() for match in _GLUED.finditer(text)}
    if not cuts and len(text) <= _HEADLINE and not peel(text)[1].endswith(_SENTENCE_END):
        return [text] if text else []
    at = 0
    # The splitter now and then changes or drops characters. Only the places where its sentences begin are taken from
    # it, and a sentence that is not found in the text is ignored.
    for sentence in _segmenter(language).processor(text).process():
        found = text.find(sentence, at)
        if found >= 0:
            cuts.add(found)
            at = found + len(sentence)
    for span in find_spans(text):
        cuts -= set(range(span.start + 1, span.end))
    return _cut(text, cuts)


def cut_long(sentence: str, fits: Callable[[str], bool]) -> list[str]:
    """Cut a sentence that is too long for the model, at the ends of clauses if possible, else between words.

    Args:
        sentence (`str`):
            The sentence.
        fits (`Callable`):
            Whether the model takes a stretch of text.
    """
    if fits(sentence):
        return [sentence]
    middle = len(sentence) // 2
    for pattern in (_CLAUSE_END, re.compile(r"\s+")):
        # the end nearest to the middle, so that no piece is a mere word
        ends = [match.end() for match in pattern.finditer(sentence, 1, len(sentence) - 1)]
        if ends:
            at = min(ends, key=lambda end: abs(end - middle))
            if pattern is not _CLAUSE_END or len(sentence) // 4 <= at <= len(sentence) * 3 // 4:
                break
    else:
        at = middle
    if not 0 < at < len(sentence):
        return [sentence]
    return cut_long(sentence[:at], fits) + cut_long(sentence[at:], fits)


def _cut(text: str, cuts: set[int]) -> list[str]:
    places = sorted({0, len(text)} | {cut for cut in cuts if 0 < cut < len(text)})
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]
    sentences: list[str] = []
    for piece in pieces:
        # a piece without letters and digits belongs to the sentence before it
        if sentences and not any(character.isalnum() for character in piece):
            sentences[-1] += piece
        else:
            sentences.append(piece)
    return sentences


@lru_cache
def _segmenter(language: str) -> pysbd.Segmenter:
    return pysbd.Segmenter(language=language if language in LANGUAGE_CODES else "en")
