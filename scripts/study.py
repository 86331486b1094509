"""Repeat the demo over several corpus seeds: mean and standard deviation of the test scores.

    python scripts/study.py                                # seeds 1 to 5, some minutes each
    python scripts/study.py --corpus_seeds 6 7 8

One corpus is one draw of the world: what a single table shows may be luck. Each seed takes the ordinary road, with the
ordinary scripts, into OUTPUT_DIR/seed_N; seeds that are done are not done again. Writes OUTPUT_DIR/study.json.
"""

import json
import logging
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from hf_newsmatch.arguments import parse_arguments, set_up_logging
from hf_newsmatch.console import make_console
from hf_newsmatch.errors import NewsMatchError, exits_cleanly
from hf_newsmatch.files import write_json
from hf_newsmatch.metrics.tables import metric_label

logger = logging.getLogger("hf_newsmatch.study")

SCRIPTS = Path(__file__).parent


@dataclass
class StudyArguments:
    """What this script takes."""

    corpus_seeds: list[int] = field(
        default_factory=lambda: [1, 2, 3, 4, 5],
        metadata={"help": "The corpora to draw. 0 is the demo's own; the newsroom was tuned on others than 1 to 5."},
    )
    recipe: str = field(
        default=str(SCRIPTS.parent / "recipes" / "demo.yaml"), metadata={"help": "The recipe of every seed."}
    )
    output_dir: str = field(default="outputs/study", metadata={"help": "Folder of the study."})


@exits_cleanly
def main() -> None:
    (args,) = parse_arguments(StudyArguments, description=__doc__.splitlines()[0])
    set_up_logging()
    results = {}
    for seed in args.corpus_seeds:
        folder = Path(args.output_dir) / f"seed_{seed}"
        if not (folder / "scores.json").is_file():
            logger.info("Corpus seed %d.", seed)
            take_the_road(folder, args.recipe, seed)
        results[seed] = {
            "alpha": read(folder / "newsmatch.json")["wise_ft"]["alpha"],
            "test": read(folder / "scores.json")["test"],
        }
    summary = summarise(results)
    write_json({"seeds": results, "summary": summary}, Path(args.output_dir) / "study.json")
    make_console().print(table(summary, results))


def take_the_road(folder: Path, recipe: str, seed: int) -> None:
    """Train, interpolate, predict and evaluate with one corpus."""
    steps = (
        ["train.py", "--config", recipe, "--corpus_seed", str(seed), "--overwrite"],
        ["interpolate.py"],
        ["predict.py"],
        ["evaluate.py"],
    )
    for script, *flags in steps:
        command = [sys.executable, str(SCRIPTS / script), *flags, "--output_dir", str(folder)]
        if subprocess.run(command).returncode:
            raise NewsMatchError(f"Corpus seed {seed} ended in {script}; see above.")


def read(file: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(file.read_text(encoding="utf-8"))


def summarise(results: dict[int, dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Mean and standard deviation over the seeds, of each run and of each difference between two, by metric."""
    summary: dict[str, dict[str, dict[str, float]]] = {}
    scores = {}
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
            deviation = values.std(ddof=1) if len(values) > 1 else 0.0
            summary.setdefault(name, {})[metric] = {"mean": float(values.mean()), "std": float(deviation)}
    return summary


def table(summary: dict[str, dict[str, dict[str, float]]], results: dict[int, dict[str, Any]]) -> Table:
    """The summary for the terminal."""
    alphas = ", ".join(f"{result['alpha']:g}" for result in results.values())
    output = Table(
        title=f"Test part, mean ± standard deviation over {len(results)} corpora",
        caption=f"Corpus seeds {', '.join(map(str, results))}; alphas chosen on validation: {alphas}.",
    )
    output.add_column("run")
    for metric in next(iter(summary.values())):
        output.add_column(metric_label(metric).replace("@", "\n@"), justify="right", no_wrap=True)
    for name, row in summary.items():
        sign = "+" if "−" in name else ""
        cells = [f"{round(value['mean'], 3) + 0.0:{sign}.3f}\n±{value['std']:.3f}" for value in row.values()]
        output.add_row(name.replace(" − ", "\n− "), *cells)
    return output


if __name__ == "__main__":
    main()
