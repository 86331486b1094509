"""The report of a large run: seconds to build, MiB on disk, and what a page loads at once.

    python benchmarks/report.py                  # 5,000 test articles, 3 runs
    python benchmarks/report.py --articles 500 --profile true

The pictures are the demo newsroom's, enlarged to the size of press photographs; texts are its own. The rankings are
random with the true picture pulled forward, for what takes the time does not depend on a model.
"""

import cProfile
import logging
import os
import pstats
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from hf_newsmatch import Ranking, write_predictions
from hf_newsmatch.commands.parser import parse_arguments
from hf_newsmatch.commands.terminal import set_up_logging
from hf_newsmatch.configs import DataArguments, ModelArguments
from hf_newsmatch.demo.newsroom import write_newsroom
from hf_newsmatch.errors import exits_cleanly
from hf_newsmatch.experiment.folder import Experiment
from hf_newsmatch.experiment.record import InterpolatedRecord, TrainRecord
from hf_newsmatch.models.loading import DEMO_MODEL, load_clip
from hf_newsmatch.models.weights import save_checkpoint, weights_sha256
from hf_newsmatch.report.page import write_report
from hf_newsmatch.retrieval.ranking import MAX_RANK

logger = logging.getLogger("hf_newsmatch.benchmarks")

RUNS = ("zero_shot", "fine_tuned", "wise_ft")
DRAWN = 300  # different files; the others are links to them


@dataclass
class BenchmarkArguments:
    """What this script takes."""

    articles: int = field(default=5_000, metadata={"help": "Of the test part, each with a picture of its own."})
    width: int = field(default=1_200, metadata={"help": "Of a picture, in pixels; a square."})
    repeats: int = field(default=3, metadata={"help": "How often the report is built; the fastest counts."})
    profile: bool = field(default=False, metadata={"help": "Print the functions that take the time."})


@exits_cleanly
def main() -> None:
    (args,) = parse_arguments(BenchmarkArguments, description=__doc__.splitlines()[0])
    set_up_logging()
    logging.getLogger("hf_newsmatch.data").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        experiment = make_run(Path(folder), args.articles, args.width)
        seconds = []
        for _ in range(args.repeats):
            start = time.perf_counter()
            page = write_report(experiment)
            seconds.append(time.perf_counter() - start)
            logger.info("%.1f s", seconds[-1])
        files = [file for file in page.parent.rglob("*") if file.is_file()]
        at_once = sum(file.stat().st_size for file in page.parent.iterdir() if file.suffix in (".html", ".css", ".js"))
        print(
            f"{args.articles} articles, {len(RUNS)} runs: {min(seconds):.1f} s,"
            f" {sum(file.stat().st_size for file in files) / 2**20:.1f} MiB in {len(files)} files,"
            f" of which a page loads {at_once / 2**10:.0f} KiB at once"
        )
        if args.profile:
            with cProfile.Profile() as profile:
                write_report(experiment, progress=False)
            pstats.Stats(profile).sort_stats("cumulative").print_stats(45)


def make_run(folder: Path, articles: int, width: int) -> Experiment:
    """A run with random predictions for this many test articles."""
    news = write_newsroom(folder / "newsroom", seed=1)
    header, *rows = [line.split("\t") for line in (news / "test_articles.tsv").read_text().splitlines()]
    images, drawn = folder / "images", sorted((news / "images").iterdir())[:DRAWN]
    images.mkdir()
    for number, file in enumerate(drawn):
        with Image.open(file) as picture:
            picture.convert("RGB").resize((width, width), Image.Resampling.BICUBIC).save(
                images / f"drawn{number}.jpg", quality=90
            )
    texts, pictures, gold = [], [], ["articleID\tiid"]
    for number in range(articles):
        os.link(images / f"drawn{number % len(drawn)}.jpg", images / f"P{number}.jpg")
        row = rows[number % len(rows)]
        texts.append([f"{10**6 + number}", *row[1:]])
        pictures.append(["", "", "", "", f"P{number}", "", "", "", f"P{number}.jpg", ""])
        gold.append(f"{10**6 + number}\tP{number}")
    for name, lines in {"texts.tsv": texts, "pictures.tsv": pictures}.items():
        (folder / name).write_text("\n".join("\t".join(line) for line in [header, *lines]) + "\n")
    (folder / "gold.tsv").write_text("\n".join(gold) + "\n")
    experiment, data = Experiment.create(
        folder / "run",
        DataArguments(
            articles_file=str(news / "articles.tsv"),
            test_articles_file=str(folder / "texts.tsv"),
            test_images=str(folder / "pictures.tsv"),
            test_image_dir=str(images),
            gold_file=str(folder / "gold.tsv"),
        ),
        ModelArguments(model_name_or_path=DEMO_MODEL),
    )
    experiment.start()
    for name in RUNS[1:]:
        save_checkpoint(*load_clip(DEMO_MODEL), experiment.output_dir / name)
        sha256 = weights_sha256(experiment.output_dir / name)
        if name == "fine_tuned":
            experiment.record.train = TrainRecord(sha256)
        else:
            made = InterpolatedRecord(1.0, sha256, experiment.endpoints(), rule="given")
            experiment.record.wise_ft = made
    experiment.save()
    for seed, run in enumerate(RUNS):
        generator = np.random.default_rng(seed)
        for split, part in data.splits.items():
            ids, article_ids = part.images["image_id"][:], part.articles["article_id"][:]
            places = {name: place for place, name in enumerate(ids)}
            ranking = Ranking(article_ids, [], [])
            for article_id in article_ids:
                order = generator.normal(size=len(ids))
                order[places[part.gold[article_id]]] += 2 + seed
                best = np.argsort(-order)[:MAX_RANK]
                ranking.image_ids.append([ids[place] for place in best])
                ranking.scores.append(order[best].tolist())
            write_predictions(ranking, experiment.layout.run(split, run))
            experiment.register_run(split, run, part)
    shutil.rmtree(experiment.output_dir / "report", ignore_errors=True)
    return experiment


if __name__ == "__main__":
    main()
