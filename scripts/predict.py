"""Rank the pictures for every article and write the prediction files of the runs.

    python scripts/predict.py                                                  # continues from outputs/demo
    python scripts/predict.py --output_dir outputs/rss --test_articles_file test.tsv --test_images images.tsv
    python scripts/predict.py --output_dir outputs/new --articles_file a.tsv   # zero-shot only, nothing trained

    python scripts/predict.py --rerank dual_softmax csls                       # rank again, beside the plain ranking

Writes OUTPUT_DIR/runs/{validation,test}/{zero_shot,fine_tuned,wise_ft,ensemble}.tsv in the organisers' format, the
scores of the ranked pictures as Parquet beside them, and, for scripts/evaluate.py, the candidates and what gold there
is. What --rerank ranks again lies beside, as zero_shot+csls.tsv, with its settings in newsmatch.json.
"""

import functools
import logging
from pathlib import Path
from typing import Any

import torch

from hf_newsmatch.arguments import (
    DataArguments,
    ModelArguments,
    PredictArguments,
    parse_arguments,
    set_up_logging,
    use_all_cores,
)
from hf_newsmatch.data.collator import join_text
from hf_newsmatch.embeddings import embed_texts
from hf_newsmatch.errors import NewsMatchError, exits_cleanly
from hf_newsmatch.experiment import ENSEMBLE, RECORD, RUNS, Experiment, NewsData, reranked
from hf_newsmatch.fusion import ensemble
from hf_newsmatch.modeling import best_device, load_clip
from hf_newsmatch.rerank import choose_settings, rerank
from hf_newsmatch.rerank.tuning import METRIC
from hf_newsmatch.retrieval import Ranking, embed_articles, rank, write_predictions

logger = logging.getLogger("hf_newsmatch.predict")


@exits_cleanly
def main() -> None:
    args, data_args, model_args = parse_arguments(
        PredictArguments, DataArguments, ModelArguments, description=__doc__.splitlines()[0]
    )
    set_up_logging()
    use_all_cores()
    experiment, data = open_experiment(args, data_args, model_args)
    runs = args.runs or [run for run in RUNS if experiment.has_model(run)]
    for run in runs:
        if run not in RUNS or not experiment.has_model(run):
            raise NewsMatchError(
                f"{args.output_dir} has no model for the run '{run}'; the runs are {', '.join(RUNS)}."
            )
    for split in args.splits:
        if split not in data.parts:
            raise NewsMatchError(f"{args.output_dir} has no {split} part, only {', '.join(data.parts)}.")

    methods = [method for method in dict.fromkeys(args.rerank) if method != "none"]
    # a re-ranking is set up on the validation part, wherever it is to rank
    needed = dict.fromkeys([*args.splits, *(["validation"] if methods else [])])

    @functools.cache  # the ensemble takes what its two runs embedded
    def embed(run: str) -> dict[str, tuple[torch.Tensor, ...]]:
        """The texts and the pictures of each part; of the training part the texts, where a method asks for them."""
        if run == "ensemble":
            both = list(map(embed, ENSEMBLE))
            return {
                split: tuple(ensemble(*pair, args.ensemble_weight) for pair in zip(*(one[split] for one in both)))
                for split in both[0]
            }
        model, processor = load_clip(experiment.checkpoint(run), experiment.revision(run))
        model.to(best_device())
        sizes = {"batch_size": args.batch_size, "num_workers": args.num_workers}
        embeds: dict[str, tuple[torch.Tensor, ...]] = {}
        for split in needed:
            part = data.parts[split]
            embeds[split] = embed_articles(
                model, processor, part.articles, part.images, experiment.text_fields, **sizes
            )
        if "querybank" in methods:
            texts = [
                join_text(row, experiment.text_fields) for row in data.train.select_columns(experiment.text_fields)
            ]
            embeds["train"] = (embed_texts(model, processor, texts),)
        return embeds

    def known(run: str, method: str, split: str) -> dict[str, torch.Tensor]:
        """What a method takes beside a part: the texts that came before it."""
        if method != "querybank":
            return {}
        before = ["train"] if split == "validation" else ["train", "validation"]
        return {"bank": torch.cat([embed(run)[name][0] for name in before])}

    def write(run: str, split: str, ranking: Ranking, **settings) -> None:
        file = write_predictions(ranking, experiment.run_file(split, run))
        experiment.register_run(split, run, data.parts[split], **settings)
        logger.info("%s: %d articles, %d candidate pictures.", file, len(ranking), len(data.parts[split].images))

    for run in runs:
        settings = {"weight": args.ensemble_weight} if run == "ensemble" else {}
        inputs = {
            split: (
                *embed(run)[split],
                data.parts[split].articles["article_id"],
                data.parts[split].images["image_id"],
            )
            for split in needed
        }
        for split in args.splits:
            write(run, split, rank(*inputs[split], args.k), **settings)
        for method in methods:
            chosen = choose_settings(
                method, *inputs["validation"], data.parts["validation"].gold, **known(run, method, "validation")
            )
            logger.info("%s: %s", reranked(run, method), summary(chosen))
            for split in args.splits:
                ranking = rerank(*inputs[split], method, args.k, **chosen["settings"], **known(run, method, split))
                write(reranked(run, method), split, ranking, rerank=chosen, **settings)


def summary(chosen: dict[str, Any]) -> str:
    """A re-ranking's settings, what they gain on the validation part, and what they assume."""
    gain = chosen["validation"]["gain"]
    text = ", ".join(f"{name} {value:g}" for name, value in chosen["settings"].items())
    text = (
        f"{text or 'no settings'}; validation {METRIC} {gain['mean']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"
    )
    return text + ("; assumes the whole part at hand." if chosen["transductive"] else ".")


def open_experiment(
    args: PredictArguments, data_args: DataArguments, model_args: ModelArguments
) -> tuple[Experiment, NewsData]:
    """The run in the output folder, with test files that came later; a new one when the folder holds none."""
    if not (Path(args.output_dir) / RECORD).is_file() and (data_args.articles_file or data_args.demo):
        experiment, data = Experiment.create(args.output_dir, data_args, model_args)
        experiment.save()
        return experiment, data
    experiment = Experiment.open(args.output_dir)
    experiment.check_base_model(model_args)
    experiment.use_test_files(data_args)
    return experiment, experiment.data()


if __name__ == "__main__":
    main()
