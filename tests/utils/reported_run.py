"""A run to report on, made in a second: models, and random predictions with the true picture pulled forward."""

import csv
import shutil
from pathlib import Path

import numpy as np

from hf_newsmatch import Ranking, interpolate, write_predictions
from hf_newsmatch.configs import DataArguments, ModelArguments
from hf_newsmatch.experiment.folder import Experiment
from hf_newsmatch.experiment.record import InterpolatedRecord, TrainRecord, TranslationFacts
from hf_newsmatch.models.weights import weights_sha256
from tests.utils.news import write_news_folder, write_test_lists

RUNS = ("zero_shot", "fine_tuned", "wise_ft")
RERANKED = "wise_ft+csls"
TITLE = "<script>alert(1)</script> & \"both\" 'quotes'"
PICTURE = "P5'><img src=x onerror=alert(1)>"


def edit(file: Path, column: int, before: str, after: str) -> None:
    """Exchange a cell of a list."""
    rows = [line.split("\t") for line in file.read_text().splitlines()]
    assert any(row[column] == before for row in rows), (before, rows[1])
    for row in rows:
        row[column] = after if row[column] == before else row[column]
    with open(file, "w", newline="") as stream:
        csv.writer(stream, delimiter="\t").writerows(rows)


def make_run(folder: Path, checkpoints: Path, hostile: bool = False) -> Experiment:
    """A run with models and random predictions, the true picture pulled forward, but without a training."""
    news = write_news_folder(folder / "news", count=60, shared=6)
    write_test_lists(news, write_news_folder(folder / "later", count=40, first=100, shared=5))
    for picture in (folder / "later" / "images").iterdir():
        picture.rename(news / "images" / picture.name)
    (news / "images" / "P7.png").write_bytes(b"")
    if hostile:
        edit(news / "test_images.tsv", 4, "P105", PICTURE)
        edit(news / "test_gold.tsv", 1, "P105", PICTURE)
    # an article twice: left out and listed
    lines = (news / "articles.tsv").read_text().splitlines()
    (news / "articles.tsv").write_text("\n".join([*lines, lines[1]]) + "\n")
    data_args = DataArguments(
        articles_file=str(news / "articles.tsv"),
        test_articles_file=str(news / "test_articles.tsv"),
        test_images=str(news / "test_images.tsv"),
        gold_file=str(news / "test_gold.tsv"),
        image_dir=str(news / "images"),
        skip_bad_rows=True,
    )
    experiment, data = Experiment.create(
        folder / "out", data_args, ModelArguments(model_name_or_path=str(checkpoints / "zero_shot"))
    )
    experiment.record.data.translation = TranslationFacts(sentences=31, distinct=30, in_parts=2, kept=KEPT)
    experiment.start()
    out = experiment.output_dir
    shutil.copytree(checkpoints / "fine_tuned", out / "fine_tuned")
    history = [{"epoch": epoch, "step": epoch, "loss": 3 / epoch, "eval_loss": 4 / epoch} for epoch in (1.0, 2.0)]
    experiment.record.train = TrainRecord(weights_sha256(out / "fine_tuned"), log_history=history)
    interpolate(checkpoints / "zero_shot", out / "fine_tuned", 0.5, out / "wise_ft")
    sha256 = weights_sha256(out / "wise_ft")
    experiment.record.wise_ft = InterpolatedRecord(0.5, sha256, experiment.endpoints(), rule="given")
    experiment.save()
    for seed, run in enumerate((*RUNS, RERANKED)):
        generator = np.random.default_rng(seed)
        for split, part in data.splits.items():
            ids = part.images["image_id"][:]
            lists, scores = [], []
            for article_id in part.articles["article_id"][:]:
                order = generator.normal(size=len(ids))
                order[ids.index(part.gold[article_id])] += seed
                best = np.argsort(-order)[:20]
                lists.append([ids[place] for place in best])
                scores.append(order[best].tolist())
            ranking = Ranking(part.articles["article_id"][:], lists, scores)
            write_predictions(ranking, experiment.layout.run(split, run))
            made = {"settings": {"neighbours": 5}, "transductive": True} if run == RERANKED else None
            experiment.register_run(split, run, part, made)
    return experiment


# sentences that kept their source text, as a translation records them
KEPT = [{"sentence": f"Satz {number}", "reason": "empty", "output": ""} for number in range(3)]
