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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..configs import ReproduceArguments
from ..errors import NewsMatchError, exits_cleanly
from ..studies.reproduction import (
    PAPER,
    PAPER_RUNS,
    Progress,
    changes_tables,
    collect_results,
    find_files,
    scores_table,
)
from ..utils.files import atomic_path, write_json
from ..utils.resources import resource_dir
from ..utils.tables import to_latex, to_markdown, to_terminal
from .parser import parse_arguments
from .terminal import make_console, set_up_logging

logger = logging.getLogger("hf_newsmatch.reproduce")

RECIPES = resource_dir("recipes")


@exits_cleanly
def main(argv: Sequence[str] | None = None) -> None:
    argv = list(sys.argv[1:] if argv is None else argv)
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
            raise NewsMatchError(f"it ended in {step}, see above; the same command goes on there.")
        progress.finish(step)
