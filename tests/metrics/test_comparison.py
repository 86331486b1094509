import io
import json

import numpy as np
import pytest
from rich.console import Console

from hf_newsmatch import Ranking, score
from hf_newsmatch.metrics import compare_runs
from hf_newsmatch.metrics.tables import markdown_table, terminal_table

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
