"""The reproduction of the paper: three data sets, three runs each, and its Tables 1 to 4 beside ours.

All figures in this module are those of Fukatsu and Aono, "Image-Text Re-Matching with Zero-shot and Finetuning of
CLIP" (MediaEval 2022).
"""

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..configs import ReproduceArguments
from ..errors import NewsMatchError
from ..experiment.folder import RUNS, Experiment
from ..experiment.record import RECORD
from ..metrics import compare_runs
from ..metrics.diagnostics import rank_changes, true_ranks
from ..metrics.tables import metric_label
from ..utils.files import atomic_path, write_json
from ..utils.resources import resource_dir
from ..utils.tables import Cell, Table, interval_cell, number, to_latex, to_markdown

logger = logging.getLogger(__name__)

RECIPES = resource_dir("recipes")
PAPER_METRICS = ("mrr@100", "recall@5", "recall@10", "recall@50", "recall@100")
PAPER_RUNS = RUNS[:3]
_RUN_NAMES = dict(zip(PAPER_RUNS, ("zero-shot", "fine-tuning", "WiSE-FT")))
# the files that the organisers hand out for each data set, by their names in the recipes
_NEEDED = {
    "articles_file": "the linked articles",
    "image_dir": "the pictures",
    "test_articles_file": "the articles of the test split",
    "test_images": "the candidate pictures of the test split",
}
_GOLD = "gold_file"


@dataclass(frozen=True)
class Target:
    """The results that the paper reports for a data set.

    Args:
        title (`str`):
            The paper's name of the data set.
        table (`int`):
            The number of the table of scores.
        scores (`dict[str, tuple[float, ...]]`):
            Run to its test scores by `PAPER_METRICS`.
        alpha (`float`):
            Alpha of the WiSE-FT run (section 3.3).
        improvement, decrease (`float`):
            The row of Table 4, on the validation split.
        demo (`dict[str, Any]`):
            Flags of `hf-newsmatch train` for the demo corpus that stands in for the data set.
    """

    title: str
    table: int
    scores: dict[str, tuple[float, ...]]
    alpha: float
    improvement: float
    decrease: float
    demo: dict[str, Any]


PAPER: dict[str, Target] = {
    "rt": Target(
        "Online News portals",
        1,
        {
            "zero_shot": (0.195, 0.261, 0.347, 0.562, 0.647),
            "fine_tuned": (0.231, 0.329, 0.416, 0.655, 0.745),
            "wise_ft": (0.240, 0.329, 0.423, 0.649, 0.735),
        },
        0.5,
        4.905,
        6.091,
        {"config": "demo_portal.yaml"},
    ),
    "tw": Target(
        "Twitter",
        2,
        {
            "zero_shot": (0.446, 0.547, 0.641, 0.802, 0.868),
            "fine_tuned": (0.472, 0.595, 0.679, 0.857, 0.915),
            "wise_ft": (0.476, 0.595, 0.681, 0.848, 0.910),
        },
        0.5,
        3.893,
        5.158,
        # short texts of a time of their own; seeds from 6 on are used nowhere else
        {"config": "demo.yaml", "corpus_seed": "6", "text_fields": "title"},
    ),
    "rss": Target(
        "RSS news feed",
        3,
        {
            "zero_shot": (0.403, 0.509, 0.603, 0.777, 0.833),
            "fine_tuned": (0.408, 0.531, 0.621, 0.772, 0.839),
            "wise_ft": (0.455, 0.569, 0.666, 0.809, 0.859),
        },
        0.4,
        1.667,
        6.778,
        {"config": "demo.yaml"},
    ),
}


def find_files(recipe: str | Path, data_root: str | Path) -> dict[str, str]:
    """The files of a data set below `data_root`, as flags of `hf-newsmatch train`; the gold only where it exists.

    Args:
        recipe (`str` or `Path`):
            The recipe of the data set, whose paths begin with `data/`.
        data_root (`str` or `Path`):
            The folder in place of `data/`.

    Raises:
        [`NewsMatchError`]: when files are missing; it names each of them and its content.
    """
    values = yaml.safe_load(Path(recipe).read_text(encoding="utf-8"))
    paths = {name: Path(data_root, *Path(values[name]).parts[1:]) for name in (*_NEEDED, _GOLD)}
    missing = [
        f"{paths[name].relative_to(data_root)} ({what})" for name, what in _NEEDED.items() if not paths[name].exists()
    ]
    if missing:
        raise NewsMatchError(
            f"{'These files are' if len(missing) > 1 else 'A file is'} missing in {data_root}: {', '.join(missing)};"
            f" {paths[_GOLD].relative_to(data_root)}, the true pictures of the test split, is needed for its scores."
        )
    return {name: str(path) for name, path in paths.items() if path.exists()}


