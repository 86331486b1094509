"""Every number against plain Python, pandas or scipy."""

import imagehash
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from PIL import ImageEnhance

from hf_newsmatch import NewsMatchError, Ranking, score
from hf_newsmatch.metrics.diagnostics import (
    find_cases,
    hubness,
    length_groups,
    lenient_ranks,
    near_duplicates,
    rank_changes,
    recall_curve,
    score_groups,
    true_ranks,
)
from tests.utils.news import make_picture

IMAGES = [f"p{number}" for number in range(150)]
GOLD = {f"a{number}": f"p{number % 50}" for number in range(80)}
RUNS = ("zero_shot", "fine_tuned", "wise_ft")


def random_run(seed: int, length: int = 100) -> Ranking:
    generator = np.random.default_rng(seed)
    return Ranking(list(GOLD)[::-1], [list(generator.permutation(IMAGES))[:length] for _ in GOLD])


@pytest.fixture(scope="module")
def rankings():
    return {run: random_run(seed) for seed, run in enumerate(RUNS)}


@pytest.fixture(scope="module")
def table(rankings) -> pd.DataFrame:
    """The same ranks, found without the package."""
    rows = {}
    for run, ranking in rankings.items():
        lists = dict(zip(ranking.article_ids, ranking.image_ids))
        rows[run] = [lists[a].index(p) + 1 if p in lists[a] else np.inf for a, p in GOLD.items()]
    return pd.DataFrame(rows, index=list(GOLD), dtype=float)


@pytest.fixture(scope="module")
def ranks(rankings):
    return true_ranks(rankings, GOLD)


def test_true_ranks(ranks, table):
    assert list(ranks) == list(RUNS)
    for run in RUNS:
        assert ranks[run].tolist() == table[run].tolist()
    assert np.isinf(ranks["wise_ft"]).any()


def test_table_4_by_hand():
    """The paper's columns, article by article."""
    zero_shot = np.array([50, 50, 50, 9, np.inf, 50, 50, 3])
    fine_tuned = np.array([20, 20, 20, 12, 80, np.inf, 30, 9])
    wise_ft = np.array([10, 15, 29, 2, 80, 5, np.inf, 10])
    changes = rank_changes(zero_shot, fine_tuned, wise_ft)
    # of the eight, the sixth and the seventh are not found by both; the fourth and last were worsened by fine-tuning
    assert changes["improved_by_fine_tuning"] == {
        "articles": 4,
        "improvement": (10 + 5) / 2,
        "improved": 2,
        "decrease": 9.0,
        "decreased": 1,
        "unchanged": 1,
    }
    assert changes["all"] == {
        "articles": 6,
        "improvement": (10 + 5 + 10) / 3,
        "improved": 3,
        "decrease": (9 + 1) / 2,
        "decreased": 2,
        "unchanged": 1,
    }


def test_table_4_in_pandas(ranks, table):
    changes = rank_changes(*ranks.values())
    found = table[(table.fine_tuned <= 100) & (table.wise_ft <= 100)]
    for reading, rows in (("all", found), ("improved_by_fine_tuning", found[found.fine_tuned < found.zero_shot])):
        change = rows.fine_tuned - rows.wise_ft
        ours = changes[reading]
        assert ours["improvement"] == pytest.approx(change[change > 0].mean())
        assert ours["decrease"] == pytest.approx(-change[change < 0].mean())
        assert (ours["improved"], ours["decreased"]) == ((change > 0).sum(), (change < 0).sum())
        assert ours["articles"] == ours["improved"] + ours["decreased"] + ours["unchanged"] == len(rows)


def test_table_4_without_any_change():
    places = np.array([1.0, 2.0])
    assert rank_changes(places, places, places)["improved_by_fine_tuning"] == {
        "articles": 0,
        "improvement": None,
        "improved": 0,
        "decrease": None,
        "decreased": 0,
        "unchanged": 0,
    }


def test_recall_curve_passes_through_the_scores(ranks, rankings):
    for run in RUNS:
        curve, scores = recall_curve(ranks[run]), score(rankings[run], GOLD)
        assert len(curve) == 100
        for k in (1, 5, 10, 50, 100):
            assert curve[k - 1] == pytest.approx(scores[f"recall@{k}"])


def test_groups(ranks, table):
    labels = ["de" if number % 3 else "en" for number in range(len(GOLD))]
    groups = score_groups(ranks, labels, list(GOLD.values()))
    assert list(groups) == ["de", "en"]
    mrr = (1 / table).groupby(labels).mean()
    for label, group in groups.items():
        assert group["articles"] == labels.count(label)
        for run in RUNS:
            interval = group["runs"][run]
            assert interval["mean"] == pytest.approx(mrr[run][label])
            assert interval["low"] <= interval["mean"] <= interval["high"]
        assert list(group["differences"]) == ["fine_tuned", "wise_ft"]
        expected = mrr.wise_ft[label] - mrr.zero_shot[label]
        assert group["differences"]["wise_ft"]["mean"] == pytest.approx(expected)


