"""Rank the pictures for every article and write the prediction files of the runs.

    python scripts/predict.py                                                  # continues from outputs/demo
    python scripts/predict.py --output_dir outputs/rss --test_articles_file test.tsv --test_images images.tsv
    python scripts/predict.py --output_dir outputs/new --articles_file a.tsv   # zero-shot only, nothing trained

    python scripts/predict.py --rerank dual_softmax csls                       # rank again, beside the plain ranking

Writes OUTPUT_DIR/runs/{validation,test}/{zero_shot,fine_tuned,wise_ft,ensemble}.tsv in the organisers' format, the
scores of the ranked pictures as Parquet beside them, and, for scripts/evaluate.py, the candidates and what gold there
is. What --rerank ranks again lies beside, as zero_shot+csls.tsv, with its settings in newsmatch.json.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from ..configs import DataArguments, ModelArguments, PredictArguments
from ..data.corpus import NewsData
from ..errors import NewsMatchError, exits_cleanly
from ..experiment.folder import RECORD, RUNS, Experiment, reranked
from ..experiment.prediction import EmbeddedRuns
from ..experiment.rerank_search import describe
from ..retrieval.predictions import write_predictions
from ..retrieval.ranking import Ranking
from .parser import parse_arguments
from .terminal import set_up_logging, use_all_cores

logger = logging.getLogger("hf_newsmatch.predict")


@exits_cleanly
def main(argv: Sequence[str] | None = None) -> None:
    args, data_args, model_args = parse_arguments(
        PredictArguments, DataArguments, ModelArguments, description=__doc__.splitlines()[0], argv=argv
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

    embedded = EmbeddedRuns(
        experiment, data, args.ensemble_weight, batch_size=args.batch_size, num_workers=args.num_workers
    )

    def write(run: str, split: str, ranking: Ranking, **settings) -> None:
        file = write_predictions(ranking, experiment.run_file(split, run))
        experiment.register_run(split, run, data.parts[split], **settings)
        logger.info("%s: %d articles, %d candidate pictures.", file, len(ranking), len(data.parts[split].images))

    methods = [method for method in dict.fromkeys(args.rerank) if method != "none"]
    for run in runs:
        settings = {"weight": args.ensemble_weight} if run == "ensemble" else {}
        for split in args.splits:
            write(run, split, embedded.rank(run, split, k=args.k), **settings)
        for method in methods:
            chosen = embedded.choose_settings(run, method)
            logger.info("%s: %s", reranked(run, method), describe(chosen))
            for split in args.splits:
                ranking = embedded.rank(run, split, method, args.k, **chosen["settings"])
                write(reranked(run, method), split, ranking, rerank=chosen, **settings)


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
