import numpy as np
import pytest

from hf_newsmatch import AlphaSweep, NewsMatchError, choose_alpha
from hf_newsmatch.merging.selection import RULES, describe_rule, paired_standard_error
from hf_newsmatch.metrics import bootstrap_intervals


def point(alpha, recall, mrr):
    return {"alpha": alpha, "mrr@100": mrr, "recall@1": recall}


def sweep_of(rows, alphas=None, image_ids=None) -> AlphaSweep:
    """A sweep whose articles score what `rows` says, one row an alpha."""
    rows = np.array(rows, dtype=float)
    alphas = [step / (len(rows) - 1) for step in range(len(rows))] if alphas is None else alphas
    image_ids = [f"p{number}" for number in range(rows.shape[1])] if image_ids is None else image_ids
    return AlphaSweep(alphas, {"mrr@100": rows / 2, "recall@1": rows}, image_ids)


@pytest.mark.parametrize(
    ("curve", "chosen"),
    [
        ([point(0.0, 0.1, 0.9), point(0.5, 0.3, 0.2), point(1.0, 0.2, 0.8)], 0.5),
        ([point(0.0, 0.3, 0.2), point(0.5, 0.3, 0.4), point(1.0, 0.3, 0.3)], 0.5),
        ([point(0.0, 0.3, 0.2), point(0.5, 0.3, 0.4), point(1.0, 0.3, 0.4)], 0.5),
    ],
    ids=["highest recall", "then mrr", "then the smaller"],
)
def test_best(curve, chosen):
    assert choose_alpha(curve) == chosen
    assert choose_alpha(curve[::-1]) == chosen


def test_best_by_another_metric():
    curve = [point(0.0, 0.1, 0.9), point(0.5, 0.3, 0.2)]
    assert choose_alpha(curve, metric="mrr@100") == 0.0


def test_best_of_both_towers():
    curve = [
        {"alpha_vision": v, "alpha_text": t, "mrr@100": 0.5, "recall@1": r}
        for v, t, r in ((0.2, 0.9, 0.3), (0.8, 0.1, 0.4), (0.1, 0.3, 0.4))
    ]
    assert choose_alpha(curve) == (0.1, 0.3)


def test_standard_error_of_single_articles_is_the_textbooks():
    differences = np.random.default_rng(0).normal(size=50)
    expected = np.std(differences, ddof=1) / np.sqrt(50)
    assert paired_standard_error(differences, [f"p{number}" for number in range(50)]) == pytest.approx(expected)


def test_standard_error_is_what_the_clustered_bootstrap_finds():
    generator = np.random.default_rng(1)
    clusters = generator.integers(0, 60, 200)
    differences = generator.normal(size=200) + generator.normal(size=60)[clusters]
    error = paired_standard_error(differences, clusters.tolist())
    interval = bootstrap_intervals({"x": differences}, clusters.tolist())["x"]
    # a normal 95 % interval is 2 * 1.96 standard errors wide
    assert error == pytest.approx((interval.high - interval.low) / 3.92, rel=0.05)
    assert error > 1.3 * np.std(differences, ddof=1) / np.sqrt(200), "articles of one picture are not independent"
    # copies of every article say nothing new, but that there are as many pictures
    assert paired_standard_error(np.tile(differences, 3), np.tile(clusters, 3).tolist()) == pytest.approx(error)


