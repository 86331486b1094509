"""The study of corpus seeds: test scores, rules for alpha, and every re-ranking over several demo corpora."""

import json
import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..configs import StudyArguments
from ..data.splits import chronological_slices
from ..errors import NewsMatchError
from ..experiment.folder import Experiment
from ..experiment.forward_chaining import fine_tune_again, sweep_folds
from ..merging.curve import AlphaSweep
from ..merging.selection import RULES, check_metric, choose_alpha
from ..merging.sweep import sweep_alpha, sweep_towers
from ..metrics import bootstrap_intervals
from ..metrics.tables import metric_label
from ..utils.files import write_json
from ..utils.tables import Cell, Table, interval_cell, number
from . import reranking as rerank_study

logger = logging.getLogger("hf_newsmatch.study")


@dataclass
class Study:
    """The results of a study.

    Args:
        results (`dict[int, dict]`):
            Corpus seed to its alpha and test scores.
        summary (`dict`):
            Run, or difference of two, to metric to mean and standard deviation over the corpora.
        rules (`dict`):
            Rule for alpha to its summary by [`summarise_rules`].
        rerankings (`dict`):
            Variant to its summary by [`reranking.summarise`].
        articles (`dict[str, int]`):
            Variant to the number of test articles of all corpora.
    """

    results: dict[int, dict[str, Any]]
    summary: dict[str, dict[str, dict[str, float]]]
    rules: dict[str, dict[str, Any]]
    rerankings: dict[str, dict[str, dict[str, Any]]]
    articles: dict[str, int]


def run_study(args: StudyArguments) -> Study:
    """Take every corpus through all steps that are not done yet, and summarise the results.

    Writes `OUTPUT_DIR/study.json`.

    Raises:
        [`NewsMatchError`]: on an unknown metric, too few slices, or a step that fails, whose own message comes first.
    """
    check_metric(args.alpha_metric)
    if args.alpha_slices < 2:
        raise NewsMatchError(f"--alpha_slices must be at least 2, not {args.alpha_slices}.")
    results, chosen, reranked = {}, {}, {}
    for seed in args.corpus_seeds:
        folder = Path(args.output_dir) / f"seed_{seed}"
        if not (folder / "scores.json").is_file():
            logger.info("Corpus seed %d.", seed)
            run_steps(folder, args.recipe, seed)
        results[seed] = {
            "alpha": read(folder / "newsmatch.json")["wise_ft"]["alpha"],
            "test": read(folder / "scores.json")["test"],
        }
        experiment = Experiment.open(folder)
        chosen[seed] = choose_by_every_rule(experiment, args.alpha_metric, args.alpha_slices)
        reranked[seed] = rerank_study.score_methods(experiment)
    summary, rules = summarise(results), summarise_rules(chosen)
    rerankings = {
        variant: rerank_study.summarise([scored[variant] for scored in reranked.values()])
        for variant in rerank_study.VARIANTS
    }
    write_json(
        {"seeds": results, "summary": summary, "rules": rules, "rerank": rerankings},
        Path(args.output_dir) / "study.json",
    )
    articles = {
        variant: sum(len(corpus[variant]["image_ids"]) for corpus in reranked.values())
        for variant in rerank_study.VARIANTS
    }
    return Study(results, summary, rules, rerankings, articles)


def run_steps(folder: Path, recipe: str, seed: int) -> None:
    """Train, interpolate, predict and evaluate with one corpus."""
    for name in ("sweeps", "embeddings"):
        shutil.rmtree(folder / name, ignore_errors=True)
    steps = (
        ["train", "--config", recipe, "--corpus_seed", str(seed), "--overwrite"],
        ["interpolate"],
        ["predict"],
        ["evaluate"],
    )
    for step, *flags in steps:
        command = [sys.executable, "-m", "hf_newsmatch", step, *flags, "--output_dir", str(folder)]
        if subprocess.run(command).returncode:
            raise NewsMatchError(f"Corpus seed {seed} failed in `hf-newsmatch {step}`; see its message above.")


