"""Dates of news lists: ISO 8601, RSS dates, yyyymmdd, and numbers whose meaning nobody published."""

import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

_INTEGER = re.compile(r"-?\d{1,18}")
_COMPACT = re.compile(r"(19|20)\d{6}|2100\d{4}", re.ASCII)
# Days in other orders, the first without its leading zero where a program took it for a number.
_DAY = re.compile(r"(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])", re.ASCII)
_YEAR_DAY_MONTH = re.compile(r"(?:19|20)\d{2}(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])", re.ASCII)
_YEAR_LAST = re.compile(
    r"(?:(?:0?[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])|(?:0?[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))(?:19|20)\d{2}", re.ASCII
)
_RSS = re.compile(
    r"((?:[A-Za-z]{3},\s*)?\d{1,2}\s+[A-Za-z]{3}\s+(?:\d{2}|\d{4})\s+\d{1,2}:\d{2}(?::\d{2})?)(?:\s*(\S.*))?"
)
_ISO_WITH_NAME = re.compile(r"(\d{4}-\d{2}-\d{2}[T ]\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?)\s*([A-Za-z]{2,}.*)")
# An offset, maybe from Greenwich and with its name in brackets: "+0200 (CEST)", "GMT+2".
_OFFSET = re.compile(r"(?:GMT|UTC|UT)?([+-])(\d{1,2})(?::?([0-5]\d))?(?:\s*\(.*\))?", re.IGNORECASE)
# Names that mean one offset in news feeds, in hours. IST (India, Israel, Ireland) and the like are not among them.
_ZONES = {
    **dict.fromkeys(("UT", "UTC", "GMT", "Z", "WET"), 0),
    **dict.fromkeys(("CET", "MEZ", "WEST", "WESZ", "BST"), 1),
    **dict.fromkeys(("CEST", "MESZ", "EET", "OEZ"), 2),
    **dict.fromkeys(("EEST", "OESZ", "MSK", "TRT"), 3),
    "JST": 9,
    "AEST": 10,
    "AEDT": 11,
    **{"AST": -4, "ADT": -3, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7},
}
# Sorted as numbers, these would not follow each other in time.
_ORDERS = {"days before months": _YEAR_DAY_MONTH, "years behind days": _YEAR_LAST}
_DAY_OR_MONTH_FIRST = re.compile(r"(\d{1,2})[./-](\d{1,2})[./-](\d{4}|\d{2})\b.*")


def parse_date(value: str) -> datetime:
    """Read one date as a moment in UTC; a date without zone is taken as UTC.

    Args:
        value (`str`):
            An ISO 8601, RFC 2822 or yyyymmdd date.

    Raises:
        `ValueError`: on any other value; the message is a noun phrase with the value and the remedy.
    """
    try:
        moment = _read(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except _UnknownZoneError as error:
        problem = f"has the unknown time zone {error} (write an offset such as +01:00)"
        raise ValueError(f"the date {value[:60]!r}, which {problem}") from None
    except (ValueError, OverflowError, TypeError):
        ambiguous = _DAY_OR_MONTH_FIRST.fullmatch(value)
        if ambiguous and int(ambiguous[1]) <= 12 and int(ambiguous[2]) <= 12:
            problem = "is ambiguous (day or month first? write YYYY-MM-DD)"
        else:
            problem = "cannot be read (write ISO 8601, YYYY-MM-DD)"
        raise ValueError(f"the date {value[:60]!r}, which {problem}") from None


class _UnknownZoneError(Exception):
    pass


def _read(value: str) -> datetime:
    if value.isdigit() and not _COMPACT.fullmatch(value):  # fromisoformat takes a digit for the separator, too
        raise ValueError(value)
    if match := _RSS.fullmatch(value):
        # email.utils takes a zone that it does not know, or an offset with a colon, for UTC
        return parsedate_to_datetime(match[1]).replace(tzinfo=_zone(match[2]))
    if match := _ISO_WITH_NAME.fullmatch(value):
        return datetime.fromisoformat(match[1]).replace(tzinfo=_zone(match[2]))
    if re.search(r"[+-]\d{2}:?[6-9]\d\Z", value[10:]):  # fromisoformat adds up such minutes
        raise ValueError(value)
    return datetime.fromisoformat(value)


def _zone(name: str | None) -> timezone:
    if name is None:
        return UTC
    if match := _OFFSET.fullmatch(name):
        offset = timedelta(hours=int(match[2]), minutes=int(match[3] or 0))
        return timezone(-offset if match[1] == "-" else offset)
    if name.upper() not in _ZONES:
        raise _UnknownZoneError(repr(name[:30]))
    return timezone(timedelta(hours=_ZONES[name.upper()]))


def parse_dates(
    values: Sequence[str | None],
) -> tuple[list[datetime | None], list[int | None], dict[int, str]]:
    """Read a column of dates.

    Args:
        values (`Sequence[str | None]`):
            The cells, `None` for an empty one.

    Returns:
        The dates, the opaque numbers, and the problem of every cell that cannot be read, by index and as a predicate
        of its row (`"has the date …"`). At most one of the first two holds values: a column of whole numbers most of
        which are no yyyymmdd days can be sorted but is no date.
    """
    distinct = {value for value in values if value is not None}
    # one impossible day among many takes no date from the others, and by chance few numbers are days
    if distinct and all(_INTEGER.fullmatch(value) for value in distinct) and not _mostly(_DAY, distinct):
        if order := next((order for order, form in _ORDERS.items() if all(map(form.fullmatch, distinct))), None):
            problem = "has the date {!r}, in a column of {} (write YYYY-MM-DD)"
            problems_of = {i: problem.format(value, order) for i, value in enumerate(values) if value is not None}
            return [None for _ in values], [None for _ in values], problems_of
        return [None for _ in values], [None if value is None else int(value) for value in values], {}

    moments: dict[str | None, datetime] = {}
    problems: dict[str | None, str] = {}
    for value in distinct:
        try:
            moments[value] = parse_date(value)
        except ValueError as error:
            problems[value] = f"has {error}"
    published = [moments.get(value) for value in values]
    return (
        published,
        [None for _ in values],
        {i: problems[value] for i, value in enumerate(values) if value in problems},
    )


def _mostly(form: re.Pattern[str], values: Collection[str]) -> bool:
    """Whether more than half of the values have a form."""
    return 2 * sum(form.fullmatch(value) is not None for value in values) > len(values)
