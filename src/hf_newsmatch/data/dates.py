"""Dates of news lists: ISO 8601, RSS dates, yyyymmdd, and numbers whose meaning nobody published."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_INTEGER = re.compile(r"-?\d{1,18}")
_COMPACT = re.compile(r"(19|20)\d{6}|2100\d{4}")
_RSS = re.compile(r"([A-Za-z]{3},\s*)?\d{1,2}\s+[A-Za-z]{3}\s+\d{2,4}\s+\d{1,2}:\d{2}.*")
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
        moment = parsedate_to_datetime(value) if _RSS.fullmatch(value) else datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, TypeError):
        ambiguous = _DAY_OR_MONTH_FIRST.fullmatch(value)
        if ambiguous and int(ambiguous[1]) <= 12 and int(ambiguous[2]) <= 12:
            problem = "is ambiguous (day or month first? write YYYY-MM-DD)"
        else:
            problem = "cannot be read (write ISO 8601, YYYY-MM-DD)"
        raise ValueError(f"the date {value[:60]!r}, which {problem}") from None


def parse_dates(
    values: Sequence[str | None],
) -> tuple[list[datetime | None], list[int | None], dict[int, str]]:
    """Read a column of dates.

    Args:
        values (`Sequence[str | None]`):
            The cells, `None` for an empty one.

    Returns:
        The dates, the opaque numbers, and the problem of every cell that cannot be read, by index and as a predicate
        of its row (`"has the date …"`). At most one of the first two holds values: a column of whole numbers that are
        not all yyyymmdd days can be sorted but is no date.
    """
    distinct = {value for value in values if value is not None}
    if distinct and all(_INTEGER.fullmatch(value) for value in distinct) and not all(map(_is_compact, distinct)):
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


def _is_compact(value: str) -> bool:
    if not _COMPACT.fullmatch(value):
        return False
    try:
        datetime.strptime(value, "%Y%m%d")
    except ValueError:
        return False
    return True
