"""Translation: the loop of a model card against ours, and what CTranslate2 adds.

    python benchmarks/translation.py                       # 1,000 texts, a checkpoint of opus-mt-de-en's size
    python benchmarks/translation.py --texts 32            # fewer, for a slow machine
    python benchmarks/translation.py --model Helsinki-NLP/opus-mt-de-en

The loop takes whole texts in their order, 8 at a time, padded to the longest, and lets `generate` do the rest. Without
--model the weights are random, which is enough for speed: each batch then generates as many tokens as its longest
source has, no more and no fewer, whichever engine runs it. The texts are invented: German-like words without numbers,
in sentences of 8 to 22, as long as news teasers are (120 to 400 characters). Every engine runs in a process of its
own, one after the other; time begins with its model loaded and warm. CPU time is what counts on a machine that others
use, too. Memory is what the process takes beside the model, sampled.
"""

import copy
import json
import logging
import multiprocessing
import random
import tempfile
import threading
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from rich.table import Table
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, MarianConfig, MarianMTModel

from hf_newsmatch.commands.parser import parse_arguments
from hf_newsmatch.commands.terminal import make_console, set_up_logging
from hf_newsmatch.demo.marian import build_tokenizer
from hf_newsmatch.errors import NewsMatchError, exits_cleanly
from hf_newsmatch.translation import Translator
from hf_newsmatch.translation.backends import CTranslate2Backend, TorchBackend
from hf_newsmatch.translation.checkpoint import MarianCheckpoint
from hf_newsmatch.utils.files import write_json

VOCABULARY = 58101  # of opus-mt-de-en, like the sizes below
PLAIN_BATCH = 8
ENGINES = {
    "plain": ("plain", "float32"),
    "torch": ("torch", "float32"),
    "ctranslate2-float32": ("ctranslate2", "float32"),
    "ctranslate2": ("ctranslate2", "int8"),
}
LABELS = {
    "plain": "model card's loop",
    "torch": "ours, PyTorch",
    "ctranslate2-float32": "ours, CTranslate2 float32",
    "ctranslate2": "ours, CTranslate2 int8",
}


@dataclass
class BenchmarkArguments:
    """What this script takes."""

    texts: int = field(default=1000, metadata={"help": "Texts to translate."})
    model: str | None = field(
        default=None, metadata={"help": "A Marian checkpoint; by default random weights of opus-mt-de-en's size."}
    )
    num_beams: int = field(default=6, metadata={"help": "Beams; opus-mt-de-en's own number."})
    threads: int = field(default=0, metadata={"help": "Threads of each engine; 0 leaves it to PyTorch."})
    engines: list[str] = field(
        default_factory=lambda: list(ENGINES)[1:], metadata={"help": "What to compare with the loop."}
    )
    seed: int = field(default=0, metadata={"help": "Of the texts and the weights."})
    output_file: str = field(
        default="outputs/benchmarks/translation.json", metadata={"help": "Where the numbers are kept."}
    )


@exits_cleanly
def main() -> None:
    (args,) = parse_arguments(BenchmarkArguments, description=__doc__.splitlines()[0])
    set_up_logging()
    if args.texts < 1:
        raise NewsMatchError(f"--texts is {args.texts}; give at least 1.")
    for name in args.engines:
        if name not in ENGINES:
            raise NewsMatchError(f"There is no engine '{name}'; the engines are {', '.join(ENGINES)}.")
    texts = invent_texts(args.texts, args.seed)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        model = args.model or str(write_checkpoint(Path(folder) / "random", args))
        for name in ("plain", *(name for name in args.engines if name != "plain")):
            results[LABELS[name]] = in_a_process(model, texts, *ENGINES[name], args, folder)
            show(LABELS[name], results)
    summary = {
        "texts": args.texts,
        "characters": sum(map(len, texts)),
        "num_beams": args.num_beams,
        "model": args.model or "random weights of opus-mt-de-en's size",
        "threads": args.threads or torch.get_num_threads(),
        "torch": torch.__version__,
        "engines": results,
    }
    write_json(summary, args.output_file)
    make_console().print(table(summary))