def test_length_groups():
    texts = ["a", "a b", "a b c", "a b c d", "a b c d e", "a b c d e f"]
    assert length_groups(texts) == ["1: up to 2 words"] * 2 + ["2: up to 4 words"] * 2 + ["3: over 4 words"] * 2
    assert set(length_groups(["same words"] * 4)) == {"1: up to 2 words"}


def test_cases(ranks, table):
    cases = find_cases(ranks)
    places = table.clip(upper=101)
    zero_shot, fine_tuned, wise_ft = (places[run] for run in RUNS)
    expected = {
        "repaired": (fine_tuned - wise_ft)[(fine_tuned > zero_shot) & (wise_ft < fine_tuned)],
        "undone": (wise_ft - fine_tuned)[(fine_tuned < zero_shot) & (wise_ft > fine_tuned)],
        "gains": (zero_shot - wise_ft)[wise_ft < zero_shot],
        "losses": (wise_ft - zero_shot)[wise_ft > zero_shot],
        "won": places.max(axis=1)[places.max(axis=1) == 1],
        "lost": places.min(axis=1)[places.min(axis=1) > 10],
    }
    assert list(cases) == list(expected)
    for name, amounts in expected.items():
        amounts = amounts.sort_values(ascending=False, kind="stable")
        assert [(table.index[case.article], case.amount) for case in cases[name]] == list(amounts.items())
        assert cases[name] or name == "won"


def test_cases_of_two_runs_and_of_one(ranks):
    two = find_cases({run: ranks[run] for run in RUNS[:2]})
    assert list(two) == ["gains", "losses", "won", "lost"]
    assert all(ranks["fine_tuned"][case.article] < ranks["zero_shot"][case.article] for case in two["gains"])
    assert find_cases({"a": np.ones(2), "b": np.ones(2)})["won"] == [(0, 1.0), (1, 1.0)]
    with pytest.raises(NewsMatchError, match="two or three runs, not in 1"):
        find_cases({"zero_shot": ranks["zero_shot"]})


def test_hubness(rankings):
    ranking = rankings["zero_shot"]
    places = [["hub", *row[:4]] for row in ranking.image_ids]
    candidates = ["hub", *IMAGES, "never"]
    found = hubness(Ranking(ranking.article_ids, places), candidates, k=3)
    counts = pd.Series([name for row in places for name in row[:3]]).value_counts().reindex(candidates, fill_value=0)
    assert found["skewness"] == pytest.approx(scipy.stats.skew(counts))
    assert found["never"] == (counts == 0).sum() >= 1
    limit = counts.mean() + 2 * counts.std(ddof=0)
    assert dict(found["hubs"]) == counts[counts > limit].to_dict()
    assert found["hubs"][0] == ("hub", len(GOLD))
    assert np.isnan(hubness(Ranking(["a"], [["p", "q"]]), ["p", "q"])["skewness"])


def test_near_duplicates():
    pictures = {f"p{seed}": make_picture(seed, (64, 64)) for seed in range(30)}
    pictures["brighter"] = ImageEnhance.Brightness(pictures["p3"]).enhance(1.1)
    pictures["smaller"] = pictures["p4"].resize((40, 40))
    hashes = {name: imagehash.phash(picture) for name, picture in pictures.items()}
    for distance in (4, 12):
        plain = {
            one: {two for two in hashes if two != one and hashes[one] - hashes[two] <= distance} for one in hashes
        }
        assert near_duplicates(hashes, distance) == {name: others for name, others in plain.items() if others}
    found = near_duplicates(hashes)
    assert "brighter" in found["p3"]
    assert "smaller" in found["p4"]
    assert "p5" not in found


def test_lenient_ranks():
    gold = {"a": "p1", "b": "p2", "c": "p3", "d": "p1"}
    ranking = Ranking(["a", "b", "c"], [["p9", "p8", "p1"], ["p2", "p7"], ["p9"]])
    duplicates = {"p1": {"p8", "p7"}, "p2": {"p7"}, "p9": {"p4"}}
    assert lenient_ranks({"run": ranking}, gold, duplicates)["run"].tolist() == [2, 1, np.inf, np.inf]
    assert lenient_ranks({"run": ranking}, gold, {})["run"].tolist() == [3, 1, np.inf, np.inf]
