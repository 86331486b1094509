import subprocess
import sys

import torch
from datasets import Image

from hf_newsmatch import ContrastiveCollator, open_picture
from hf_newsmatch.data.text import join_text
from hf_newsmatch.training.collator import stable_id


def test_join_text():
    row = {"title": "Bridge opens", "text": "After years.", "url": "x"}
    assert join_text(row) == "Bridge opens. After years."
    assert join_text(row, ["text"]) == "After years."
    assert join_text({"title": "", "text": "After years."}) == "After years."
    assert join_text({"title": "Bridge opens", "text": None}) == "Bridge opens"
    assert join_text({"title": "", "text": ""}) == ""


def test_stable_ids_are_the_same_in_every_process():
    code = "from hf_newsmatch.training.collator import stable_id; print(stable_id('Köln'))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == stable_id("Köln")
    assert 0 <= stable_id("Köln") < 2**63
    assert len({stable_id(str(number)) for number in range(10_000)}) == 10_000


def test_a_batch(processor, pairs):
    rows = [dict(row) for row in pairs.cast_column("image", Image(decode=False)).select([0, 1, 2])]
    rows[1]["image_id"] = rows[0]["image_id"]
    rows[2]["title"], rows[2]["text"] = rows[0]["title"], rows[0]["text"]
    batch = ContrastiveCollator(processor, ("title",))(rows)
    assert batch["image_ids"].dtype == batch["text_ids"].dtype == torch.int64
    assert batch["image_ids"].tolist().count(batch["image_ids"][0].item()) == 2
    assert batch["text_ids"][0] == batch["text_ids"][2] != batch["text_ids"][1]
    expected = processor(
        text=[row["title"] for row in rows],
        images=[open_picture(row["image"]) for row in rows],
        padding=True,
        return_tensors="pt",
    )
    for name in expected:
        assert torch.equal(batch[name], expected[name]), name


def test_long_texts_are_cut_and_end_with_the_end(processor, pairs):
    row = pairs.cast_column("image", Image(decode=False))[0]
    batch = ContrastiveCollator(processor)([{**row, "text": "word " * 200}])
    assert batch["input_ids"].shape == (1, processor.tokenizer.model_max_length)
    assert batch["input_ids"][0, -1] == processor.tokenizer.eos_token_id