def invent_texts(count: int, seed: int) -> list[str]:
    """German-like texts of the length of news teasers; no two sentences are the same, but for chance."""
    rng = random.Random(seed)
    onsets = [
        "b",
        "br",
        "d",
        "dr",
        "f",
        "fl",
        "g",
        "gr",
        "h",
        "k",
        "kl",
        "kr",
        "l",
        "m",
        "n",
        "p",
        "pf",
        "r",
        "s",
        "sch",
        "schl",
        "sp",
        "st",
        "str",
        "t",
        "tr",
        "v",
        "w",
        "z",
    ]
    nuclei = [*"aeiouäöü", "au", "ei", "eu", "ie"]
    codas = [
        "ch",
        "ck",
        "ft",
        "ht",
        "l",
        "ln",
        "lt",
        "m",
        "n",
        "nd",
        "ng",
        "nk",
        "nn",
        "r",
        "rg",
        "rk",
        "rt",
        "s",
        "ss",
        "st",
        "t",
        "tz",
    ]
    endings = ["", "", "e", "en", "er", "ung", "keit", "lich", "te"]

    def word() -> str:
        syllables = rng.choices((1, 2, 3), (5, 4, 2))[0]
        return "".join(rng.choice(onsets) + rng.choice(nuclei) + rng.choice(codas) for _ in range(syllables))

    words = [word() + rng.choice(endings) for _ in range(4000)]
    weights = [1 / (rank + 10) for rank in range(len(words))]
    texts = []
    for _ in range(count):
        length, text = min(max(rng.gauss(250, 65), 120), 400), ""
        while len(text) < length:
            chosen = rng.choices(words, weights, k=rng.randint(8, 22))
            text += f"{' '.join(chosen).capitalize()}. "
        texts.append(text.strip())
    return texts


