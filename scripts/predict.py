"""Rank the pictures for every article and write the prediction files of the runs.

    python scripts/predict.py                                                  # continues from outputs/demo
    python scripts/predict.py --output_dir outputs/rss --test_articles_file test.tsv --test_images images.tsv
    python scripts/predict.py --output_dir outputs/new --articles_file a.tsv   # zero-shot only, nothing trained

Writes OUTPUT_DIR/runs/{validation,test}/{zero_shot,fine_tuned,wise_ft,ensemble}.tsv in the organisers' format, the
scores of the ranked pictures as Parquet beside them, and, for scripts/evaluate.py, the candidates and what gold there
is.
"""

import functools
import logging
from pathlib import Path

import torch

from hf_newsmatch.arguments import (
    DataArguments,
    ModelArguments,
    PredictArguments,
    parse_arguments,
    set_up_logging,
    use_all_cores,
)
from hf_newsmatch.errors import NewsMatchError, exits_cleanly
from hf_newsmatch.experiment import ENSEMBLE, RECORD, RUNS, Experiment, NewsData
from hf_newsmatch.fusion import ensemble
from hf_newsmatch.modeling import best_device, load_clip
from hf_newsmatch.retrieval import embed_articles, rank, write_predictions

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

    @functools.cache  # the ensemble takes what its two runs embedded
    def embed(run: str) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        model, processor = load_clip(experiment.checkpoint(run), experiment.revision(run))
        model.to(best_device())
        sizes = {"batch_size": args.batch_size, "num_workers": args.num_workers}
        parts = {split: data.parts[split] for split in args.splits}
        return {
            split: embed_articles(model, processor, part.articles, part.images, experiment.text_fields, **sizes)
            for split, part in parts.items()
        }

    for run in runs:
        settings = {"weight": args.ensemble_weight} if run == "ensemble" else {}
        for split in args.splits:
            part = data.parts[split]
            if run == "ensemble":
                both = zip(*(embed(name)[split] for name in ENSEMBLE))
                embeds = [ensemble(*pair, args.ensemble_weight) for pair in both]
            else:
                embeds = embed(run)[split]
            ranking = rank(*embeds, part.articles["article_id"], part.images["image_id"], args.k)
            file = write_predictions(ranking, experiment.run_file(split, run))
            experiment.register_run(split, run, part, **settings)
            logger.info("%s: %d articles, %d candidate pictures.", file, len(ranking), len(part.images))


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
