"""scripts/convert.py as users run it, and the other commands on a folder of open_clip."""

import json

import pytest
import torch

from hf_newsmatch import load_model
from hf_newsmatch.models.weights import weights_sha256
from tests.utils.news import CONTEXT, write_news_folder
from tests.utils.open_clip import open_clip_tokens, write_open_clip


def test_a_checkpoint_is_converted_and_stretched(run, tmp_path, checkpoints):
    theirs = write_open_clip(tmp_path / "theirs")
    code, _, _ = run("convert", tmp_path / "theirs", "--output_dir", tmp_path / "out")
    assert code == 0
    model, processor = load_model(tmp_path / "out")
    with torch.no_grad():
        embeds = model.get_text_features(**processor(text=["harbour"], return_tensors="pt")).pooler_output
    torch.testing.assert_close(embeds, theirs.encode_text(open_clip_tokens(["harbour"])), atol=1e-5, rtol=0)

    name = "--model_name_or_path", checkpoints / "zero_shot"
    code, _, _ = run(
        "convert", *name, "--context_length", 60, "--keep_positions", 20, "--output_dir", tmp_path / "out"
    )
    assert code == 0
    assert load_model(tmp_path / "out")[0].config.text_config.max_position_embeddings == 60


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "No checkpoint is named; name its folder or Hub id with --model_name_or_path."),
        (["nowhere"], "There is neither a folder 'nowhere' nor a checkpoint of that name on the Hub"),
        (["demo"], "'demo' is a checkpoint of transformers already"),
        (["demo", "--context_length", CONTEXT], "tokens; name a longer --context_length"),
        (["demo", "--keep_positions", 20], "--keep_positions belongs to --context_length"),
    ],
)
def test_what_is_refused(run, tmp_path, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("convert", *argv)
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("convert.py: error: ")
    assert err.count("\n") == 1
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_the_steps_take_a_folder_of_open_clip(run, tmp_path):
    """Training, interpolating and predicting; the record knows the weights, and others are refused."""
    write_open_clip(tmp_path / "theirs")
    news = write_news_folder(tmp_path / "news")
    out = "--output_dir", tmp_path / "run"
    short = ["--num_train_epochs", 1, "--per_device_train_batch_size", 8, "--dataloader_num_workers", 0]
    base = ["--model_name_or_path", tmp_path / "theirs", "--articles_file", news / "articles.tsv"]
    code, _, err = run("train", *base, *out, *short, "--report_to", "none", "--use_cpu")
    assert code == 0, err
    record = json.loads((tmp_path / "run" / "newsmatch.json").read_text())
    assert record["base_model"]["id"] == str(tmp_path / "theirs")
    assert record["base_model"]["sha256"] == weights_sha256(tmp_path / "theirs")
    for step in (["interpolate", "--alpha", 0.5], ["predict"]):
        code, _, err = run(*step, *out)
        assert code == 0, err
    assert (tmp_path / "run" / "runs" / "test" / "zero_shot.tsv").is_file()

    write_open_clip(tmp_path / "theirs", seed=1)
    code, _, err = run("interpolate", "--alpha", 0.3, *out)
    assert code == 2
    assert "theirs" in err
