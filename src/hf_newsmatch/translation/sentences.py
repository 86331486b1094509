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
# The characters that the splitter reads at once.
_WINDOW = 1_000
# A reference behind a full stop, as in "so die Studie.[12, 14] Und": the splitter's own expression takes time that
# doubles with every digit where no capital follows. This one matches the same.
_NUMBERED_REFERENCE = (
    r"(?<=[^\d\s])(\.|∯)((\[(\d+(?:,\s?-?\s?|\s-?\s?|-\s?))*+\d{1,3}\])+|((\d{1,3}\s?)?\d{1,3}))(\s)(?=[A-Z])"
)
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
    cuts |= _sentence_starts(text, language)
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


def _sentence_starts(text: str, language: str) -> set[int]:
    """The places in a text where sentences begin.

    The splitter's time grows with the square of a text's length, so it reads a long one in windows. Each begins with
    the last sentence of the one before, which may have been cut off.
    """
    segmenter = _segmenter(language)
    starts: set[int] = set()
    begin = 0
    while begin < len(text):
        window = text[begin : begin + _WINDOW]
        places, at = [], 0
        # The splitter now and then changes or drops characters. Only the places where its sentences begin are taken
        # from it, and a sentence that is not found in the text is ignored.
        for sentence in segmenter.processor(window).process():
            found = window.find(sentence, at)
            if found >= 0:
                places.append(found)
                at = found + len(sentence)
        places = [place for place in places if place > 0]
        if begin + len(window) < len(text):
            # without a sentence's begin, the window goes on where the next word does
            step = places[-1] if places else window.rfind(" ") + 1 or len(window)
        else:
            step = len(window)
        starts.update(begin + place for place in places)
        begin += step
    return starts


@lru_cache
def _segmenter(language: str) -> pysbd.Segmenter:
    segmenter = pysbd.Segmenter(language=language if language in LANGUAGE_CODES else "en")
    rules = segmenter.language_module
    segmenter.language_module = type(rules.__name__, (rules,), {"NUMBERED_REFERENCE_REGEX": _NUMBERED_REFERENCE})
    return segmenter
