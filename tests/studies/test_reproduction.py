import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hf_newsmatch import NewsMatchError
from hf_newsmatch.studies.reproduction import (
    PAPER,
    PAPER_METRICS,
    Progress,
    changes_tables,
    collect_results,
    find_files,
    scores_table,
)
from tests.utils.reported_run import RUNS, make_run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, checkpoints) -> Path:
    return make_run(tmp_path_factory.mktemp("run"), checkpoints).output_dir


def test_the_papers_figures_are_those_of_the_readme():
    """Typed twice, from the paper: a slip in one shows."""
    text = (ROOT / "README.md").read_text().split("## The paper's results")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\|.*\d", line)]
    figures = [tuple(map(float, row[-5:])) for row in rows[1:]]
    assert figures == [target.scores[run] for name in ("rt", "tw", "rss") for target in [PAPER[name]] for run in RUNS]
    alphas = [float(value) for value in re.findall(r"\(alpha (0\.\d)\)", text)]
    assert alphas == [PAPER[name].alpha for name in ("rt", "tw", "rss")]


def ranks_of(folder: Path) -> pd.DataFrame:
    gold = pd.read_csv(folder / "gold.tsv", sep="\t", dtype=str).set_index("article_id")["image_id"]
    table = {}
    for run in RUNS:
        hits = pd.read_csv(folder / f"{run}.tsv", sep="\t", dtype=str, index_col=0).loc[gold.index].eq(gold, axis=0)
        table[run] = np.where(hits.any(axis=1), hits.to_numpy().argmax(axis=1) + 1, np.inf)
    return pd.DataFrame(table)


def value(cell) -> float:
    return float(cell.text.replace("−", "-"))


def test_scores_stand_beside_the_papers(run_folder):
    result = collect_results(run_folder)
    table = scores_table("tw", result)
    assert table.title.startswith("Table 2: Twitter")
    assert table.header == ["run", "MRR@100", "Recall@5", "Recall@10", "Recall@50", "Recall@100"]
    ranks = ranks_of(run_folder / "runs" / "test")
    for run, ours, theirs, difference in zip(RUNS, table.rows[::3], table.rows[1::3], table.rows[2::3]):
        expected = [(1 / ranks[run]).mean(), *((ranks[run] <= k).mean() for k in (5, 10, 50, 100))]
        assert [value(cell) for cell in ours[1:]] == pytest.approx(expected, abs=5.01e-4)
        assert [value(cell) for cell in theirs[1:]] == list(PAPER["tw"].scores[run])
        minus = np.array(expected) - PAPER["tw"].scores[run]
        assert [value(cell) for cell in difference[1:]] == pytest.approx(minus, abs=5.01e-4)
    assert "alpha 0.50, the paper's 0.5" in table.caption


def test_rank_changes_stand_beside_the_papers(run_folder):
    ranks = ranks_of(run_folder / "runs" / "validation")
    found = ranks[(ranks.fine_tuned <= 100) & (ranks.wise_ft <= 100)]
    readings = changes_tables({"rss": collect_results(run_folder)})
    for table, articles in zip(readings, (found[found.fine_tuned < found.zero_shot], found)):
        (row,) = table.rows
        change = articles.fine_tuned - articles.wise_ft
        for cells, side, theirs in ((row[1:4], change[change > 0], 1.667), (row[4:7], -change[change < 0], 6.778)):
            assert cells[0].detail == f"of {len(side)}"
            expected = [side.mean(), theirs, side.mean() - theirs]
            assert [value(cell) for cell in cells] == pytest.approx(expected, abs=5.01e-4)
        assert row[7].text == str((change == 0).sum())
    assert len(readings) == 2


def test_without_gold_only_the_scores_are_missing(run_folder):
    result = {**collect_results(run_folder), "scores": None}
    table = scores_table("rss", result)
    assert [cell.text for cell in table.rows[0]] == ["zero-shot", *["–"] * len(PAPER_METRICS)]
    assert [value(cell) for cell in table.rows[1][1:]] == list(PAPER["rss"].scores["zero_shot"])
    assert "no gold yet" in table.caption


@pytest.mark.parametrize("name", PAPER)
def test_what_is_missing_is_listed_whole(name, tmp_path):
    recipe = ROOT / "recipes" / f"{name}.yaml"
    (tmp_path / name / "images").mkdir(parents=True)
    with pytest.raises(NewsMatchError) as error:
        find_files(recipe, tmp_path)
    for file in ("articles.tsv", "test_articles.tsv", "test_images.tsv", "test_gold.tsv"):
        assert f" {name}/{file}" in str(error.value)
    assert f"missing in {tmp_path}: " in str(error.value)
    assert f"{name}/images (" not in str(error.value)
    for file in ("articles.tsv", "test_articles.tsv", "test_images.tsv"):
        (tmp_path / name / file).touch()
    assert "gold_file" not in find_files(recipe, tmp_path)
    (tmp_path / name / "test_gold.tsv").touch()
    assert find_files(recipe, tmp_path)["gold_file"] == str(tmp_path / name / "test_gold.tsv")


def test_a_run_is_missing(run_folder, tmp_path):
    with pytest.raises(NewsMatchError, match="holds no experiment"):
        collect_results(tmp_path)


def test_progress(tmp_path):
    progress = Progress(tmp_path / "rt", ["--a=1"])
    assert not progress.is_done("train")
    progress.finish("train")
    again = Progress(tmp_path / "rt", ["--a=1"])
    assert again.is_done("train")
    assert not again.is_done("predict")
    with pytest.raises(NewsMatchError, match="begun with `--a=1`, not with `--a=2`"):
        Progress(tmp_path / "rt", ["--a=2"])
    (tmp_path / "rt" / "reproduce.json").write_text("{")
    with pytest.raises(NewsMatchError, match=r"reproduce\.json is damaged"):
        Progress(tmp_path / "rt", ["--a=1"])
