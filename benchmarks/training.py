"""Training: the Trainer against a bare loop, the loss against open_clip's, large batches, and decoding pictures.

    python benchmarks/training.py                              # all parts
    python benchmarks/training.py --parts overhead --repeats 3
    python benchmarks/training.py --parts pictures --image_dir photos

ViT-B/32 with random weights, which take as long as others. overhead: optimizer steps of 32 pairs whose pixels lie in
memory, in runs of a few steps that take turns; the first step of each run is left out. loss: ours and open_clip's (pip
install --no-deps open_clip_torch; left out without it), forward and backward over the same embeddings. memory: one
optimizer step of 512 pairs in chunks of 16, in a process of its own; the peak of its resident memory. pictures:
decoding and preparing on one core, from files and from the cache; JPEGs of 640 x 480 unless --image_dir names others.
"""

import importlib.util
import logging
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from datasets import Dataset
from PIL import Image as PILImage
from rich.table import Table
from transformers import CLIPConfig, CLIPModel, TrainerCallback
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from hf_newsmatch.commands.parser import parse_arguments
from hf_newsmatch.commands.terminal import make_console, set_up_logging
from hf_newsmatch.data.image_cache import cache_pictures, pixel_values
from hf_newsmatch.data.image_files import suffixes
from hf_newsmatch.data.images import undecoded
from hf_newsmatch.errors import NewsMatchError, exits_cleanly
from hf_newsmatch.training.arguments import ContrastiveTrainingArguments
from hf_newsmatch.training.losses import contrastive_loss
from hf_newsmatch.training.trainer import ContrastiveTrainer
from hf_newsmatch.utils.files import write_json


@dataclass
class BenchmarkArguments:
    """What this script takes."""

    parts: list[str] = field(
        default_factory=lambda: ["overhead", "loss", "memory", "pictures"], metadata={"help": "What to measure."}
    )
    repeats: int = field(default=5, metadata={"help": "Turns of the bare loop and the Trainer."})
    steps: int = field(default=4, metadata={"help": "Optimizer steps a turn; the first is not counted."})
    tokens: int = field(default=32, metadata={"help": "Tokens of each text, as news headlines with a teaser have."})
    image_dir: str | None = field(default=None, metadata={"help": "For pictures: a folder of others."})
    output_file: str = field(default="outputs/benchmarks/training.json", metadata={"help": "Where the numbers go."})


@exits_cleanly
def main() -> None:
    (args,) = parse_arguments(BenchmarkArguments, description=__doc__.splitlines()[0])
    set_up_logging()
    for part in args.parts:
        if part not in PARTS:
            raise NewsMatchError(f"There is no part '{part}'; the parts are {', '.join(PARTS)}.")
    results = {"threads": torch.get_num_threads(), "torch": torch.__version__}
    for part in args.parts:
        # a process each, so that none has another's memory
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            results[part] = pool.submit(PARTS[part], args).result()
        make_console().print(table(part, results[part]))
    write_json(results, args.output_file)


def make_model() -> CLIPModel:
    """ViT-B/32 with random weights."""
    torch.manual_seed(0)
    # the configuration's defaults are those of openai/clip-vit-base-patch32
    return CLIPModel(CLIPConfig()).train()


def make_batch(size: int, tokens: int) -> dict[str, Any]:
    """Pairs as the collator gives them, of noise."""
    generator = torch.Generator().manual_seed(0)
    input_ids = torch.randint(1, 40_000, (size, tokens), generator=generator)
    input_ids[:, -1] = 49407  # the end of the text
    return {
        "pixel_values": torch.randn(size, 3, 224, 224, generator=generator),
        "input_ids": input_ids,
        "attention_mask": torch.ones_like(input_ids),
    }


class InMemory:
    """A collator that gives the same batch, whatever the rows."""

    text_fields = ("title",)

    def __init__(self, size: int, tokens: int):
        self.batch = make_batch(size, tokens)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        numbers = torch.arange(len(rows))
        ids = {"image_ids": numbers, "text_ids": numbers, "article_ids": [row["article_id"] for row in rows]}
        return {name: value[: len(rows)] for name, value in self.batch.items()} | ids


class Clock(TrainerCallback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args, state, control, **kwargs):
        self.ends.append(time.perf_counter())


def make_trainer(folder: str, size: int, steps: int, tokens: int, **settings: Any) -> ContrastiveTrainer:
    """Our Trainer with the recipe's optimizer, over pixels in memory."""
    numbers = [str(number) for number in range(size * steps)]
    rows = {"article_id": numbers, "title": numbers, "image_id": numbers}
    args = ContrastiveTrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=size,
        max_steps=steps,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
        report_to="none",
        disable_tqdm=True,
        **settings,
    )
    batches = InMemory(size, tokens)
    return ContrastiveTrainer(make_model(), args, train_dataset=Dataset.from_dict(rows), data_collator=batches)