def write_checkpoint(folder: Path, args: BenchmarkArguments) -> Path:
    """A Marian of opus-mt-de-en's size with random weights and a vocabulary that fits the texts."""
    folder.mkdir()
    sample = invent_texts(2000, args.seed)
    tokenizer = build_tokenizer(list(zip(sample, sample)), folder, "de", "en", 6000)
    # the rest of the vocabulary is never met, but has to be computed in every step
    vocabulary = [token for token in sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get) if token != "<pad>"]
    vocabulary += [f"▁unused{number}" for number in range(VOCABULARY - 1 - len(vocabulary))]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate([*vocabulary, "<pad>"])}))
    size = {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in _SIZES.items()}
    torch.manual_seed(args.seed)
    model = MarianMTModel(
        MarianConfig(
            vocab_size=VOCABULARY,
            d_model=512,
            max_position_embeddings=512,
            activation_function="swish",
            scale_embedding=True,
            forced_eos_token_id=None,
            **size,
        )
    )
    model.model.shared.weight.data[-1] = 0
    model.generation_config = GenerationConfig(
        max_length=512,
        num_beams=args.num_beams,
        bad_words_ids=[[VOCABULARY - 1]],
        decoder_start_token_id=VOCABULARY - 1,
        pad_token_id=VOCABULARY - 1,
        eos_token_id=0,
        forced_eos_token_id=0,
    )
    model.save_pretrained(folder)
    settings = {"source_lang": "de", "target_lang": "en", "tokenizer_class": "MarianTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


_SIZES = {"layers": 6, "attention_heads": 8, "ffn_dim": 2048}


def in_a_process(
    model: str, texts: Sequence[str], backend: str, dtype: str, args: BenchmarkArguments, folder: str
) -> dict[str, float]:
    """Run an engine in a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, model, list(texts), backend, dtype, args, folder).result()


def measure(
    model: str, texts: list[str], backend: str, dtype: str, args: BenchmarkArguments, folder: str
) -> dict[str, float]:
    """Time and memory of one engine."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # random weights give nothing that the guard lets pass
    if args.threads:
        torch.set_num_threads(args.threads)
    run = Plain(model, args) if backend == "plain" else Ours(model, backend, dtype, args, folder)
    run(invent_texts(2, args.seed + 1))
    with PeakMemory() as memory:
        begin, cpu = time.perf_counter(), time.process_time()
        run(texts)
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    return {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "texts_per_second": len(texts) / seconds,
        "texts_per_cpu_second": len(texts) / cpu,
        "memory_beside_model_mib": memory.peak / 2**20,
    }


class Plain:
    """The loop that model cards show."""

    def __init__(self, model: str, args: BenchmarkArguments):
        self.checkpoint = MarianCheckpoint(model, generation={"num_beams": args.num_beams})
        self.model = self.checkpoint.load_model(torch.float32)
        self.hold = args.model is None

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> list[str]:
        """Translate, each text as a whole."""
        outputs, tokenizer = [], self.checkpoint.tokenizer
        for start in range(0, len(texts), PLAIN_BATCH):
            inputs = tokenizer(texts[start : start + PLAIN_BATCH], return_tensors="pt", padding=True)
            held = inputs["input_ids"].shape[1]
            generation = copy.deepcopy(self.checkpoint.generation)
            processors = LogitsProcessorList()
            if self.hold:
                generation.max_length = held + 1
                processors.append(Hold(held))
            generated = self.model.generate(**inputs, generation_config=generation, logits_processor=processors)
            outputs += tokenizer.batch_decode(generated, skip_special_tokens=True)
        return outputs


class Hold(LogitsProcessor):
    """Let no output end before its length; in place, so that it costs next to nothing."""

    def __init__(self, length: int):
        self.length = length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Forbid the end."""
        if input_ids.shape[1] < self.length:
            scores[:, 0] = -float("inf")
        return scores


class HeldTorch(TorchBackend):
    """The PyTorch backend with outputs as long as the longest source of their batch."""

    def generate(self, batch: Sequence[Sequence[int]], limit: int) -> list[list[int]]:
        """See [`TorchBackend`]."""
        self.held = max(map(len, batch))
        return super().generate(batch, self.held)

    def _processors(self, settings: GenerationConfig) -> LogitsProcessorList:
        return LogitsProcessorList([*super()._processors(settings), Hold(self.held)])


class HeldCTranslate2(CTranslate2Backend):
    """The CTranslate2 backend, likewise."""

    def generate(self, batch: Sequence[Sequence[int]], limit: int) -> list[list[int]]:
        """See [`CTranslate2Backend`]."""
        self.held = max(map(len, batch))
        return super().generate(batch, limit)

    def _lengths(self, limit: int) -> dict[str, int]:
        return {"min_decoding_length": self.held, "max_decoding_length": self.held}


class Ours:
    """Our translator, each call with an empty cache."""

    def __init__(self, model: str, backend: str, dtype: str, args: BenchmarkArguments, folder: str):
        self.translator = Translator(
            model, backend=backend, dtype=dtype, generation={"num_beams": args.num_beams}, progress=False
        )
        if args.model is None:
            held = {"torch": HeldTorch, "ctranslate2": HeldCTranslate2}[backend]
            translator = self.translator
            translator.backend = held(translator.checkpoint, translator.backend.device, dtype)
        self.folder, self.calls = Path(tempfile.mkdtemp(dir=folder)), 0

    def __call__(self, texts: Sequence[str]) -> list[str]:
        """Translate."""
        self.calls += 1
        self.translator.cache.file = self.folder / f"{self.calls}.sqlite"
        self.translator.cache.close()
        return self.translator.translate(texts)


class PeakMemory:
    """The most memory that this process took in a block, beside what it had when the block began."""

    def __enter__(self) -> "PeakMemory":
        self.process, self.done = psutil.Process(), threading.Event()
        self.before, self.peak = self.process.memory_info().rss, 0
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.done.wait(0.02):
            self.peak = max(self.peak, self.process.memory_info().rss - self.before)


def show(name: str, results: dict[str, dict[str, float]]) -> None:
    """One line as soon as an engine is done."""
    result = results[name]
    rate = f"{result['texts_per_second']:.3f} texts a second"
    print(f"{name}: {result['seconds']:.1f} s, {result['cpu_seconds']:.1f} s of CPU time, {rate}", flush=True)


def table(summary: dict[str, Any]) -> Table:
    """The numbers for the terminal."""
    output = Table(
        title=f"{summary['texts']} texts, {summary['num_beams']} beams, {summary['threads']} threads",
        caption=f"Model: {summary['model']}.",
    )
    columns = ("texts/s", "times the loop", "texts/CPU s", "times the loop", "MiB beside the model")
    for column in ("", *columns):
        output.add_column(column, justify="right" if column else "left", no_wrap=not column)
    loop = next(iter(summary["engines"].values()))
    for name, result in summary["engines"].items():
        cells = []
        for measure in ("texts_per_second", "texts_per_cpu_second"):
            cells += [f"{result[measure]:.3f}", f"{result[measure] / loop[measure]:.2f}"]
        output.add_row(name, *cells, f"{result['memory_beside_model_mib']:.0f}")
    return output


if __name__ == "__main__":
    main()
