"""The rules for alpha and the tables of the study of corpus seeds, without its long trainings."""

import numpy as np
import pytest

from hf_newsmatch import (
    AlphaSweep,
    ContrastiveTrainingArguments,
    choose_alpha,
    interpolate,
    load_clip,
    rank_articles,
    score,
)
from hf_newsmatch.configs import DataArguments, ModelArguments
from hf_newsmatch.experiment.folder import Experiment
from hf_newsmatch.experiment.record import TrainRecord
from hf_newsmatch.metrics import bootstrap_intervals
from hf_newsmatch.studies import seeds
from hf_newsmatch.utils.tables import to_markdown
from tests.utils.news import write_news_folder


def test_every_rule_is_scored_on_the_test_split(checkpoints, tmp_path):
    news = write_news_folder(tmp_path / "news")
    experiment, data = Experiment.create(
        tmp_path / "run",
        DataArguments(articles_file=str(news / "articles.tsv")),
        ModelArguments(model_name_or_path=str(checkpoints / "zero_shot")),
    )
    args = ContrastiveTrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=1, per_device_train_batch_size=8, use_cpu=True, report_to="none"
    )
    experiment.record.train = TrainRecord(None, args.to_dict())
    (tmp_path / "run" / "fine_tuned").symlink_to(checkpoints / "fine_tuned")
    result = seeds.choose_by_every_rule(experiment, "mrr@100", 2)
    part = data.splits["test"]
    assert result["image_ids"] == list(part.gold.values())

    # the models themselves, made and ranked without any sweep
    by_alpha = {}
    for alpha in {step / 10 for step in range(11)}:
        folder = interpolate(checkpoints / "zero_shot", checkpoints / "fine_tuned", alpha, tmp_path / "between")
        ranking = rank_articles(*load_clip(folder), part.articles, part.images, progress=False)
        by_alpha[alpha] = score(ranking, part.gold)
    for rule in ("best", "one_standard_error", "time_robust", "forward_chaining"):
        expected = by_alpha[result["alphas"][rule]]
        for metric, array in result["scores"][rule].items():
            assert array.mean() == pytest.approx(expected[metric]), (rule, metric)
    for metric, array in result["scores"]["oracle"].items():
        assert array.mean() == pytest.approx(max(scores[metric] for scores in by_alpha.values()))
    validation = AlphaSweep.load(tmp_path / "run" / "sweeps" / "validation.npz")
    assert result["alphas"]["best"] == choose_alpha(validation, "best", "mrr@100")

    # a second time nothing is trained or embedded
    experiment.record.train = None
    again = seeds.choose_by_every_rule(experiment, "mrr@100", 2)
    assert again["alphas"] == result["alphas"]


def test_rules_are_compared_with_the_papers_over_all_corpora():
    generator = np.random.default_rng(0)
    chosen = {
        seed: {
            "image_ids": [f"p{number // 2}" for number in range(10)],
            "alphas": {"best": 0.5, "oracle": 0.1 * seed},
            "scores": {rule: {"recall@1": generator.random(10)} for rule in ("best", "oracle")},
        }
        for seed in (1, 2)
    }
    rules = seeds.summarise_rules(chosen)
    means = [chosen[seed]["scores"]["oracle"]["recall@1"].mean() for seed in (1, 2)]
    assert rules["oracle"]["scores"]["recall@1"]["mean"] == pytest.approx(np.mean(means))
    assert rules["oracle"]["scores"]["recall@1"]["std"] == pytest.approx(np.std(means, ddof=1))
    differences = [
        chosen[seed]["scores"]["oracle"]["recall@1"] - chosen[seed]["scores"]["best"]["recall@1"] for seed in (1, 2)
    ]
    # ten pictures in all: p0 of the first corpus is not p0 of the second
    interval = bootstrap_intervals({"x": np.concatenate(differences)}, np.arange(20) // 2)["x"]
    assert rules["oracle"]["minus_best"]["recall@1"] == pytest.approx(interval._asdict())
    assert rules["best"]["minus_best"]["recall@1"] == {"mean": 0, "low": 0, "high": 0}
    assert rules["oracle"]["alphas"] == [0.1, 0.2]
    # the rows of the table: the rules, then all but the paper's against it
    table = seeds.rules_table(rules, "recall@1")
    assert table.header == ["rule", "Recall@1"]
    assert [row[0].text for row in table.rows] == ["best", "oracle", "oracle\n− best"]
    oracle, difference = table.rows[1][1], table.rows[2][1]
    assert (oracle.text, oracle.detail) == (f"{np.mean(means):.3f}", f"±{np.std(means, ddof=1):.3f}")
    assert difference.text.replace("−", "-") == f"{interval.mean:+.3f}"
    assert difference.detail.replace("−", "-").split("\nto ") == [f"{interval.low:+.3f}", f"{interval.high:+.3f}"]
    assert table.caption.endswith("Alphas: best: 0.5, 0.5; oracle: 0.1, 0.2.")


def test_runs_and_their_differences_over_the_corpora():
    means = {1: {"zero_shot": 0.1, "wise_ft": 0.4}, 2: {"zero_shot": 0.3, "wise_ft": 0.2}}
    results = {
        seed: {"alpha": seed / 10, "test": {"runs": {run: {"mrr@100": {"mean": mean}} for run, mean in runs.items()}}}
        for seed, runs in means.items()
    }
    table = seeds.table(seeds.summarise(results), results)
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["zero_shot", "0.200"],
        ["wise_ft", "0.300"],
        ["wise_ft\n− zero_shot", "+0.100"],
    ]
    # differences 0.3 and -0.1
    assert [row[1].detail for row in table.rows] == ["±0.141", "±0.141", "±0.283"]
    assert "| wise_ft − zero_shot | +0.100 (±0.283) |" in to_markdown(table)
    assert table.caption == "Corpus seeds 1, 2; alphas chosen on validation: 0.1, 0.2."
