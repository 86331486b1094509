import pytest

from hf_newsmatch.translation.guard import find_problem, output_limit


@pytest.mark.parametrize(
    ("source", "output", "problem"),
    [
        ("Der Zug steht.", "The train stands.", None),
        ("Der Zug steht.", "", "empty"),
        ("Der Zug steht.", ". . .", "empty"),
        ("Der Zug steht.", "The train the train the train", None),
        ("Der Zug steht.", "The train train train train", "repeated"),
        ("Der Zug steht.", "and on, and on, and on, and on, and", "repeated"),
        ("Der Zug steht.", "hahahahahahahahahahahaha", "repeated"),
        ("La la la la la, sang er", "La la la la la, he sang", None),
        ("Er lachte: hahahahahahahahahahahaha", "He laughed: hahahahahahahahahahahaha", None),
        ("Das sind 1.000.000.000 Euro", "That is 1,000,000,000 euros", None),
    ],
)
def test_problems(source, output, problem):
    assert find_problem(source, output, output_tokens=9, limit=48) == problem


def test_what_was_stopped_is_overlong():
    assert find_problem("Der Zug", "The train", output_tokens=46, limit=48) is None
    assert find_problem("Der Zug", "The train", output_tokens=47, limit=48) == "overlong"


def test_the_limit_grows_with_the_sentence():
    limits = [output_limit(tokens) for tokens in range(1, 129)]
    assert limits == sorted(limits)
    assert all(limit >= 3 * tokens + 16 for tokens, limit in enumerate(limits, 1))
    assert limits[0] <= 32
    assert limits[-1] <= 416
