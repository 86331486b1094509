"""Rank the pictures for every article and write the prediction files of the runs.

    python scripts/predict.py                                                  # continues from outputs/demo
    python scripts/predict.py --output_dir outputs/rss --test_articles_file test.tsv --test_images images.tsv
    python scripts/predict.py --output_dir outputs/new --articles_file a.tsv   # zero-shot only, nothing trained
    python scripts/predict.py --output_dir outputs/new --test_articles_file headlines.tsv --test_images archive
    python scripts/predict.py --rerank dual_softmax csls                       # rank again, beside the plain ranking

Writes OUTPUT_DIR/runs/{validation,test}/{zero_shot,fine_tuned,wise_ft,ensemble}.tsv in the organisers' format, the
scores of the ranked pictures as Parquet beside them, and, for scripts/evaluate.py, the candidates and what gold there
is. What --rerank ranks again lies beside, as zero_shot+csls.tsv, with its settings in newsmatch.json.
"""

from collections.abc import Sequence

from ..configs import DataArguments, ModelArguments, PredictArguments
from ..errors import exits_cleanly
from .parser import parse_arguments
from .terminal import set_up_logging, use_all_cores


@exits_cleanly(again="The same command does it again; predictions that were there stay until new ones are whole.")
def main(argv: Sequence[str] | None = None) -> None:
    args, data_args, model_args = parse_arguments(
        PredictArguments, DataArguments, ModelArguments, description=__doc__, argv=argv
    )
    from ..experiment.prediction import open_experiment, predict

    set_up_logging()
    use_all_cores()
    experiment, data = open_experiment(args.output_dir, data_args, model_args)
    predict(experiment, data, args)
