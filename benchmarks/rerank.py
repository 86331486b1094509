"""Re-ranking and ranking of many articles and pictures: seconds and memory, and faiss' flat index beside.

    python benchmarks/rerank.py                                        # 10,000 x 10,000, 512 dimensions
    python benchmarks/rerank.py --methods sinkhorn --count 5000

Random embeddings, also of a bank as large as the pictures. Each method runs in a process of its own, which gives the
peak of its resident memory, Python and PyTorch (about 0.4 GiB) included. faiss is IndexFlatIP, searched for the same
hundred pictures (pip install faiss-cpu; left out without it); our time also has the lists of ids and scores in it.
"""

import importlib.util
import logging
import multiprocessing
import os
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.table import Table

from hf_newsmatch.commands.parser import parse_arguments
from hf_newsmatch.commands.terminal import make_console, set_up_logging
from hf_newsmatch.errors import NewsMatchError, exits_cleanly
from hf_newsmatch.retrieval.embeddings import unit_length
from hf_newsmatch.retrieval.rerank import METHODS, Bank, rerank
from hf_newsmatch.utils.files import write_json

FAISS = "faiss"
SETTINGS = {
    "dual_softmax": {"temperature": 0.02},
    "csls": {"neighbours": 10},
    "querybank": {"temperature": 0.02},
    "sinkhorn": {"temperature": 0.02},
    "neighbours": {"nearest": 50, "names": 0.75, "weight": 0.3},
}

logger = logging.getLogger("hf_newsmatch.benchmarks")


@dataclass
class BenchmarkArguments:
    """What this script takes."""

    methods: list[str] = field(
        default_factory=lambda: ["none", FAISS, "dual_softmax", "csls", "querybank", "neighbours"],
        metadata={"help": f"Of {', '.join(METHODS)} and {FAISS}; 'none' is the plain ranking."},
    )
    count: int = field(default=10_000, metadata={"help": "Articles, and as many pictures."})
    dimensions: int = field(default=512, metadata={"help": "Of the embeddings."})
    repeats: int = field(default=3, metadata={"help": "Runs of each, which take turns; the fastest counts."})
    num_threads: int | None = field(default=None, metadata={"help": "By default what PyTorch takes."})
    output_file: str | None = field(default=None, metadata={"help": "JSON file for the numbers."})


@exits_cleanly
def main() -> None:
    (args,) = parse_arguments(BenchmarkArguments, description=__doc__.splitlines()[0])
    set_up_logging()
    for method in args.methods:
        if method not in (*METHODS, FAISS):
            raise NewsMatchError(f"--methods are {', '.join(METHODS)} and {FAISS}, not {method}.")
    methods = list(args.methods)
    if FAISS in methods and importlib.util.find_spec(FAISS) is None:
        logger.warning("faiss is left out: pip install faiss-cpu.")
        methods.remove(FAISS)
    threads = args.num_threads or torch.get_num_threads()
    # numpy, PyTorch and faiss each bring a library of their own, which reads this when it is loaded
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    results: dict[str, dict[str, list[float]]] = {method: {"seconds": [], "peak_gib": []} for method in methods}
    for _ in range(args.repeats):
        for method in methods:
            # a process of its own: the peak of the resident memory never falls
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                measured = pool.submit(measure, method, args.count, args.dimensions, threads).result()
            for name, value in measured.items():
                results[method][name].append(value)
            logger.info("%s: %.1f s", method, measured["seconds"])
    table = Table(title=f"{args.count} x {args.count}, {args.dimensions} dimensions, {threads} threads")
    for heading in ("method", "seconds", "peak GiB"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for method, result in results.items():
        table.add_row(method, f"{min(result['seconds']):.1f}", f"{max(result['peak_gib']):.2f}")
    make_console().print(table)
    if args.output_file:
        write_json({"threads": threads, "results": results}, args.output_file)


def measure(method: str, count: int, dimensions: int, threads: int) -> dict[str, Any]:
    """The time that a method takes on random embeddings, and the peak of this process."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    texts, pictures, bank = (unit_length(torch.randn(count, dimensions)) for _ in range(3))
    article_ids, image_ids = ([f"{letter}{number}" for number in range(count)] for letter in "ap")
    if method == FAISS:
        import faiss

        faiss.omp_set_num_threads(threads)
        start = time.perf_counter()
        index = faiss.IndexFlatIP(dimensions)
        index.add(pictures.numpy())
        index.search(texts.numpy(), min(100, count))
    else:
        before = [f"{number} is in Town{number % 1000}" for number in range(count)]
        known = {
            "querybank": {"bank": bank},
            "neighbours": {"texts": before, "bank": Bank(before, bank, pictures)},
        }.get(method, {})
        settings = SETTINGS.get(method, {}) | known
        start = time.perf_counter()
        rerank(texts, pictures, article_ids, image_ids, method, **settings)
    seconds = time.perf_counter() - start
    # kilobytes, on macOS bytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    return {"seconds": seconds, "peak_gib": peak}


if __name__ == "__main__":
    main()
