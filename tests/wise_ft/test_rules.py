import pytest

from hf_newsmatch import NewsMatchError, choose_alpha


def point(alpha, recall, mrr):
    return {"alpha": alpha, "mrr@100": mrr, "recall@1": recall}


@pytest.mark.parametrize(
    ("curve", "chosen"),
    [
        ([point(0.0, 0.1, 0.9), point(0.5, 0.3, 0.2), point(1.0, 0.2, 0.8)], 0.5),
        ([point(0.0, 0.3, 0.2), point(0.5, 0.3, 0.4), point(1.0, 0.3, 0.3)], 0.5),
        ([point(0.0, 0.3, 0.2), point(0.5, 0.3, 0.4), point(1.0, 0.3, 0.4)], 0.5),
    ],
    ids=["highest recall", "then mrr", "then the smaller"],
)
def test_choose_alpha(curve, chosen):
    assert choose_alpha(curve) == chosen
    assert choose_alpha(curve[::-1]) == chosen


def test_there_must_be_an_alpha_to_choose():
    with pytest.raises(NewsMatchError, match="no alpha to choose from"):
        choose_alpha([])
