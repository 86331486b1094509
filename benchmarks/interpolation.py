"""Time and memory of interpolating two checkpoints: ours, mergekit's, and a script that loads everything.

    python benchmarks/interpolation.py
    python benchmarks/interpolation.py --mergekit /path/to/another/venv/bin/mergekit-pytorch

mergekit pins other versions and needs an environment of its own (`pip install mergekit==0.1.5`). The checkpoints have
random weights in float32, by default in the shapes of CLIP ViT-B/32. Each measurement is a whole process, from the
start of Python to its end, ours also with what it checks and records; the programs take turns, so that what others do
on the machine strikes all alike, and CPU time is what counts when it is busy. Memory is the most anonymous memory that
a process had, sampled (Linux only): files that are mapped can be dropped and read again and take none away.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from safetensors import safe_open
from transformers import CLIPConfig, CLIPModel, CLIPProcessor, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from hf_newsmatch.commands.parser import parse_arguments
from hf_newsmatch.commands.terminal import make_console, set_up_logging
from hf_newsmatch.errors import NewsMatchError, exits_cleanly
from hf_newsmatch.models.weights import save_checkpoint, weights_sha256
from hf_newsmatch.utils.files import write_json

ALPHA = 0.4
PLAIN = """
import sys
from safetensors.torch import load_file, save_file
theta_0, theta_1 = load_file(sys.argv[1]), load_file(sys.argv[2])
theta = {name: (1 - 0.4) * theta_0[name] + 0.4 * theta_1[name] for name in theta_0}
save_file(theta, sys.argv[3], metadata={"format": "pt"})
"""
OURS = Path(__file__).parents[1] / "scripts" / "interpolate.py"


@dataclass
class BenchmarkArguments:
    """What this script takes."""

    mergekit: str | None = field(
        default=None, metadata={"help": "The program mergekit-pytorch; without it, it is left out."}
    )
    rounds: int = field(default=3, metadata={"help": "How often each program runs."})
    model: str | None = field(
        default=None, metadata={"help": "A CLIP whose shapes to take, a Hub id or a folder; by default ViT-B/32's."}
    )
    output_file: str = field(
        default="outputs/benchmarks/interpolation.json", metadata={"help": "Where the numbers are kept."}
    )


@exits_cleanly
def main() -> None:
    (args,) = parse_arguments(BenchmarkArguments, description=__doc__.splitlines()[0])
    set_up_logging()
    if args.rounds < 1:
        raise NewsMatchError(f"--rounds is {args.rounds}; give at least 1.")
    if args.mergekit and not os.access(args.mergekit, os.X_OK):
        raise NewsMatchError(f"--mergekit names {args.mergekit}, which is no program.")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        files, parameters = write_run(folder, args.model)
        programs = {
            "ours": ([sys.executable, OURS, "--output_dir", folder, "--alpha", ALPHA], folder / "wise_ft"),
            "load everything": ([sys.executable, "-c", PLAIN, *files, folder / "plain.safetensors"], None),
        }
        if args.mergekit:
            merge = {"merge_method": "linear", "dtype": "float32"}
            weights = zip(files, (1 - ALPHA, ALPHA))
            merge["models"] = [{"model": str(file), "parameters": {"weight": weight}} for file, weight in weights]
            write_json(merge, folder / "merge.yaml")  # JSON is YAML
            programs["mergekit-pytorch"] = (
                [args.mergekit, folder / "merge.yaml", folder / "mergekit", "--quiet"],
                folder / "mergekit",
            )
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in programs}
        for _ in range(args.rounds):
            for name, (command, _) in programs.items():
                runs[name].append(measure(command))
        results = {
            name: {key: statistics.median(run[key] for run in runs[name]) for key in rows[0]}
            for name, rows in runs.items()
        }
        for name, (_, output) in programs.items():
            file = output / "model.safetensors" if output else folder / "plain.safetensors"
            results[name]["last_places"] = last_places(files, file)
    summary = {"parameters": parameters, "alpha": ALPHA, "rounds": args.rounds, "torch": torch.__version__}
    summary |= {"programs": results, "runs": runs}
    write_json(summary, args.output_file)
    make_console().print(table(summary))
    if not args.mergekit:
        make_console().print("mergekit is left out: --mergekit names its program.")


def write_run(folder: Path, model: str | None) -> tuple[list[Path], int]:
    """Two checkpoints in the folder of a run, as training leaves it; the files of both and what a model counts."""
    config = CLIPConfig.from_pretrained(model) if model else CLIPConfig()
    size = config.text_config.vocab_size
    # only its size counts here
    tokens = [f"w{number}</w>" for number in range(size - 2)] + ["<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={token: number for number, token in enumerate(tokens)}, merges=[])
    processor = CLIPProcessor(CLIPImageProcessorPil(), tokenizer)
    ends = [folder / "zero_shot", folder / "fine_tuned"]
    for seed, end in enumerate(ends):
        torch.manual_seed(seed)
        clip = CLIPModel(config)
        save_checkpoint(clip, processor, end)
    base, trained = map(weights_sha256, ends)
    record = {
        "base_model": {"id": str(ends[0]), "revision": None, "sha256": base},
        "data": {"arguments": {}, "files": {}, "test_list": None},
        "train": {"sha256": trained},
    }
    write_json(record, folder / "newsmatch.json")
    return [end / "model.safetensors" for end in ends], clip.num_parameters()


def measure(command: Sequence[Any]) -> dict[str, float]:
    """Run a program to its end: seconds, CPU seconds, and the most anonymous memory it had, in megabytes."""
    begin, anonymous = time.perf_counter(), 0.0
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    status = Path(f"/proc/{process.pid}/status")
    while True:
        # a process that has ended keeps its entry there, and its use of the CPU, until it is waited for
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended:
            break
        if status.exists():
            lines = status.read_text().splitlines()
            now = [int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")]
            anonymous = max([anonymous, *now])
        time.sleep(0.005)
    seconds = time.perf_counter() - begin
    error = process.stderr.read()
    _, code, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(code)
    if process.returncode:
        raise NewsMatchError(f"{command[0]} ended with {process.returncode}: {(error.splitlines() or [''])[-1]}.")
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "anonymous_mb": anonymous}


def last_places(ends: Sequence[Path], result: Path) -> float:
    """The largest error against the formula in float64, in units in the last place of the larger weight."""
    largest = 0.0
    with safe_open(ends[0], "pt") as first, safe_open(ends[1], "pt") as second, safe_open(result, "pt") as third:
        for name in first.keys():  # noqa: SIM118, it is no dictionary
            zero_shot, fine_tuned, ours = (file.get_tensor(name) for file in (first, second, third))
            formula = (1 - ALPHA) * zero_shot.double() + ALPHA * fine_tuned.double()
            scale = torch.maximum(zero_shot.abs(), fine_tuned.abs())
            unit = (torch.nextafter(scale, torch.tensor(torch.inf)) - scale).double()
            largest = max(largest, ((ours.double() - formula).abs() / unit).max().item())
    return largest


def table(summary: dict[str, Any]) -> Table:
    """The programs side by side."""
    ours = summary["programs"]["ours"]
    title = f"Interpolating {summary['parameters'] / 1e6:.0f}M weights, median of {summary['rounds']} rounds"
    table = Table(title=title, caption="Error against the formula in float64, in last places of the larger weight.")
    table.add_column("program")
    for name in ("seconds", "of ours", "CPU seconds", "of ours", "anonymous MB", "error"):
        table.add_column(name, justify="right")
    for name, row in summary["programs"].items():
        ratios = [row[key] / ours[key] for key in ("seconds", "cpu_seconds")]
        cells = (row["seconds"], ratios[0], row["cpu_seconds"], ratios[1])
        table.add_row(
            name, *(f"{value:.2f}" for value in cells), f"{row['anonymous_mb']:.0f}", f"{row['last_places']:.2f}"
        )
    return table


if __name__ == "__main__":
    main()