def collect_results(output_dir: str | Path, seed: int = 0) -> dict[str, Any]:
    """The results of a finished experiment that are compared with the paper.

    Args:
        output_dir (`str` or `Path`):
            Folder of an experiment with predictions.
        seed (`int`, *optional*, defaults to 0):
            Seed of the bootstrap.

    Returns:
        `dict`, ready for JSON: `"alpha"`, `"scores"` (run to metric to `{"mean", "low", "high"}` on the test split, or
        `None` without gold), and `"rank_changes"` (as [`rank_changes`], on the validation split as in the paper).

    Raises:
        [`NewsMatchError`]: when one of the three runs is missing, or stale.
    """
    experiment = Experiment.open(output_dir)
    splits = {}
    for split in ("validation", "test"):
        rankings = experiment.rankings(split) if split in experiment.predicted_splits() else {}
        if not set(PAPER_RUNS) <= set(rankings):
            raise NewsMatchError(f"{output_dir} lacks a run of the {split} split; run `hf-newsmatch predict` first.")
        splits[split] = {run: rankings[run] for run in PAPER_RUNS}
    gold = experiment.gold("test")
    scores = None
    if gold is not None:
        ks = [int(metric.split("@")[1]) for metric in PAPER_METRICS if metric.startswith("recall")]
        compared = compare_runs(splits["test"], gold, ks, experiment.candidates("test"), seed)["runs"]
        scores = {run: {metric: compared[run][metric] for metric in PAPER_METRICS} for run in PAPER_RUNS}
    ranks = true_ranks(splits["validation"], experiment.known_gold("validation"))
    return {
        "alpha": experiment.record.interpolated.alpha,
        "scores": scores,
        "rank_changes": rank_changes(*(ranks[run] for run in PAPER_RUNS)),
    }


def scores_table(name: str, result: Mapping[str, Any]) -> Table:
    """Table 1, 2 or 3 of the paper: our test scores, the paper's, and the difference, run by run."""
    target, rows = PAPER[name], []
    for run in PAPER_RUNS:
        ours = result["scores"] and result["scores"][run]
        theirs = dict(zip(PAPER_METRICS, target.scores[run]))
        rows += [
            [Cell(_RUN_NAMES[run]), *(interval_cell(ours[metric]) if ours else Cell("–") for metric in PAPER_METRICS)],
            [Cell("the paper"), *(Cell(number(theirs[metric])) for metric in PAPER_METRICS)],
            [Cell("difference"), *(_minus(ours and ours[m]["mean"], theirs[m]) for m in PAPER_METRICS)],
        ]
    header = ["run", *map(metric_label, PAPER_METRICS)]
    caption = f"alpha {number(result['alpha'], 2)}, the paper's {target.alpha}; ours with 95 % bootstrap intervals."
    if result["scores"] is None:
        caption += " The test split has no gold yet, so it cannot be scored."
    return Table(f"paper-{name}", f"Table {target.table}: {target.title}, test split", header, rows, caption)