def test_one_standard_error():
    """By hand: 100 articles; the best has 60 right, others differ from it in a few articles."""
    best = np.arange(100) < 60

    def but(lost, won):
        row = best.copy()
        row[:lost], row[100 - won :] = False, True
        return row

    # of two alphas, 5 articles lost and 3 won: difference 0.02, error sqrt((8/100 - 0.02²) / 99) = 0.0284
    # 5 lost and 1 won: difference 0.04, error sqrt((6/100 - 0.04²) / 99) = 0.0243
    near, far = but(5, 3), but(5, 1)
    for lost, won, within in ((5, 3, True), (5, 1, False)):
        mean = (lost - won) / 100
        assert (mean <= np.sqrt(((lost + won) / 100 - mean**2) / 99)) == within
    alphas = [0.0, 0.5, 0.6, 0.7, 0.8]
    assert choose_alpha(sweep_of([far, far, near, near, best], alphas), "one_standard_error") == 0.6
    assert choose_alpha(sweep_of([far, near, near, near, best], alphas), "one_standard_error") == 0.5
    assert choose_alpha(sweep_of([far, far, far, far, best], alphas), "one_standard_error") == 0.8
    # as near on both sides: the better one, then the smaller
    assert choose_alpha(sweep_of([far, near, best], [0.0, 0.4, 0.6]), "one_standard_error") == 0.6
    assert choose_alpha(sweep_of([far, best, best], [0.0, 0.6, 0.4]), "one_standard_error") == 0.4
    towers = [(0.0, 1.0), (0.5, 0.9), (0.6, 0.7), (1.0, 1.0)]
    assert choose_alpha(sweep_of([far, near, near, best], towers), "one_standard_error") == (0.6, 0.7)


def test_one_standard_error_heeds_shared_pictures():
    """The same scores are less certain when few pictures carry them."""
    # four articles lost and one won: by article a difference of 0.075 with an error of 0.055; by picture, of 0.125
    best = np.arange(40) < 39
    other = np.arange(40) >= 4
    rows, alphas = [other, best], [0.5, 1.0]
    assert choose_alpha(sweep_of(rows, alphas), "one_standard_error") == 1.0
    shared = [f"p{number // 20}" for number in range(40)]
    assert choose_alpha(sweep_of(rows, alphas, shared), "one_standard_error") == 0.5


def test_time_robust():
    rows = [[1, 0, 1, 0, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0, 1, 1]]
    quarters = [np.array([0, 1]), np.array([2, 3]), np.array([4, 5]), np.array([6, 7])]
    # worst quarters: 0.5, 0 and 0
    assert choose_alpha(sweep_of(rows), "time_robust", slices=quarters) == 0.0
    # worst halves: 0.5 each, and the second has the highest MRR
    halves = [np.arange(4), np.arange(4, 8)]
    assert choose_alpha(sweep_of(rows), "time_robust", slices=halves) == 0.5
    # any rows make a slice: here only the third is right throughout
    assert choose_alpha(sweep_of(rows), "time_robust", slices=[np.array([6, 0]), np.array([7, 1])]) == 1.0


def test_forward_chaining_means_over_folds_not_articles():
    small, large = sweep_of([[1, 1], [0, 0]]), sweep_of([[0] * 10, [0] * 4 + [1] * 6])
    # means over folds: 0.5 and 0.3; over all articles the second would win with 6 of 12
    assert choose_alpha(large, "forward_chaining", folds=[small]) == 0.0
    assert choose_alpha(large, "forward_chaining", folds=[]) == 1.0
    with pytest.raises(NewsMatchError, match="different alphas"):
        choose_alpha(large, "forward_chaining", folds=[sweep_of([[1], [1]], [0.2, 0.4])])


def test_every_rule_is_described():
    for rule in RULES:
        text = describe_rule(rule, "recall@5", 7)
        assert "recall@5" in text
        assert ("7" in text) == (rule in ("time_robust", "forward_chaining"))


@pytest.mark.parametrize(
    ("curve", "arguments", "message"),
    [
        ([], {}, "no alpha to choose from"),
        ([point(0.5, 1, 1)], {"rule": "luck"}, "no rule 'luck' .* best, one_standard_error"),
        ([point(0.5, 1, 1)], {"metric": "bleu"}, "'bleu'; the metrics are mrr@100, recall@1"),
        ([point(0.5, 1, 1)], {"rule": "time_robust"}, "needs slices"),
        ([point(0.5, 1, 1)], {"rule": "forward_chaining"}, "needs sweeps of earlier folds"),
    ],
)
def test_refuses(curve, arguments, message):
    with pytest.raises(NewsMatchError, match=message):
        choose_alpha(curve, **arguments)
