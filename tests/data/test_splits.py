from datetime import UTC, datetime

import pytest
from datasets import Dataset, DatasetDict, Features, Value

from hf_newsmatch.data.splits import chronological_slices, chronological_split, split_report
from hf_newsmatch.errors import NewsMatchError

FEATURES = Features(
    {
        "article_id": Value("string"),
        "image_id": Value("string"),
        "published": Value("timestamp[us, tz=UTC]"),
        "date_number": Value("int64"),
    }
)


def make(days=None, numbers=None, images=None, size=5):
    size = len(days or numbers or images or range(size))
    return Dataset.from_dict(
        {
            # descending, so that an order by id would show
            "article_id": [str(size - i) for i in range(size)],
            "image_id": images or [f"p{i}" for i in range(size)],
            "published": [day and datetime(2019, 4, day, tzinfo=UTC) for day in days or [None] * size],
            "date_number": numbers or [None] * size,
        },
        features=FEATURES,
    )


def ids(part):
    return part["article_id"][:]


def test_dates_decide_and_ties_keep_the_order_of_the_file():
    splits = chronological_split(make(days=[9, 3, 9, 1, 3]), train_fraction=0.6)
    assert list(splits) == ["train", "validation"]
    assert ids(splits["train"]) == ["2", "4", "1"]
    assert ids(splits["validation"]) == ["5", "3"]


def test_ties_keep_the_order_of_the_file_in_long_lists():
    # numpy's other sorts keep it only up to 16 values
    splits = chronological_split(make(days=[1 + i % 2 for i in range(200)]), train_fraction=0.5)
    assert ids(splits["train"]) == [str(i) for i in range(200, 0, -2)]
    assert ids(splits["validation"]) == [str(i) for i in range(199, 0, -2)]


def test_numbers_decide_without_dates():
    splits = chronological_split(make(numbers=[50, 2**62 + 1, 2**62, 10]), train_fraction=0.5)
    assert ids(splits["train"]) + ids(splits["validation"]) == ["1", "4", "2", "3"]


def test_the_file_decides_without_either():
    splits = chronological_split(make(size=5))
    assert ids(splits["train"]) == ["5", "4", "3", "2"]
    assert ids(splits["validation"]) == ["1"]


def test_a_data_set_needs_no_date_columns():
    splits = chronological_split(Dataset.from_dict({"title": ["a", "b"]}), 0.5)
    assert splits["train"]["title"][:] == ["a"]
    assert split_report(splits)["order"] == "file"


def test_sort_by_overrides():
    dataset = make(days=[3, 2, 1], numbers=[2, 1, 3])
    assert ids(chronological_split(dataset, 0.9, sort_by="file")["train"]) == ["3", "2"]
    assert ids(chronological_split(dataset, 0.9, sort_by="date_number")["train"]) == ["2", "3"]
    assert ids(chronological_split(dataset, 0.9, sort_by="published")["train"]) == ["1", "2"]


@pytest.mark.parametrize(
    ("size", "fraction", "train"), [(2, 0.01, 1), (2, 0.99, 1), (100, 0.29, 29), (10, 0.7, 7), (220, 0.8, 176)]
)
def test_sizes_are_rounded_and_no_split_is_empty(size, fraction, train):
    splits = chronological_split(make(size=size), fraction)
    assert (len(splits["train"]), len(splits["validation"])) == (train, size - train)


def test_missing_dates_stop_the_split():
    dataset = make(days=[1, None, 3, None])
    with pytest.raises(NewsMatchError, match=r"2 of 4 rows have no published.*sort_by='file'"):
        chronological_split(dataset)
    assert ids(chronological_split(dataset, 0.5, sort_by="file")["train"]) == ["4", "3"]
    with pytest.raises(NewsMatchError, match="4 of 4 rows have no date_number"):
        chronological_split(dataset, sort_by="date_number")


def test_complete_numbers_are_better_than_some_dates():
    assert ids(chronological_split(make(days=[1, None], numbers=[2, 1]), 0.5)["train"]) == ["1"]


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 80, float("nan")])
def test_fractions_out_of_range(fraction):
    with pytest.raises(NewsMatchError, match="between 0 and 1"):
        chronological_split(make(), fraction)


@pytest.mark.parametrize("size", [0, 1])
def test_too_few_rows(size):
    with pytest.raises(NewsMatchError, match="at least 2"):
        chronological_split(make(size=2).select(range(size)))


def test_an_unknown_order():
    with pytest.raises(NewsMatchError, match=r"'article_id'.*published, date_number, file"):
        chronological_split(make(), sort_by="article_id")


def test_report():
    train = make(days=[1, 2, 2], images=["a", "b", "a"])
    validation = make(days=[2, 4, 5], images=["a", "c", "c"])
    test = make(days=[6, 7, 8], images=["c", "c", None])
    report = split_report(DatasetDict(train=train, validation=validation, test=test))
    first, second = "2019-04-01T00:00:00+00:00", "2019-04-02T00:00:00+00:00"
    assert report["order"] == "published"
    assert report["parts"]["train"] == {"rows": 3, "pictures": 2, "first_date": first, "last_date": second}
    assert report["parts"]["validation"]["pictures"] == 2
    assert (report["parts"]["validation"]["shared_pictures"], report["parts"]["validation"]["shared_rows"]) == (1, 1)
    assert (report["parts"]["test"]["shared_pictures"], report["parts"]["test"]["shared_rows"]) == (1, 2)


def test_report_tells_the_order():
    assert split_report(chronological_split(make(numbers=[3, 1, 2])))["order"] == "date_number"
    assert split_report(chronological_split(make(days=[3, 1, 2]), sort_by="file"))["order"] == "file"
    undated = split_report(chronological_split(make()))
    assert undated["order"] == "file"
    assert undated["parts"]["train"]["first_date"] is None


def test_slices_of_time():
    """By hand: the days in order are rows 3, 1, 4, 0, 2, where 1 and 4 are of one day."""
    dated = make(days=[4, 2, 5, 1, 2])
    assert [rows.tolist() for rows in chronological_slices(dated, 2)] == [[3, 1, 4], [0, 2]]
    assert [rows.tolist() for rows in chronological_slices(dated, 5)] == [[3], [1], [4], [0], [2]]
    assert [rows.tolist() for rows in chronological_slices(make(numbers=[3, 1, 2, 9, 0]), 2)] == [[4, 1, 2], [0, 3]]
    assert [rows.tolist() for rows in chronological_slices(dated, 2, sort_by="file")] == [[0, 1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("arguments", "count", "message"),
    [
        ({"days": [1, 2, 3]}, 1, "1 is not a number of slices to compare; give at least 2"),
        ({"days": [1, 2, 3]}, 4, "3 rows cannot be cut into 4 slices"),
        ({}, 2, "no dates to slice them by"),
        ({"days": [1, None, 3]}, 2, "1 of 3 rows have no published"),
    ],
)
def test_slices_that_cannot_be(arguments, count, message):
    with pytest.raises(NewsMatchError, match=message):
        chronological_slices(make(**arguments), count)
