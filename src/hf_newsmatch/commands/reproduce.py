"""Reproduce the paper: three data sets, three runs each, its Tables 1 to 4 beside ours.

    python scripts/reproduce.py --data_root data                       # data/rt, data/tw, data/rss, as the recipes say
    python scripts/reproduce.py --data_root data -- --bf16 true        # behind --: flags of scripts/train.py
    python scripts/reproduce.py --demo true                            # in miniature, on the embedded demo newsroom

Each data set takes the ordinary road, with the ordinary scripts and its recipe, into OUTPUT_DIR/NAME. A data set that
fails is left, the others go on; the same command does what is not done yet. Writes OUTPUT_DIR/tables.md, tables.tex
and reproduce.json.
"""

import logging
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_newsmatch.arguments import parse_arguments, set_up_logging
from hf_newsmatch.console import make_console
from hf_newsmatch.errors import NewsMatchError, exits_cleanly
from hf_newsmatch.files import atomic_path, write_json
from hf_newsmatch.report.tables import to_latex, to_markdown, to_terminal
from hf_newsmatch.reproduction import (
    PAPER,
    PAPER_RUNS,
    Progress,
    changes_tables,
    collect_results,
    find_files,
    scores_table,
)

logger = logging.getLogger("hf_newsmatch.reproduce")

SCRIPTS = Path(__file__).parent
RECIPES = SCRIPTS.parent / "recipes"


@dataclass
class ReproduceArguments:
    """What this script takes."""

    data_root: str | None = field(
        default=None,
        metadata={"help": "The folder with rt, tw and rss, each with the files that its recipe names below data/."},
    )
    demo: bool = field(
        default=False,
        metadata={"help": "Take the demo newsroom's portal and feed for the three: the whole road in miniature."},
    )
    datasets: list[str] = field(default_factory=lambda: list(PAPER), metadata={"help": "Of rt, tw and rss."})
    output_dir: str = field(default="outputs/reproduce", metadata={"help": "Where to; a folder a data set."})
    accelerate_config: str | None = field(
        default=None,
        metadata={"help": "A file of accelerate_configs/ for the trainings; by default your `accelerate config`."},
    )
    overwrite: bool = field(default=False, metadata={"help": "Start over what was begun."})

    def __post_init__(self):
        if self.demo == bool(self.data_root):
            raise ValueError("Name the folder of the three data sets with --data_root, or take --demo true.")
        for name in self.datasets:
            if name not in PAPER:
                raise ValueError(f"--datasets are {', '.join(PAPER)}, not {name}.")


@exits_cleanly
def main() -> None:
    argv = sys.argv[1:]
    cut = argv.index("--") if "--" in argv else len(argv)
    (args,) = parse_arguments(ReproduceArguments, description=__doc__.splitlines()[0], argv=argv[:cut])
    set_up_logging()
    output_dir = Path(args.output_dir)
    results: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    for name in dict.fromkeys(args.datasets):
        try:
            take_the_road(name, args, [*data_flags(name, args), *argv[cut + 1 :]])
            results[name] = collect_results(output_dir / name)
        except NewsMatchError as error:
            logger.error("%s: %s", name, error)
            failed[name] = str(error)
    if results:
        tables = [*(scores_table(name, result) for name, result in results.items()), *changes_tables(results)]
        if args.demo:
            for table in tables:
                table.title += " (the demo's news in their place)"
        for table in tables:
            make_console().print(to_terminal(table))
        for ending, write in (("md", to_markdown), ("tex", to_latex)):
            with atomic_path(output_dir / f"tables.{ending}") as temporary:
                temporary.write_text("\n".join(map(write, tables)), encoding="utf-8")
        write_json({"results": results, "failed": failed}, output_dir / "reproduce.json")
        logger.info("Written to %s, tables.tex and reproduce.json.", output_dir / "tables.md")
    if failed:
        raise NewsMatchError(f"{len(failed)} of {len(results) + len(failed)} data sets failed: {', '.join(failed)}.")


def data_flags(name: str, args: ReproduceArguments) -> list[str]:
    """The recipe and the files of a data set, or of what stands in for it, as flags of scripts/train.py."""
    if args.demo:
        values = {**PAPER[name].demo, "config": str(RECIPES / PAPER[name].demo["config"])}
    else:
        recipe = RECIPES / f"{name}.yaml"
        values = {"config": str(recipe), **find_files(recipe, args.data_root)}
    return [f"--{flag}={value}" for flag, value in values.items()]


def take_the_road(name: str, args: ReproduceArguments, flags: list[str]) -> None:
    """Train, interpolate, predict, evaluate and report, as far as that is not done.

    Raises:
        [`NewsMatchError`]: when a step fails; its own words are above.
    """
    folder = Path(args.output_dir) / name
    if args.overwrite:
        shutil.rmtree(folder, ignore_errors=True)
    progress = Progress(folder, flags)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--quiet"]
    if args.accelerate_config:
        launch += ["--config_file", args.accelerate_config]
    python, output = [sys.executable], ["--output_dir", str(folder)]
    steps = {
        "train": [*launch, "train.py", *flags, *output],
        "interpolate": [*python, "interpolate.py", *output],
        "predict": [*python, "predict.py", *output, "--runs", *PAPER_RUNS],
        "evaluate": [*python, "evaluate.py", *output],
        "report": [*python, "report.py", *output],
    }
    for step, command in steps.items():
        if progress.is_done(step):
            continue
        logger.info("%s: %s.", name, step)
        script = f"{step}.py"
        command[command.index(script)] = str(SCRIPTS / script)
        if subprocess.run(command).returncode:
            raise NewsMatchError(f"it ended in {script}, see above; the same command goes on there.")
        progress.finish(step)


if __name__ == "__main__":
    main()
