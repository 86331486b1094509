import io
import json

import numpy as np
import pytest
from rich.console import Console

from hf_newsmatch import Ranking, score
from hf_newsmatch.metrics import bootstrap_intervals, chance_level, compare_runs, gold_ranks
from hf_newsmatch.metrics.scoring import article_scores
from hf_newsmatch.metrics.tables import markdown_table, terminal_table
from hf_newsmatch.retrieval.rerank import METHODS

IMAGES = [f"p{number}" for number in range(40)]
GOLD = {f"a{number}": f"p{number % 30}" for number in range(60)}


def random_run(seed: int) -> Ranking:
    generator = np.random.default_rng(seed)
    return Ranking(list(GOLD), [list(generator.permutation(IMAGES)) for _ in GOLD])


@pytest.fixture(scope="module")
def comparison():
    runs = {"zero_shot": random_run(0), "fine_tuned": random_run(1)}
    return compare_runs(runs, GOLD, candidates=IMAGES), runs


def test_means_are_the_scores(comparison):
    comparison, runs = comparison
    for name, ranking in runs.items():
        for metric, value in score(ranking, GOLD).items():
            if "@" in metric:
                interval = comparison["runs"][name][metric]
                assert interval["mean"] == pytest.approx(value)
                assert interval["low"] <= value <= interval["high"]


def test_differences_are_to_the_first_run(comparison):
    comparison, _ = comparison
    assert list(comparison["differences"]) == ["fine_tuned"]
    runs = comparison["runs"]
    for metric, interval in comparison["differences"]["fine_tuned"].items():
        assert interval["mean"] == pytest.approx(
            runs["fine_tuned"][metric]["mean"] - runs["zero_shot"][metric]["mean"]
        )


def test_intervals_are_clustered_by_picture_and_seeded():
    """The only use of the bootstrap: as if called by hand with the picture of each article."""
    run = random_run(3)
    arrays = article_scores(gold_ranks(run, GOLD))
    for seed in (0, 1):
        expected = bootstrap_intervals(arrays, list(GOLD.values()), seed=seed)
        ours = compare_runs({"run": run}, GOLD, candidates=IMAGES, seed=seed)["runs"]["run"]
        assert {metric: tuple(ours[metric].values()) for metric in arrays} == {
            metric: tuple(interval) for metric, interval in expected.items()
        }
    assert bootstrap_intervals(arrays, list(GOLD), seed=1) != expected


def test_chance_is_that_of_the_candidates():
    comparison = compare_runs({"run": random_run(0)}, GOLD, candidates=[*IMAGES, IMAGES[0]])
    assert comparison["num_candidates"] == len(IMAGES)
    assert comparison["chance"] == chance_level(len(IMAGES))


def test_chance_counts_gold_pictures_that_are_no_candidates():
    """A random order of 100 candidates of which one in 1,915 / 100 articles has its picture among them."""
    candidates = [f"p{i}" for i in range(100)]
    gold = {f"a{i}": f"p{i}" for i in range(1915)}
    run = Ranking(list(gold), [candidates] * len(gold))
    chance = compare_runs({"run": run}, gold, ks=[10], candidates=candidates)["chance"]
    places = [1 / place for place in range(1, 101)]
    assert chance["mrr@100"] == pytest.approx(100 / 1915 * sum(places) / 100) == pytest.approx(0.0027, abs=1e-4)
    assert chance["recall@10"] == pytest.approx(100 / 1915 * 10 / 100)


def test_of_three_runs_each_is_compared_with_the_first():
    comparison = compare_runs({str(seed): random_run(seed) for seed in range(3)}, GOLD)
    means = {name: row["mrr@100"]["mean"] for name, row in comparison["runs"].items()}
    differences = {name: row["mrr@100"]["mean"] for name, row in comparison["differences"].items()}
    assert differences == pytest.approx({"1": means["1"] - means["0"], "2": means["2"] - means["0"]})