def changes_tables(results: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """The paper's Table 4, average improvement and decrease in rank from fine-tuning to WiSE-FT, in both readings."""
    sides = [[kind, "the paper", "difference"] for kind in ("improvement", "decrease")]
    title = "Table 4: average change in rank from fine-tuning to WiSE-FT, validation split"
    found = "Over the articles that fine-tuning and WiSE-FT both find in the top 100"
    tables = []
    for reading, condition in (
        ("improved_by_fine_tuning", " and that fine-tuning had ranked better than zero-shot."),
        ("all", ", better or worse than zero-shot: the other reading of the paper's text."),
    ):
        rows = []
        for name, result in results.items():
            changes, cells = result["rank_changes"][reading], [Cell(PAPER[name].title)]
            for kind, count in (("improvement", "improved"), ("decrease", "decreased")):
                theirs = getattr(PAPER[name], kind)
                ours = Cell(number(changes[kind]), f"of {changes[count]}")
                cells += [ours, Cell(number(theirs)), _minus(changes[kind], theirs)]
            rows.append([*cells, Cell(str(changes["unchanged"]))])
        header = ["data set", *sides[0], *sides[1], "unchanged"]
        tables.append(Table(f"paper-rank-changes-{reading.replace('_', '-')}", title, header, rows, found + condition))
    return tables


def _minus(ours: float | None, theirs: float) -> Cell:
    return Cell(number(None if ours is None else ours - theirs, sign="+"))


class Progress:
    """The finished steps of a data set, kept in its folder, so that the same command continues with the others.

    Creates the folder and its file when they do not exist.

    Args:
        folder (`str` or `Path`):
            The data set's folder.
        flags (`Sequence[str]`):
            The flags that its training is started with.

    Raises:
        [`NewsMatchError`]: when it was begun with other flags.
    """

    def __init__(self, folder: str | Path, flags: Sequence[str]):
        self.folder, self.flags, self.done = Path(folder), list(flags), []
        self.file = self.folder / "reproduce.json"
        if not self.file.is_file():
            self._save()
            return
        try:
            before = json.loads(self.file.read_text(encoding="utf-8"))
            self.done, begun = list(before["done"]), list(before["flags"])
        except (ValueError, TypeError, KeyError) as error:
            raise NewsMatchError(f"{self.file} is damaged ({error!r}); start over with --overwrite.") from error
        if begun != self.flags:
            raise NewsMatchError(
                f"{folder} was begun with `{' '.join(begun)}`, not with `{' '.join(self.flags)}`; start over with"
                " --overwrite, or name another --output_dir."
            )

    def is_done(self, step: str) -> bool:
        """Whether a step is done; a training also when it ended between saving its model and recording the step."""
        if step == "train" and step not in self.done and (self.folder / RECORD).is_file():
            return Experiment.open(self.folder).has_model("fine_tuned")
        return step in self.done

    def finish(self, step: str) -> None:
        """Record that a step is done."""
        self.done.append(step)
        self._save()

    def _save(self) -> None:
        write_json({"flags": self.flags, "done": self.done}, self.file)


@dataclass
class Reproduction:
    """The results of the three data sets.

    Args:
        results (`dict[str, dict]`):
            Data set to its results by [`collect_results`].
        failed (`dict[str, str]`):
            Data set to the message it failed with.
        tables (`list[Table]`):
            Our numbers beside the paper's.
    """

    results: dict[str, dict[str, Any]]
    failed: dict[str, str]
    tables: list[Table]


def reproduce(args: ReproduceArguments, train_flags: Sequence[str] = ()) -> Reproduction:
    """Take each data set through all steps that are not done yet, and compare the results with the paper.

    When a data set fails, the others continue. Writes `OUTPUT_DIR/tables.md`, `tables.tex` and
    `reproduce.json`.

    Args:
        args ([`ReproduceArguments`]):
            The data sets, and the folders to read from and to write to.
        train_flags (`Sequence[str]`, *optional*):
            More flags of `hf-newsmatch train`.
    """
    output_dir = Path(args.output_dir)
    made = Reproduction({}, {}, [])
    for name in dict.fromkeys(args.datasets):
        try:
            run_steps(name, args, [*data_flags(name, args), *train_flags])
            made.results[name] = collect_results(output_dir / name)
        except NewsMatchError as error:
            logger.error("%s: %s", name, error)
            made.failed[name] = str(error)
    if made.results:
        made.tables = [scores_table(name, result) for name, result in made.results.items()]
        made.tables += changes_tables(made.results)
        if args.demo:
            for table in made.tables:
                table.title += " (the demo's news in their place)"
        for ending, write in (("md", to_markdown), ("tex", to_latex)):
            with atomic_path(output_dir / f"tables.{ending}") as temporary:
                temporary.write_text("\n".join(map(write, made.tables)), encoding="utf-8")
        write_json({"results": made.results, "failed": made.failed}, output_dir / "reproduce.json")
    return made


def data_flags(name: str, args: ReproduceArguments) -> list[str]:
    """The recipe and the files of a data set, or of the demo's news in its place, as flags of `hf-newsmatch train`."""
    if not args.data_root:  # with --demo, as the arguments' own check has it
        values = {**PAPER[name].demo, "config": str(RECIPES / PAPER[name].demo["config"])}
    else:
        recipe = RECIPES / f"{name}.yaml"
        values = {"config": str(recipe), **find_files(recipe, args.data_root)}
    return [f"--{flag}={value}" for flag, value in values.items()]


def run_steps(name: str, args: ReproduceArguments, flags: list[str]) -> None:
    """Train, interpolate, predict, evaluate and report, skipping the steps that are done.

    Raises:
        [`NewsMatchError`]: when a step fails, whose own message comes first.
    """
    folder = Path(args.output_dir) / name
    if args.overwrite:
        shutil.rmtree(folder, ignore_errors=True)
    progress = Progress(folder, flags)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", "--module"]
    if args.accelerate_config:
        launch[4:4] = ["--config_file", args.accelerate_config]
    python, output = [sys.executable, "-m"], ["--output_dir", str(folder)]
    steps = {
        "train": [*launch, "hf_newsmatch", "train", *flags, *output],
        "interpolate": [*python, "hf_newsmatch", "interpolate", *output],
        "predict": [*python, "hf_newsmatch", "predict", *output, "--runs", *PAPER_RUNS],
        "evaluate": [*python, "hf_newsmatch", "evaluate", *output],
        "report": [*python, "hf_newsmatch", "report", *output],
    }
    for step, command in steps.items():
        if progress.is_done(step):
            continue
        logger.info("%s: %s.", name, step)
        if subprocess.run(command).returncode:
            raise NewsMatchError(f"`hf-newsmatch {step}` failed, see above; the same command continues there.")
        progress.finish(step)
