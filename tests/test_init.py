import subprocess
import sys

import pytest

import hf_newsmatch


def test_importing_stays_light():
    heavy = "torch", "transformers", "datasets", "pandas"
    code = f"import sys, hf_newsmatch; sys.exit(' '.join(name for name in {heavy} if name in sys.modules) or 0)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("name", hf_newsmatch.__all__)
def test_every_name_is_there(name):
    assert getattr(hf_newsmatch, name) is not None


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'load_everything'"):
        hf_newsmatch.load_everything  # noqa: B018


def test_names_of_the_design():
    """The calls that others rely on."""
    assert set(hf_newsmatch.__all__) >= {
        "ContrastiveTrainer",
        "ContrastiveTrainingArguments",
        "chronological_split",
        "contrastive_loss",
        "embed_images",
        "embed_texts",
        "interpolate",
        "load_articles",
        "load_gold",
        "load_images",
        "load_pairs",
        "rank",
        "read_predictions",
        "score",
        "sweep_alpha",
        "write_predictions",
    }