def read(file: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(file.read_text(encoding="utf-8"))


def choose_by_every_rule(experiment: Experiment, metric: str, slices: int) -> dict[str, Any]:
    """Choose alpha by each rule on one corpus, and score every article of the test split with it.

    Returns:
        `dict`: `"image_ids"` (the picture of each test article), `"alphas"` (by rule) and `"scores"` (by rule and
        metric, an array over the articles). The oracle takes, for each metric, the best alpha of the test split.
    """
    data, folder = experiment.data(), experiment.output_dir / "sweeps"
    sort_by = experiment.record.data.arguments.sort_by
    ends = experiment.checkpoint("zero_shot"), experiment.checkpoint("fine_tuned")
    revision = experiment.revision("zero_shot")
    common: dict[str, Any] = {"text_fields": experiment.text_fields, "zero_shot_revision": revision}
    part = data.splits["test"]
    on_test = partial(sweep_alpha, *ends, part.articles, candidates=part.images, gold=part.gold, **common)

    validation = keep(folder / "validation.npz", lambda: sweep_alpha(*ends, data.validation, **common))
    towers = keep(
        folder / f"towers_{metric}.npz", lambda: sweep_towers(*ends, data.validation, metric=metric, **common)
    )
    test = keep(folder / "test.npz", on_test)
    files = [folder / f"fold_{number}_of_{slices}.npz" for number in range(1, slices)]
    if not all(file.is_file() for file in files):
        with tempfile.TemporaryDirectory() as temporary:
            fine_tune = fine_tune_again(experiment, Path(temporary))
            sweep = partial(sweep_alpha, ends[0], **common)
            for file, fold in zip(files, sweep_folds(data.train, fine_tune, sweep, slices, sort_by)):
                fold.save(file)
    folds = list(map(AlphaSweep.load, files))

    rows = chronological_slices(data.validation, slices, sort_by)
    alphas = {rule: choose_alpha(validation, rule, metric, rows, folds) for rule in RULES}
    scores = {
        rule: {name: test.scores[name][test.alphas.index(alpha)] for name in test.scores}
        for rule, alpha in alphas.items()
    }
    pair = alphas["best, per tower"] = choose_alpha(towers, "best", metric)
    of_pair = keep(folder / f"test_{alpha_label(pair).replace('/', '_')}.npz", lambda: on_test(alphas=[pair]))
    scores["best, per tower"] = {name: rows[0] for name, rows in of_pair.scores.items()}
    scores["oracle"] = {name: rows[rows.mean(axis=1).argmax()] for name, rows in test.scores.items()}
    alphas["oracle"] = test.alphas[int(test.scores[metric].mean(axis=1).argmax())]
    return {"image_ids": test.image_ids, "alphas": alphas, "scores": scores}


def keep(file: Path, make: Callable[[], AlphaSweep]) -> AlphaSweep:
    """The sweep in a file; made and saved first when the file does not exist."""
    if not file.is_file():
        make().save(file)
    return AlphaSweep.load(file)


def summarise(results: dict[int, dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """The mean and standard deviation over the seeds of each run and of each difference between two, by metric."""
    summary: dict[str, dict[str, dict[str, float]]] = {}
    scores: dict[tuple[str, str], dict[int, float]] = {}
    for seed, result in results.items():
        for name, row in result["test"]["runs"].items():
            for metric, interval in row.items():
                if "@" in metric:
                    scores.setdefault((name, metric), {})[seed] = interval["mean"]
    runs = list(dict.fromkeys(name for name, _ in scores))
    metrics = list(dict.fromkeys(metric for _, metric in scores))
    for metric in metrics:
        columns = {name: np.array(list(scores[name, metric].values())) for name in runs}
        pairs = [(b, a) for i, a in enumerate(runs) for b in runs[i + 1 :]]
        columns |= {f"{b} − {a}": columns[b] - columns[a] for b, a in pairs}
        for name, values in columns.items():
            summary.setdefault(name, {})[metric] = mean_and_deviation(values)
    return summary


def mean_and_deviation(values: np.ndarray) -> dict[str, float]:
    """The mean and standard deviation of values, one for each seed."""
    return {"mean": float(values.mean()), "std": float(values.std(ddof=1)) if len(values) > 1 else 0.0}


def summarise_rules(chosen: dict[int, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The alphas of each rule, its mean and standard deviation over the seeds, and its difference to the paper's rule.

    The intervals of the differences are over the test articles of all seeds together, clustered by picture: they tell
    the certainty about these corpora, not about others.
    """
    # corpora share no pictures, whatever their ids
    clusters = [(seed, image_id) for seed, result in chosen.items() for image_id in result["image_ids"]]
    first = next(iter(chosen.values()))["scores"]
    columns = {
        (rule, metric): [result["scores"][rule][metric] for result in chosen.values()]
        for rule in first
        for metric in first[rule]
    }
    differences = bootstrap_intervals(
        {
            (rule, metric): np.concatenate(arrays) - np.concatenate(columns["best", metric])
            for (rule, metric), arrays in columns.items()
        },
        clusters,
    )
    return {
        rule: {
            "alphas": [result["alphas"][rule] for result in chosen.values()],
            "scores": {
                metric: mean_and_deviation(np.array([array.mean() for array in columns[rule, metric]]))
                for metric in first[rule]
            },
            "minus_best": {metric: differences[rule, metric]._asdict() for metric in first[rule]},
        }
        for rule in first
    }


def table(summary: dict[str, dict[str, dict[str, float]]], results: dict[int, dict[str, Any]]) -> Table:
    """The table of a summary by [`summarise`]."""
    alphas = ", ".join(f"{result['alpha']:g}" for result in results.values())
    title = f"Test split, mean ± standard deviation over {len(results)} corpora"
    caption = f"Corpus seeds {', '.join(map(str, results))}; alphas chosen on validation: {alphas}."
    rows = [
        [Cell(name.replace(" − ", "\n− ")), *(mean_cell(value, "+" if "−" in name else "") for value in row.values())]
        for name, row in summary.items()
    ]
    return Table("seeds", title, _header("run", next(iter(summary.values()))), rows, caption)


def rules_table(rules: dict[str, dict[str, Any]], metric: str) -> Table:
    """The table of the rules for alpha: their scores, and their differences to the paper's rule."""
    alphas = "; ".join(f"{rule}: {', '.join(map(alpha_label, row['alphas']))}" for rule, row in rules.items())
    title = f"Test split by rule for alpha (by validation {metric_label(metric)}), mean ± standard deviation"
    caption = (
        "Differences with 95 % bootstrap intervals over the test articles of all corpora. The oracle is the best of"
        f" the eleven alphas on the test split itself, in each column its own. Alphas: {alphas}."
    )
    rows = [[Cell(rule.replace(", ", ",\n")), *map(mean_cell, row["scores"].values())] for rule, row in rules.items()]
    for rule, row in rules.items():
        if rule != "best":
            cells = (interval_cell(interval, "+") for interval in row["minus_best"].values())
            rows.append([Cell(f"{rule}\n− best"), *cells])
    return Table("rules", title, _header("rule", rules["best"]["scores"]), rows, caption)


def _header(first: str, metrics: Iterable[str]) -> list[str]:
    return [first, *map(metric_label, metrics)]


def mean_cell(value: dict[str, float], sign: str = "") -> Cell:
    """A cell with a mean and, as its detail, the standard deviation."""
    return Cell(number(value["mean"], sign=sign), f"±{number(value['std'])}")


def alpha_label(alpha: float | tuple[float, float]) -> str:
    """An alpha, or the two of the towers, as text."""
    return "/".join(f"{value:g}" for value in alpha) if isinstance(alpha, tuple) else f"{alpha:g}"
