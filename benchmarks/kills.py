"""Random kills of train, interpolate, predict, report and translate: does the second start mend all?

    python benchmarks/kills.py                              # 1,000 kills
    python benchmarks/kills.py --kills 50 --steps train predict

Each time a step is killed at a random moment, by SIGKILL, SIGTERM or SIGINT, alone or as two processes, and then
started again. The second start must end well, its files must be those of an undisturbed one, byte for byte, and
nothing that was written half may be left. The models are tiny, and the processes are forked from this one, which has
imported all.
"""

import contextlib
import hashlib
import importlib
import json
import logging
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

import datasets
import torch

from hf_newsmatch.commands.parser import parse_arguments
from hf_newsmatch.commands.terminal import set_up_logging
from hf_newsmatch.errors import NewsMatchError, exits_cleanly
from hf_newsmatch.experiment import evaluation, merging, prediction, reporting, training, translating  # noqa: F401
from hf_newsmatch.experiment.record import RECORD

logger = logging.getLogger("hf_newsmatch.benchmarks")

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# What two undisturbed runs write differently: times, checkpoints that hold them, and what had been translated before.
_TIMED = (
    RECORD,
    ".pdf",
    ".report.json",
    ".lock",
    "trainer_state.json",
    "unlogged.json",
    "training_args.bin",
    ".pth",
    ".pt",
)
_FINISHED = "holds a fine-tuned model"
_PATIENCE = 120.0


@dataclass
class KillArguments:
    """What this script takes."""

    kills: int = field(default=1_000, metadata={"help": "How many."})
    steps: list[str] = field(default_factory=list, metadata={"help": "Which steps; all by default."})
    seed: int = field(default=0, metadata={"help": "Of the steps, signals and moments."})
    folder: str | None = field(default=None, metadata={"help": "Where to work; a temporary folder by default."})


@dataclass(frozen=True)
class Step:
    """A step that is killed.

    Args:
        name (`str`): Its name here.
        before (`str`, *optional*): The step whose folder it goes on with.
        commands (`Sequence[Sequence[str]]`): Command lines that run side by side.
        processes (`int`): How many processes are launched of the command.
    """

    name: str
    before: str | None
    commands: Sequence[Sequence[str]]
    processes: int = 1


def steps_in(folder: Path) -> dict[str, Step]:
    """All steps by name, each after those that it goes on with."""
    out = ["--output_dir", str(folder / "out")]
    data = ["--articles_file", str(folder / "news" / "articles.tsv"), "--image_dir", str(folder / "news" / "images")]
    base = ["--model_name_or_path", str(folder / "zero_shot")]
    recipe = ["--use_cpu", "true", "--num_train_epochs", "2", "--report_to", "none", "--disable_tqdm", "true"]
    train = ["train", *out, *data, *base, *recipe, "--learning_rate", "3e-3", "--per_device_train_batch_size"]
    articles = ["--articles_file", str(folder / "german" / "articles.tsv"), "--translation_model", "demo"]
    translate = ["translate", *articles, "--output_file", str(folder / "out" / "english.tsv"), "--format", "tsv"]
    cache = ["--cache_file", str(folder / "out" / "translations.sqlite"), "--device", "cpu", "--dtype", "float32"]
    steps = (
        Step("train", None, [[*train, "8"]]),
        Step("train by two", None, [[*train, "4"]], processes=2),
        Step("interpolate", "train", [["interpolate", *out, "--alpha", "0.4"]]),
        Step("several alphas", "train", [["interpolate", *out, "--alpha", "0.2", "0.6"]]),
        Step("predict", "interpolate", [["predict", *out]]),
        Step(
            "predict beside interpolate",
            "interpolate",
            [["predict", *out], ["interpolate", *out, "--alpha", "0.2", "0.6"]],
        ),
        Step("report", "predict", [["report", *out]]),
        Step("translate", None, [[*translate, *cache]]),
        Step("translate by two", None, [[*translate, *cache]], processes=2),
    )
    return {step.name: step for step in steps}


