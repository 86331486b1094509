"""Embedding in several precisions: seconds, seconds of CPU, and what Recall@10 loses against float32.

    python benchmarks/precision.py                                             # the tiny CLIP on the demo's news
    python benchmarks/precision.py --model_name_or_path vit-b-32 --most 64     # speed alone: random weights
    python benchmarks/precision.py --articles_file a.tsv --image_dir images --model_name_or_path outputs/mine/wise_ft

The precisions take turns, and the fastest turn of each counts. Every article ranks all distinct pictures. int8 is
float32 with the linear layers of the text tower quantised while they run (torch.ao.quantization.quantize_dynamic);
pictures are embedded in float32 then. auto is what `--dtype auto` takes on this machine.
"""

import copy
import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from rich.table import Table
from transformers import CLIPConfig, CLIPModel

from hf_newsmatch import check_pictures, distinct_images, drop_unusable, embed_images, embed_texts, load_pairs
from hf_newsmatch.commands.parser import parse_arguments
from hf_newsmatch.commands.terminal import make_console, set_up_logging
from hf_newsmatch.configs import DTYPES
from hf_newsmatch.data.images import undecoded
from hf_newsmatch.data.text import article_texts
from hf_newsmatch.demo.newsroom import write_newsroom
from hf_newsmatch.errors import NewsMatchError, exits_cleanly
from hf_newsmatch.models.loading import best_device, load_model
from hf_newsmatch.models.precision import compile_towers, embedding_dtype, prepare_model
from hf_newsmatch.utils.files import write_json

VIT_B_32 = "vit-b-32"
INT8 = "int8"

logger = logging.getLogger("hf_newsmatch.benchmarks")


@dataclass
class BenchmarkArguments:
    """What this script takes."""

    model_name_or_path: str = field(
        default="demo", metadata={"help": f"A checkpoint; {VIT_B_32} is that size with random weights."}
    )
    articles_file: str | None = field(
        default=None, metadata={"help": "Articles with their pictures; by default the demo's."}
    )
    image_dir: str | None = field(default=None, metadata={"help": "Their pictures."})
    text_fields: list[str] = field(default_factory=lambda: ["title"], metadata={"help": "What is read of an article."})
    most: int | None = field(default=None, metadata={"help": "The most articles and pictures; the first are taken."})
    dtypes: list[str] = field(
        default_factory=lambda: ["float32", "bfloat16"], metadata={"help": f"Of {', '.join(DTYPES)} and {INT8}."}
    )
    torch_compile: bool = field(default=False, metadata={"help": "Compile the towers; the first turn is not timed."})
    texts_only: bool = field(default=False, metadata={"help": "Time the texts alone."})
    repeats: int = field(default=3, metadata={"help": "Turns of each."})
    output_file: str | None = field(default=None, metadata={"help": "JSON file for the numbers."})


@exits_cleanly
def main() -> None:
    (args,) = parse_arguments(BenchmarkArguments, description=__doc__.splitlines()[0])
    set_up_logging()
    for dtype in args.dtypes:
        if dtype not in (*DTYPES, INT8):
            raise NewsMatchError(f"--dtypes are {', '.join(DTYPES)} and {INT8}, not {dtype}.")
    pairs = read_pairs(args)
    gold, pictures = pairs["image_id"][:], distinct_images(pairs)
    columns = {name: column for column, name in enumerate(pictures["image_id"][:])}
    true = torch.tensor([columns[name] for name in gold])
    texts = article_texts(pairs, args.text_fields)
    images = undecoded(pictures)["image"]
    base, processor = base_model(args.model_name_or_path)
    models = {dtype: prepared(base, dtype, args.torch_compile) for dtype in args.dtypes}
    kinds: dict[str, Callable[[Any], torch.Tensor]] = {
        "texts": lambda model: embed_texts(model, processor, texts, progress=False),
        "pictures": lambda model: embed_images(model, processor, images, progress=False),
    }
    counts = {"texts": len(set(texts)), "pictures": len(images)}
    made: dict[tuple[str, str], torch.Tensor] = {}
    measured: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for turn in range(-1, args.repeats):  # one to warm up
        for dtype, (_, model) in models.items():
            for kind, embed in kinds.items():
                if kind == "pictures" and turn >= 0 and (args.texts_only or dtype == INT8):
                    continue
                start = time.perf_counter(), time.process_time()
                made[dtype, kind] = embed(model)
                seconds = time.perf_counter() - start[0], time.process_time() - start[1]
                if turn >= 0:
                    measured.setdefault((dtype, kind), []).append(seconds)
        logger.info("Turn %d of %d is done.", turn + 1, args.repeats)
    results: dict[str, Any] = {}
    for dtype, (name, _) in models.items():
        hits = hits_at_10(made[dtype, "texts"] @ made[dtype, "pictures"].T, true)
        before = hits_at_10(made[args.dtypes[0], "texts"] @ made[args.dtypes[0], "pictures"].T, true)
        results[dtype] = {"dtype": name, "recall@10": hits.mean().item(), "changed": int((hits != before).sum())}
        for kind in kinds:
            if (dtype, kind) in measured:
                best = [min(column) for column in zip(*measured[dtype, kind])]
                results[dtype][kind] = {"seconds": best[0], "cpu_seconds": best[1], "count": counts[kind]}
    make_console().print(table(results, args))
    if args.output_file:
        write_json({"threads": torch.get_num_threads(), "results": results}, args.output_file)


