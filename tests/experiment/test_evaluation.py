"""The evaluate step, called as a notebook calls it; the command's own checks come before."""

import pytest

from hf_newsmatch import NewsMatchError
from hf_newsmatch.configs import EvaluateArguments
from hf_newsmatch.experiment.evaluation import evaluate_files


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"gold": "gold.tsv"}, r"^No prediction file is named: give --predictions\.$"),
        ({"predictions": ["run.tsv"]}, r"^--predictions needs --gold, the true picture of each article\.$"),
    ],
)
def test_a_file_that_is_not_named_is_one_sentence(named, message):
    with pytest.raises(NewsMatchError, match=message):
        evaluate_files(EvaluateArguments(**named))