class Trials:
    """Kills of steps in one folder.

    Args:
        folder (`Path`):
            Where to work: the inputs, the undisturbed results, and the folder `out` of the step that is killed.
        seed (`int`, *optional*, defaults to 0):
            Of the signals and the moments.
    """

    def __init__(self, folder: Path, seed: int = 0):
        self.folder, self.out = folder, folder / "out"
        self.steps, self.random = steps_in(folder), random.Random(seed)
        self.seconds: dict[str, float] = {}
        self.expected: dict[str, dict[str, str]] = {}
        write_inputs(folder)

    def prepare(self, name: str) -> None:
        """Run a step, and those before it, undisturbed, and keep what it writes."""
        if name in self.expected:
            return
        step = self.steps[name]
        if step.before:
            self.prepare(step.before)
        self._begin(step)
        start = time.monotonic()
        codes = _wait(self._start(step))
        self.seconds[name] = time.monotonic() - start
        if any(codes):
            raise NewsMatchError(f"The undisturbed {name} ended with {codes}: {self._log()}")
        self.expected[name] = contents(self.out)
        shutil.copytree(self.out, self.folder / f"after {name}")

    def kill(self, name: str, number: int | None = None) -> str | None:
        """Kill a step, start it again, and compare.

        Returns:
            `str`, what is wrong; `None` when the second start mended all.
        """
        self.prepare(name)
        step, number = self.steps[name], number or self.random.choice(SIGNALS)
        self._begin(step)
        processes = self._start(step)
        moment = self.random.uniform(0, 1.1 * self.seconds[name])
        time.sleep(moment)
        # SIGKILL may hit one process alone; a launcher then ends the others
        hit = [self.random.choice(processes)] if self.random.random() < 0.5 else processes
        for process in hit:
            os.kill(process, number)
        if step.processes > 1 and len(hit) < len(processes):
            time.sleep(0.05)
            for process in processes:
                if process not in hit:
                    os.kill(process, signal.SIGKILL if number == signal.SIGKILL else signal.SIGTERM)
        first = _wait(processes)
        codes = _wait(self._start(step))
        told = self._log()
        finished = all(code == 2 for code in codes) and _FINISHED in told and name.startswith("train")
        what = f"{name}: {number.name} after {moment:.2f} s (ended with {first}), second start {codes}"
        if any(codes) and not finished:
            return f"{what}: {told[-500:]}"
        found, expected = contents(self.out), self.expected[name]
        different = sorted(file for file in found.keys() | expected.keys() if found.get(file) != expected.get(file))
        return f"{what}: other than undisturbed: {', '.join(different[:8])}" if different else None

    def _begin(self, step: Step) -> None:
        shutil.rmtree(self.out, ignore_errors=True)
        if step.before:
            shutil.copytree(self.folder / f"after {step.before}", self.out)

    def _start(self, step: Step) -> list[int]:
        (self.folder / "log.txt").write_text("")
        port = _free_port()
        launched = []
        for command in step.commands:
            for rank in range(step.processes):
                environment = {}
                if step.processes > 1:
                    environment = {
                        **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(step.processes)},
                        **{"LOCAL_WORLD_SIZE": str(step.processes), "MASTER_ADDR": "127.0.0.1"},
                        "MASTER_PORT": str(port),
                    }
                launched.append(self._fork(command, environment))
        return launched

    def _fork(self, command: Sequence[str], environment: Mapping[str, str]) -> int:
        sys.stdout.flush()
        process = os.fork()
        if process:
            return process
        code = 1
        try:
            log = os.open(self.folder / "log.txt", os.O_WRONLY | os.O_APPEND)
            os.dup2(log, 1), os.dup2(log, 2)
            os.environ.update(environment)
            sys.argv = [command[0]]
            for handler in list(logging.getLogger().handlers):
                logging.getLogger().removeHandler(handler)
            main: Callable[..., None] = importlib.import_module(f"hf_newsmatch.commands.{command[0]}").main
            main(list(command[1:]))
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            logging.getLogger().exception("The step broke off.")
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _log(self) -> str:
        return " ".join((self.folder / "log.txt").read_text(errors="replace").split())