def read_pairs(args: BenchmarkArguments) -> Dataset:
    """The linked articles whose pictures open."""
    if args.articles_file:
        pairs = load_pairs(args.articles_file, args.image_dir)
    else:
        folder = write_newsroom(Path(tempfile.mkdtemp()) / "news")
        pairs = load_pairs(folder / "articles.tsv", folder / "images")
    if args.most is not None:
        pairs = pairs.select(range(min(args.most, len(pairs))))
    return drop_unusable(pairs, check_pictures(pairs))


def base_model(name: str) -> tuple[Any, Any]:
    """A checkpoint in float32 with its processor; of random weights, the demo's tokenizer does for the speed."""
    if name != VIT_B_32:
        return load_model(name)
    _, processor = load_model("demo")
    size = CLIPConfig().vision_config.image_size
    processor.image_processor.size = {"shortest_edge": size}
    processor.image_processor.crop_size = {"height": size, "width": size}
    config = CLIPConfig()
    config.text_config.eos_token_id = processor.tokenizer.eos_token_id
    torch.manual_seed(0)
    return CLIPModel(config).eval(), processor


def prepared(base: Any, dtype: str, compiled: bool) -> tuple[str, Any]:
    """The precision that a name stands for here, and a copy of the model in it."""
    model = copy.deepcopy(base)
    if dtype == INT8:
        for name in ("text_model", "text_projection"):
            module = torch.nn.Sequential(getattr(model, name))  # a layer alone is not replaced
            module = torch.ao.quantization.quantize_dynamic(module, {torch.nn.Linear}, dtype=torch.qint8)
            setattr(model, name, module[0])
        return dtype, model
    name = embedding_dtype(dtype, best_device())
    model = prepare_model(model, name, best_device())
    if compiled:
        compile_towers(model)
    return name, model


def hits_at_10(similarities: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """1 for each text whose picture is among its ten best, else 0; equal scores go by place."""
    best = similarities.argsort(dim=1, descending=True, stable=True)[:, :10]
    return (best == true[:, None]).any(dim=1).double()


def table(results: dict[str, Any], args: BenchmarkArguments) -> Table:
    """The measurements, with ratios to the first precision."""
    first = results[args.dtypes[0]]
    title = f"{args.model_name_or_path}, {torch.get_num_threads()} threads"
    rendered = Table(title=title + (", compiled" if args.torch_compile else ""))
    for heading in (
        "precision",
        "texts/s",
        "pictures/s",
        "times as fast",
        "times less CPU",
        "R@10",
        "articles changed",
    ):
        rendered.add_column(heading, justify="left" if heading == "precision" else "right")
    for dtype, result in results.items():
        kinds = [kind for kind in ("texts", "pictures") if kind in result and kind in first]
        rates = [f"{result[kind]['count'] / result[kind]['seconds']:.0f}" for kind in kinds]
        ratios = [
            ", ".join(f"{first[kind][unit] / result[kind][unit]:.2f}" for kind in kinds)
            for unit in ("seconds", "cpu_seconds")
        ]
        rendered.add_row(
            dtype if dtype == result["dtype"] else f"{dtype} ({result['dtype']})",
            *rates,
            *[""] * (2 - len(rates)),
            *ratios,
            f"{100 * result['recall@10']:.2f}",
            str(result["changed"]),
        )
    return rendered


if __name__ == "__main__":
    main()
