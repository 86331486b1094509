"""The parts of scripts/study.py, without its long road."""

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
from tests.utils.news import write_news_folder


@pytest.fixture(scope="module")
def study() -> dict:
    return vars(seeds)


def test_every_rule_is_scored_on_the_test_part(study, checkpoints, tmp_path):
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
    result = study["choose_by_every_rule"](experiment, "mrr@100", 2)
    part = data.parts["test"]
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
    again = study["choose_by_every_rule"](experiment, "mrr@100", 2)
    assert again["alphas"] == result["alphas"]


def test_rules_are_compared_with_the_papers_over_all_corpora(study):
    generator = np.random.default_rng(0)
    chosen = {
        seed: {
            "image_ids": [f"p{number // 2}" for number in range(10)],
            "alphas": {"best": 0.5, "oracle": 0.1 * seed},
            "scores": {rule: {"recall@1": generator.random(10)} for rule in ("best", "oracle")},
        }
        for seed in (1, 2)
    }
    rules = study["summarise_rules"](chosen)
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
