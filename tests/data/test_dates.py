from datetime import UTC, datetime

import pytest

from hf_newsmatch.data.dates import parse_date, parse_dates


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2019-04-21", datetime(2019, 4, 21, tzinfo=UTC)),
        ("20190421", datetime(2019, 4, 21, tzinfo=UTC)),
        ("2019-04-21 13:05:09", datetime(2019, 4, 21, 13, 5, 9, tzinfo=UTC)),
        ("2019-04-21T13:05:09Z", datetime(2019, 4, 21, 13, 5, 9, tzinfo=UTC)),
        ("2019-04-21T13:05:09.25+02:00", datetime(2019, 4, 21, 11, 5, 9, 250000, tzinfo=UTC)),
        ("Sun, 21 Apr 2019 13:05:09 +0200", datetime(2019, 4, 21, 11, 5, 9, tzinfo=UTC)),
        ("21 Apr 2019 13:05:09 GMT", datetime(2019, 4, 21, 13, 5, 9, tzinfo=UTC)),
    ],
)
def test_dates_become_moments_in_utc(value, moment):
    assert parse_date(value) == moment
    assert parse_date(value).utcoffset().total_seconds() == 0


@pytest.mark.parametrize("value", ["03/04/2020", "3.4.2020", "03-04-20"])
def test_ambiguous_dates_are_refused(value):
    with pytest.raises(ValueError, match="ambiguous"):
        parse_date(value)


@pytest.mark.parametrize("value", ["yesterday", "2019-02-30", "21.04.2019", "Sun, 41 Apr 2019 13:05:09 +0200", "2019"])
def test_unreadable_dates_are_refused(value):
    with pytest.raises(ValueError, match="cannot be read"):
        parse_date(value)


def test_numbers_that_are_no_days_stay_numbers():
    assert parse_dates(["4512776813", None, "17"]) == ([None] * 3, [4512776813, None, 17], {})


def test_a_column_of_compact_days_is_dates():
    published, numbers, problems = parse_dates(["20190421", None])
    assert published == [datetime(2019, 4, 21, tzinfo=UTC), None]
    assert numbers == [None, None]
    assert problems == {}


def test_eight_digits_that_are_no_day_make_the_column_numbers():
    assert parse_dates(["20190421", "20191399"])[1] == [20190421, 20191399]


def test_problems_are_told_by_index():
    published, numbers, problems = parse_dates(["2019-04-21", "soon", None, "12", "soon"])
    assert published[0] == datetime(2019, 4, 21, tzinfo=UTC)
    assert numbers == [None] * 5
    assert sorted(problems) == [1, 3, 4]
    assert "'soon'" in problems[1]


@pytest.mark.parametrize(
    ("value", "hour"),
    [
        ("Sun, 21 Apr 2019 13:05:09 CEST", 11),
        ("Sun, 21 Apr 2019 13:05:09 CET", 12),
        ("Sun, 21 Apr 2019 13:05 MESZ", 11),
        ("21 Apr 19 13:05:09 EDT", 17),
        ("Sun, 21 Apr 2019 13:05:09 +02:00", 11),
        ("Sun, 21 Apr 2019 13:05:09 +0200 (CEST)", 11),
        ("Sun, 21 Apr 2019 13:05:09 -0330", 16),
        ("Sun, 21 Apr 2019 13:05:09 GMT+2", 11),
        ("Sun, 21 Apr 2019 13:05:09 Z", 13),
        ("Sun, 21 Apr 2019 13:05:09", 13),
        ("2019-04-21 13:05:09 CEST", 11),
        ("2019-04-21T13:05:09 UTC", 13),
    ],
)
def test_time_zones(value, hour):
    assert (parse_date(value).day, parse_date(value).hour) == (21, hour)


@pytest.mark.parametrize("zone", ["IST", "XYZ", "PM", "Uhr", "+25:00", "(CET)", "K", "Europe/Berlin"])
def test_unknown_time_zones_are_named(zone):
    with pytest.raises(ValueError, match=r"unknown time zone|cannot be read"):
        parse_date(f"Sun, 21 Apr 2019 01:05:09 {zone}")


def test_one_impossible_day_takes_no_date_from_the_others():
    published, numbers, problems = parse_dates(["20190421", "20190431", "20190422", None, "0", "20190423", "20190424"])
    assert [date and date.day for date in published] == [21, None, 22, None, None, 23, 24]
    assert numbers == [None] * 7
    assert sorted(problems) == [1, 4]
    assert problems[1].startswith("has the date '20190431', which cannot be read")


def test_eight_digits_that_are_seldom_days_are_numbers():
    values = [str(20_000_000 + 7919 * i) for i in range(100)]
    assert parse_dates(values)[1] == list(map(int, values))


@pytest.mark.parametrize(
    ("days", "order"),
    [
        (["20102021", "01022021", "31122020"], "years behind days"),
        (["1022021", "31122020"], "years behind days"),
        (["12312020", "02012021"], "years behind days"),
        (["20211301", "20210201", "20213112"], "days before months"),
    ],
)
def test_a_column_of_days_in_another_order_is_not_sorted_as_numbers(days, order):
    published, numbers, problems = parse_dates([*days, None])
    assert published == numbers == [None] * (len(days) + 1)
    assert sorted(problems) == list(range(len(days)))
    assert problems[0] == f"has the date {days[0]!r}, in a column of {order} (write YYYY-MM-DD)"


def test_an_impossible_day_alone_is_named():
    published, numbers, problems = parse_dates(["20210229", "20210301"])
    assert (published, numbers) == ([None, datetime(2021, 3, 1, tzinfo=UTC)], [None, None])
    assert list(problems) == [0]


@pytest.mark.parametrize(
    "value",
    ["2021-01-01T10:00:00+01:75", "20210101T100000-0160", "Fri, 01 Jan 2021 10:00 +0199", "01 Jan 121 10:00 GMT"],
)
def test_impossible_offsets_and_years_are_refused(value):
    with pytest.raises(ValueError, match=r"unknown time zone|cannot be read"):
        parse_date(value)
