"""A small run for the page of `app/`: models without a training, and a test list."""

import csv
import shutil
from pathlib import Path

from hf_newsmatch.configs import DataArguments, ModelArguments
from hf_newsmatch.experiment.folder import Experiment
from hf_newsmatch.experiment.merging import make_wise_ft
from hf_newsmatch.experiment.record import TrainRecord
from hf_newsmatch.models.weights import weights_sha256
from tests.utils.news import write_news_folder, write_test_lists


def make_run(folder: Path, checkpoints: Path, cells: dict[str, str] | None = None, alpha: float | None = None):
    """A run with 30 articles and a test list of 20, whose WiSE-FT model, if it has one, is of `alpha`.

    `cells` of the test lists are exchanged.
    """
    news = write_news_folder(folder / "news", count=30, shared=3)
    write_test_lists(news, write_news_folder(folder / "later", count=20, first=100, shared=2))
    for picture in (folder / "later" / "images").iterdir():
        picture.rename(news / "images" / picture.name)
    for name in ("test_articles.tsv", "test_images.tsv", "test_gold.tsv"):
        rows = [line.split("\t") for line in (news / name).read_text().splitlines()]
        with open(news / name, "w", newline="") as stream:
            csv.writer(stream, delimiter="\t").writerows(
                [(cells or {}).get(cell, cell) for cell in row] for row in rows
            )
    data_args = DataArguments(
        articles_file=str(news / "articles.tsv"),
        test_articles_file=str(news / "test_articles.tsv"),
        test_images=str(news / "test_images.tsv"),
        gold_file=str(news / "test_gold.tsv"),
        image_dir=str(news / "images"),
    )
    base = ModelArguments(model_name_or_path=str(checkpoints / "zero_shot"))
    experiment, _ = Experiment.create(folder / "out", data_args, base)
    experiment.start()
    shutil.copytree(checkpoints / "fine_tuned", folder / "out" / "fine_tuned")
    experiment.record.train = TrainRecord(weights_sha256(folder / "out" / "fine_tuned"))
    experiment.save()
    if alpha is not None:
        make_wise_ft(experiment, alpha)
    return experiment
