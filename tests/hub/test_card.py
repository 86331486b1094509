"""The model card, apart from a Hub."""

import pytest

from hf_newsmatch.configs import CardArguments, DataArguments
from hf_newsmatch.errors import NewsMatchError
from hf_newsmatch.experiment.record import BaseModel, DataRecord, Record
from hf_newsmatch.hub.card import model_card
from hf_newsmatch.hub.provenance import Checkpoint


@pytest.mark.parametrize("run", ["fine_tuned", "wise_ft"])
def test_a_record_without_a_training_is_one_sentence(run, checkpoints):
    record = Record(BaseModel("demo", None, "aa"), DataRecord(DataArguments(), {}, None))
    checkpoint = Checkpoint(run, checkpoints / "fine_tuned")
    with pytest.raises(NewsMatchError, match=r"records no training yet; run `hf-newsmatch train` first\.$"):
        model_card(record, checkpoint, "ann/news", CardArguments(), {"license": "mit"}, {})
