"""The NewsImages metrics as an `evaluate` module: MRR@100 and Recall@k."""

import datasets
import evaluate

# `evaluate.load` copies this file elsewhere, where relative imports find nothing
from hf_newsmatch.metrics.scoring import DEFAULT_KS, score
from hf_newsmatch.retrieval.ranking import Ranking

_DESCRIPTION = """
MRR@100 and Recall@k of ranked pictures, as the MediaEval NewsImages task scores them: one true picture an article,
means over all articles, nothing counts beyond rank 100.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list[list[str]]`): for each article the ids of its pictures, best first, at most 100.
    references (`list[str]`): the id of the true picture of each article.
    ks (`list[int]`, *optional*, defaults to 1, 5, 10, 50, 100): the ranks at which recall is measured.
Returns:
    `dict[str, float]`: `mrr@100` and `recall@k` for each k.
Examples:
    >>> from pathlib import Path
    >>> import evaluate, hf_newsmatch
    >>> metric = evaluate.load(str(Path(hf_newsmatch.__file__).parent / "metrics/newsimages"))
    >>> metric.compute(predictions=[["a", "b"], ["a", "b"]], references=["a", "b"], ks=[1])
    {'mrr@100': 0.75, 'recall@1': 0.5}
"""

_CITATION = ""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class NewsImages(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {
                    "predictions": datasets.List(datasets.Value("string")),
                    "references": datasets.Value("string"),
                }
            ),
        )

    def _compute(self, predictions, references, ks=DEFAULT_KS):
        rows = [str(row) for row in range(len(references))]
        scores = score(Ranking(rows, [list(row) for row in predictions]), dict(zip(rows, references)), ks)
        return {name: value for name, value in scores.items() if "@" in name}