def write_inputs(folder: Path) -> None:
    """Write the news, the German articles and the tiny base model, and let caches lie in the folder."""
    from tests.utils.news import make_model, make_processor, write_news_folder
    from tests.utils.parallel import make_parallel

    datasets.config.HF_DATASETS_CACHE = folder / "cache"
    datasets.disable_progress_bars()
    torch.set_num_threads(1)
    write_news_folder(folder / "news", count=48)
    processor = make_processor()
    make_model(processor).save_pretrained(folder / "zero_shot")
    processor.save_pretrained(folder / "zero_shot")
    (folder / "german").mkdir()
    rows = [f"a{row}\tp{row}\t{german}\t{german}" for row, (german, _) in enumerate(make_parallel(60, seed=3))]
    header = "article_id\timage_id\ttitle\ttext"
    (folder / "german" / "articles.tsv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def contents(folder: Path) -> dict[str, str]:
    """The files of a folder with the hashes of their contents, of those that tell times without these."""
    found = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(file.relative_to(folder))
        if name == RECORD:
            found[name] = _timeless(json.loads(file.read_text(encoding="utf-8")))
        elif name.endswith(".sqlite") or file.name.startswith("translations.sqlite"):
            continue  # rows by the order in which they came
        else:
            timed = file.name.endswith(_TIMED) or "pictures.parquet" in name
            found[name] = "" if timed else hashlib.sha256(file.read_bytes()).hexdigest()
    return {name: value for name, value in found.items() if not name.endswith(".lock")}


def _timeless(record: dict) -> str:
    train = record.get("train") or {}
    kept = {name: record.get(name) for name in ("base_model", "data", "recipe", "wise_ft", "alphas", "runs")}
    return json.dumps({**kept, "train": train.get("sha256"), "best": train.get("best_step")}, sort_keys=True)


def _wait(processes: Sequence[int]) -> list[int]:
    """The exit codes of processes; those that do not end are killed, and count as hanging."""
    codes: dict[int, int] = {}
    end = time.monotonic() + _PATIENCE
    while len(codes) < len(processes):
        for process in processes:
            if process not in codes:
                ended, status = os.waitpid(process, os.WNOHANG)
                if ended:
                    codes[process] = os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            for process in processes:
                if process not in codes:
                    os.kill(process, signal.SIGKILL)
                    os.waitpid(process, 0)
                    codes[process] = 124
        time.sleep(0.005)
    return [codes[process] for process in processes]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@exits_cleanly
def main() -> None:
    (args,) = parse_arguments(KillArguments, description=__doc__.splitlines()[0])
    set_up_logging()
    with contextlib.ExitStack() as stack:
        folder = Path(args.folder or stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        trials = Trials(folder, args.seed)
        unknown = set(args.steps) - trials.steps.keys()
        if unknown:
            raise NewsMatchError(f"There is no step {min(unknown)}; the steps are {', '.join(trials.steps)}.")
        names, kills, wrong = args.steps or list(trials.steps), Counter(), []
        for number in range(args.kills):
            name = names[number % len(names)]
            kills[name] += 1
            if problem := trials.kill(name):
                wrong.append(problem)
                logger.error("%s", problem)
            if (number + 1) % 50 == 0:
                logger.info("%d kills, %d not mended.", number + 1, len(wrong))
        for name, count in kills.items():
            logger.info("%s: %d kills, %.2f s undisturbed.", name, count, trials.seconds[name])
        logger.info("%d kills, %d not mended by the second start.", args.kills, len(wrong))
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    main()
