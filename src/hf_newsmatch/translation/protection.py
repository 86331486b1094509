"""The spans that a translation model must not change: web addresses, hashtags, handles, emoji and numbers."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_EMOJI = (
    "[\u203c\u2049\u2122\u2139\u2194-\u21aa\u231a-\u23ff\u24c2\u25aa-\u25fe\u2600-\u27bf\u2934\u2935\u2b05-\u2b55"
    "\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]"
)
_SPAN = re.compile(
    rf"""
    (?P<url>(?:https?://|www\.)[^\s<>"„“”»«]*[^\s<>"„“”»«.,;:!?')\]}}]
        |[\w.+-]+@[\w-]+(?:\.[\w-]+)+
        |\b(?:[\w-]+\.)+(?:de|com|org|net|info|eu|tv|at|ch|io|example)\b(?:/[^\s<>"„“”»«]*[^\s<>"„“”»«.,;:!?')\]}}])?)
    |(?P<hashtag>(?<!\w)\#\w*[^\W\d]\w*)
    |(?P<handle>(?<!\w)@\w{{2,}})
    |(?P<emoji>{_EMOJI}(?:[\ufe0e\ufe0f\u200d\u20e3\U0001f3fb-\U0001f3ff]|{_EMOJI})*)
    |(?P<number>\d+(?:[.,:\u202f\u00a0\ ]\d{{3}}(?!\d)|[.,:]\d+)*)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_DIGITS = re.compile(r"\D+")
_CLOCK = re.compile(r"(\d{1,2})(?:[.:](\d{2}))?")
# English newspapers spell these numbers out: the number is not lost.
_SPELT = {str(number): word for number, word in enumerate(
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
)}  # fmt: skip


@dataclass(frozen=True)
class Span:
    """A stretch of a text that its translation must contain unchanged."""

    start: int
    end: int
    kind: str
    text: str


def find_spans(text: str) -> list[Span]:
    """The protected spans of a text, in order."""
    return [Span(match.start(), match.end(), _kind(match), match[0]) for match in _SPAN.finditer(text)]


def _kind(match: re.Match[str]) -> str:
    """The name of the alternative of `_SPAN` that matched."""
    return next(kind for kind, found in match.groupdict().items() if found is not None)


def has_words(text: str) -> bool:
    """Whether a text has letters outside its protected spans, which are to be translated."""
    return any(character.isalpha() for character in _SPAN.sub(" ", text))


def peel(text: str) -> tuple[str, str, str]:
    """Take the protected spans off both ends of a sentence, numbers excepted: those belong to its words.

    A full stop behind such a span goes with it.

    Returns:
        `tuple[str, str, str]`: The text before the sentence, the sentence, and the text after it.
    """
    start, end = 0, len(text)
    spans = [span for span in find_spans(text) if span.kind != "number"]
    for span in spans:
        if text[start : span.start].strip():
            break
        start = span.end
    for span in reversed(spans):
        if span.start < start or text[span.end : end].strip(" .,;:!?…"):
            break
        end = span.start
    middle = text[start:end]
    start += len(middle) - len(middle.lstrip())
    end -= len(middle) - len(middle.rstrip()) if middle.strip() else 0
    return text[:start], text[start:end], text[end:]


def lost_spans(source: str, output: str) -> list[Span]:
    """The protected spans of a sentence that its translation lacks.

    Numbers count as kept when their digits are: `1.500` may become `1,500`, `14.30 Uhr` `2:30 p.m.`, and a small
    number its word.
    """
    spans = find_spans(source)
    if not spans:
        return []
    numbers = Counter(_DIGITS.sub("", span.text) for span in find_spans(output) if span.kind == "number")
    words = Counter(re.findall(r"\w+", output.lower()))
    lost, rest = [], output
    for span in spans:
        if span.kind != "number":
            if span.text in rest:
                rest = rest.replace(span.text, " ", 1)
            else:
                lost.append(span)
            continue
        for form in _forms(span, source):
            found = numbers if form.isdigit() else words
            if found[form]:
                found[form] -= 1
                break
        else:
            lost.append(span)
    return lost


def cut_at(text: str, spans: Sequence[Span]) -> list[tuple[str, bool]]:
    """Cut a sentence at spans: its pieces in order, each with whether it is one of the spans."""
    pieces, at = [], 0
    for span in spans:
        pieces += [(text[at : span.start], False), (span.text, True)]
        at = span.end
    pieces.append((text[at:], False))
    return [piece for piece in pieces if piece[0]]


def _forms(span: Span, source: str) -> list[str]:
    """The digits and words that may stand for a number in the translation."""
    forms = [_DIGITS.sub("", span.text)]
    if span.text in _SPELT:
        forms.append(_SPELT[span.text])
    clock = _CLOCK.fullmatch(span.text)
    if clock and source[span.end :].lstrip().startswith("Uhr"):
        hour, minutes = int(clock[1]), clock[2] or ""
        hours = {hour, hour % 12 or 12}
        forms += [f"{hour}{minutes}" for hour in hours]
        if minutes == "00":
            forms += map(str, hours)
    return forms