def measure_overhead(args: BenchmarkArguments) -> dict[str, Any]:
    """Seconds a step of the bare loop and of the Trainer, in turns."""
    logging.disable(logging.WARNING)
    size = 32
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(folder, size, args.steps, args.tokens)
        clock = Clock()
        trainer.add_callback(clock)
        model, batch = make_model(), make_batch(size, args.tokens)
        model.to(trainer.args.device)
        recipe = trainer.args
        optimizer = torch.optim.Adam(
            model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, eps=recipe.adam_epsilon
        )
        seconds: dict[str, list[float]] = {"bare loop": [], "ContrastiveTrainer": []}
        for _ in range(args.repeats):
            ends = []
            for _ in range(args.steps):
                inputs = {name: value.to(model.device) for name, value in batch.items()}
                outputs = model(**inputs)
                loss = contrastive_loss(outputs.image_embeds, outputs.text_embeds, model.logit_scale)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                loss.item()
                ends.append(time.perf_counter())
            seconds["bare loop"] += np.diff(ends).tolist()
            clock.ends = []
            trainer.train()
            seconds["ContrastiveTrainer"] += np.diff(clock.ends).tolist()
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = medians["ContrastiveTrainer"] / medians["bare loop"]
    return {"pairs a step": size, "seconds a step": medians, "ratio": ratio, "all": seconds}


def measure_loss(args: BenchmarkArguments) -> dict[str, Any]:
    """Milliseconds of both losses over the same embeddings, and how far they are apart."""
    theirs = open_clip_loss()
    results = {}
    for size in (64, 512, 4096):
        generator = torch.Generator().manual_seed(0)
        image_embeds, text_embeds = (
            torch.nn.functional.normalize(torch.randn(size, 512, generator=generator), dim=-1).requires_grad_()
            for _ in range(2)
        )
        logit_scale = torch.tensor(2.6592, requires_grad=True)
        ids = torch.arange(size)
        losses: dict[str, Callable[[], torch.Tensor]] = {
            "ours": lambda i=image_embeds, t=text_embeds, s=logit_scale: contrastive_loss(i, t, s),
            "ours with ids": lambda i=image_embeds, t=text_embeds, s=logit_scale, k=ids: contrastive_loss(
                i, t, s, k, k
            ),
        }
        if theirs is not None:
            losses["open_clip"] = lambda i=image_embeds, t=text_embeds, s=logit_scale: theirs(i, t, s.exp())
        times: dict[str, list[float]] = {name: [] for name in losses}
        for _ in range(args.repeats * 4):
            for name, loss in losses.items():
                begin = time.perf_counter()
                loss().backward()
                times[name].append(1000 * (time.perf_counter() - begin))
        row = {f"{name}, ms": statistics.median(values) for name, values in times.items()}
        if theirs is not None:
            row["difference"] = abs(losses["ours"]().item() - losses["open_clip"]().item())
        results[f"{size} pairs"] = row
    return results


def open_clip_loss() -> Callable[..., torch.Tensor] | None:
    """open_clip's loss from its file alone: the package as a whole needs torchvision."""
    package = importlib.util.find_spec("open_clip")
    if package is None:
        return None
    spec = importlib.util.spec_from_file_location("open_clip_loss", Path(package.origin).with_name("loss.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.ClipLoss()


def measure_memory(args: BenchmarkArguments) -> dict[str, Any]:
    """The peak of this process while it trains one step of 512 pairs in chunks of 16."""
    logging.disable(logging.WARNING)
    size, chunk = 512, 16
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(folder, size, 1, args.tokens, contrastive_chunk_size=chunk)
        begin = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - begin
    # ru_maxrss counts KiB on Linux and bytes on macOS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"pairs": size, "chunk": chunk, "seconds a step": seconds, "peak memory, GiB": peak / 2**30}


def measure_pictures(args: BenchmarkArguments) -> dict[str, Any]:
    """Pictures a second on one core: decoded from files, and read from the cache."""
    torch.set_num_threads(1)
    processor = CLIPImageProcessorPil()
    with tempfile.TemporaryDirectory() as folder:
        datasets.config.HF_DATASETS_CACHE = Path(folder)
        files = find_pictures(args.image_dir) if args.image_dir else draw_pictures(Path(folder), 256)
        rows = undecoded(Dataset.from_dict({"image": files}))
        results: dict[str, Any] = {"pictures": len(files)}
        for name, source in (("from files", rows), ("from the cache", cache_pictures(rows, processor))):
            rates = []
            for _ in range(args.repeats):
                begin = time.perf_counter()
                for start in range(0, len(source), 32):
                    batch = source.select(range(start, min(start + 32, len(source))))
                    pixel_values(list(batch), processor)
                rates.append(len(source) / (time.perf_counter() - begin))
            results[f"{name}, pictures a second"] = statistics.median(rates)
    return results


def find_pictures(folder: str) -> list[str]:
    files = sorted(str(path) for path in Path(folder).rglob("*") if path.suffix.lower() in suffixes())
    if not files:
        raise NewsMatchError(f"There are no pictures in {folder}; name another --image_dir.")
    return files


def draw_pictures(folder: Path, count: int) -> list[str]:
    """JPEGs with as much detail as photographs have."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(count):
        coarse = PILImage.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
        picture = coarse.resize((640, 480), PILImage.BICUBIC)
        files.append(str(folder / f"{number}.jpg"))
        picture.save(files[-1], quality=85)
    return files


def table(title: str, results: dict[str, Any]) -> Table:
    """Nested numbers as rows."""
    output = Table(title=title, show_header=False)
    for name, value in results.items():
        if isinstance(value, dict):
            for inner, number in value.items():
                if isinstance(number, int | float):
                    output.add_row(f"{name}: {inner}", f"{number:.4g}")
        else:
            output.add_row(name, f"{value:.4g}")
    return output


PARTS = {
    "overhead": measure_overhead,
    "loss": measure_loss,
    "memory": measure_memory,
    "pictures": measure_pictures,
}

if __name__ == "__main__":
    main()
