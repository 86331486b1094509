"""The spans that a translation model must not change: web addresses, hashtags, handles, emoji and numbers."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

_EMOJI = (
    "[\u203c\u2049\u2122\u2139\u2194-\u21aa\u231a-\u23ff\u24c2\u25aa-\u25fe\u2600-\u27bf\u2934\u2935\u2b05-\u2b55"
    "\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]"
)
# Labels of addresses are as long as the internet allows: without a bound, long words take time with their square.
_SPAN = re.compile(
    rf"""
    (?P<url>(?:https?://|www\.)[^\s<>"„“”»«]*[^\s<>"„“”»«.,;:!?')\]}}]
        |[\w.+-]{{1,64}}+@[\w-]+(?:\.[\w-]+)+
        |\b(?:[\w-]{{1,63}}+\.){{1,8}}(?:de|com|org|net|info|eu|tv|at|ch|io|example)\b(?:/[^\s<>"„“”»«]*[^\s<>"„“”»«.,;:!?')\]}}])?)
    |(?P<hashtag>(?<!\w)\#\w*[^\W\d]\w*)
    |(?P<handle>(?<!\w)@\w{{2,}})
    |(?P<emoji>{_EMOJI}(?:[\ufe0e\ufe0f\u200d\u20e3\U0001f3fb-\U0001f3ff]|{_EMOJI})*)
    |(?P<number>\d+(?:[.,:'’\u202f\u00a0\ ]\d{{3}}(?!\d)|[.,:]\d+)*)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_CLOCK = re.compile(r"(\d{1,2})(?:[.:](\d{2}))?")
_NOON = re.compile(r"\s?([ap])\.?\s?m\b", re.IGNORECASE)
_SEPARATORS = re.compile(r"[.,:'’\u202f\u00a0 ]")
_SPACES = re.compile(r"['’\u202f\u00a0]")  # what stands between thousands in the place of a space
# A sign before a number, not the dash of a range; and what else says in English that a number is below zero.
_MINUS = re.compile(r"(?:(?<![\w.,)])(?<!\d\s)[-−–]|\bminus\s)\Z", re.IGNORECASE)
_BELOW = re.compile(
    r"\b(?:minus|negative|below|under|down|less|lower|fell|fall\w*|drop\w*|declin\w*|decreas\w*|los[ts]\w*)\b",
    re.IGNORECASE,
)
# Languages that write 1,234.5; the others write 1.234,5 or 1 234,5.
_DECIMAL_POINT = {"en", "zh", "ja", "ko", "th", "he", "hi", "bn", "ta", "te", "ur", "ms", "tl", "sw", "ga", "mt"}
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


def lost_spans(
    source: str, output: str, source_language: str | None = "de", target_language: str | None = "en"
) -> list[Span]:
    """The protected spans of a sentence that its translation lacks.

    Numbers are compared as numbers, each in the notation of its language: `1.500` may become `1,500` but `3,4` not
    `34`. `14.30 Uhr` may become `2:30 p.m.`, a small number its word, and what stays as it is written is kept. A
    number below zero must stay below it.

    Args:
        source (`str`):
            The sentence.
        output (`str`):
            Its translation.
        source_language (`str`, *optional*, defaults to `"de"`):
            The language of the sentence.
        target_language (`str`, *optional*, defaults to `"en"`):
            The language of the translation.
    """
    spans = find_spans(source)
    if not spans:
        return []
    numbers = [span for span in find_spans(output) if span.kind == "number"]
    written = [_values(span.text, target_language) | {span.text} for span in numbers]
    words = Counter(re.findall(r"\w+", output.lower()))
    lost, rest = [], output
    for span in spans:
        if span.kind != "number":
            if span.text in rest:
                rest = rest.replace(span.text, " ", 1)
            else:
                lost.append(span)
            continue
        values = _values(span.text, source_language) | {span.text}
        clock = _CLOCK.fullmatch(span.text) if source[span.end :].lstrip().startswith("Uhr") else None
        sign = _sign(source, span)
        below = sign is None or target_language != "en" or bool(_BELOW.search(output))
        same = [i for i, made in enumerate(written) if values & made]
        # of equal numbers, one with the same sign
        same.sort(key=lambda i: (_sign(output, numbers[i]) is None) is not (sign is None))
        found = next((i for i in same if below or _sign(output, numbers[i])), None)
        if found is None and clock:
            found = next((i for i in range(len(written)) if _same_time(clock, numbers[i], output, written[i])), None)
        word = _SPELT.get(span.text, "") if below else ""
        if found is not None:
            del numbers[found], written[found]
        elif words[word]:
            words[word] -= 1
        else:
            start = span.start if sign is None else sign.start()
            lost.append(Span(start, span.end, span.kind, source[start : span.end]))
    return lost


def _sign(text: str, number: Span) -> re.Match[str] | None:
    """The minus before a number of a text."""
    return _MINUS.search(text, max(0, number.start - 8), number.start)


def cut_at(text: str, spans: Sequence[Span]) -> list[tuple[str, bool]]:
    """Cut a sentence at spans: its pieces in order, each with whether it is one of the spans."""
    pieces, at = [], 0
    for span in spans:
        pieces += [(text[at : span.start], False), (span.text, True)]
        at = span.end
    pieces.append((text[at:], False))
    return [piece for piece in pieces if piece[0]]


def _values(number: str, language: str | None) -> set[Decimal | tuple[int, ...] | str]:
    """What a number can mean as it is written in a language: a value, or the parts of a time, date or score."""
    decimal, groups = (".", ",") if language in _DECIMAL_POINT else (",", ".")
    plain = _SPACES.sub(" ", number)
    whole, _, fraction = plain.partition(decimal)
    grouped = any(re.fullmatch(rf"\d{{1,3}}(?:{re.escape(sign)}\d{{3}})+", whole) for sign in (groups, " "))
    if (grouped or whole.isdigit()) and (fraction.isdigit() or decimal not in plain):
        values: set[Decimal | tuple[int, ...] | str] = {Decimal(f"{_SEPARATORS.sub('', whole)}.{fraction or 0}")}
    else:
        values = set()
    parts = _SEPARATORS.split(plain)
    # the parts of 1.500 or 3,4 mean nothing by themselves; those of 14.30, 3:1 or 3.5.2019 do
    if len(parts) > 1 and not grouped and (":" in plain or "." in plain):
        values.add(tuple(map(int, parts)))
    return values


def _same_time(clock: re.Match[str], number: Span, output: str, values: set) -> bool:
    """Whether a number of an English text is the time of day that another language counts to 24."""
    hour, minutes = int(clock[1]), int(clock[2] or 0)
    noon = _NOON.match(output, number.end)
    hours = {hour}
    if hour % 12 == 0 or (hour > 12 and not (noon and noon[1].lower() == "a")):
        hours.add(hour % 12 or 12)
    times = {(h, minutes) for h in hours} | ({Decimal(h) for h in hours} if not minutes else set())
    return not times.isdisjoint(values)