def test_short_lists_are_marked(caplog):
    whole, run = random_run(0), random_run(1)
    short = Ranking(run.article_ids, [row[:10] for row in run.image_ids])
    comparison = compare_runs({"whole": whole, "short": short}, GOLD, candidates=IMAGES)
    assert (comparison["longest_list"], comparison["truncated_ks"]) == (10, [50, 100])
    markdown = markdown_table(comparison, "test")
    assert r"| run | MRR@100† | Recall@1 | Recall@5 | Recall@10 | Recall@50\*† | Recall@100\*† |" in markdown
    assert "† lists end at rank 10, lower ranks are not counted" in markdown
    console = Console(file=io.StringIO(), width=120)
    console.print(terminal_table(comparison, "test"))
    assert "@100†" in console.file.getvalue()
    assert "†" not in markdown_table(compare_runs({"whole": whole}, GOLD, candidates=IMAGES), "test")


def test_gold_that_is_no_candidate_is_warned_of_once(caplog):
    gold = {**GOLD, "a0": "elsewhere"}
    comparison = compare_runs({"0": random_run(0), "1": random_run(1)}, gold, candidates=IMAGES)
    assert comparison["num_gold_not_candidates"] == 1
    assert len(caplog.messages) == 1
    assert "1 of the 60 articles" in caplog.text


def test_is_json(comparison):
    assert json.loads(json.dumps(comparison[0])) == comparison[0]


def test_tables_show_every_number(comparison):
    comparison, _ = comparison
    console = Console(file=io.StringIO(), width=120)
    console.print(terminal_table(comparison, "test"))
    markdown = markdown_table(comparison, "test")
    for name, row in comparison["runs"].items():
        assert name in markdown
        for metric in ("mrr@100", "recall@5"):
            for value in row[metric].values():
                assert f"{value:.3f}" in markdown
                assert f"{value:.3f}" in console.file.getvalue()
    assert "60 articles, 40 candidate pictures" in markdown
    assert r"Recall@50\*" in markdown
    assert r"Recall@10\*" not in markdown
    assert len({line.count("|") for line in markdown.splitlines() if line.startswith("|")}) == 1


def test_without_candidates_there_is_no_chance_level():
    comparison = compare_runs({"run": random_run(0)}, GOLD, ks=(1, 5))
    assert comparison["chance"] is None
    assert "chance" not in markdown_table(comparison, "test")
    assert comparison["differences"] == {}


def test_a_run_that_ranks_again_is_compared_with_its_own():
    names = ["first", "second", "second+csls"]
    baselines = {"second+csls": "second"}
    runs = {name: random_run(seed) for seed, name in enumerate(names)}
    comparison = compare_runs(runs, GOLD, candidates=IMAGES, baselines=baselines)
    assert comparison["baselines"] == {"second": "first", "second+csls": "second"}
    alone = compare_runs({name: runs[name] for name in names[1:]}, GOLD, candidates=IMAGES)
    expected, found = (result["differences"]["second+csls"]["mrr@100"] for result in (alone, comparison))
    assert found == expected, "the same draws, paired article by article"
    assert "| second+csls − second |" in markdown_table(comparison, "test")
    # the sentence names every method that does not
    inductive = [name for name, method in METHODS.items() if name != "none" and not method.transductive]
    note = f"which assumes the whole split at hand (but for {' and '.join(inductive)})"
    assert note in markdown_table(comparison, "test")
    console = Console(file=io.StringIO(), width=100)
    console.print(terminal_table(comparison, "test"))
    lines = [line.split("│")[1].strip() for line in console.file.getvalue().splitlines() if "│" in line]
    assert lines[-3:] == ["second +", "csls", "− second"]


def test_comparisons_of_before_there_were_baselines_are_shown(comparison):
    old = {name: value for name, value in comparison[0].items() if name != "baselines"}
    assert markdown_table(old, "test") == markdown_table(comparison[0], "test")
    assert "at hand" not in markdown_table(old, "test")
