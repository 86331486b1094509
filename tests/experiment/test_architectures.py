"""The whole way of every architecture: trained, resumed, interpolated, ranked, reported, made ready for the Hub."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

from hf_newsmatch import ContrastiveTrainingArguments, NewsMatchError, experiment, interpolate, load_model, sweep_alpha
from hf_newsmatch.configs import (
    CardArguments,
    DataArguments,
    InterpolateArguments,
    ModelArguments,
    PredictArguments,
    PushArguments,
)
from hf_newsmatch.experiment.publishing import collect_uploads
from hf_newsmatch.models.architectures import ARCHITECTURES
from tests.utils.architectures import MAKERS, make_tiny
from tests.utils.news import write_news_folder

# those that differ most; the others are tried as well, by `make thorough`
QUICK = {("siglip2", "sigmoid"), ("align", "softmax"), ("tipsv2", "softmax"), ("vision-text-dual-encoder", "softmax")}
CASES = [
    pytest.param(name, loss, marks=[] if (name, loss) in QUICK else pytest.mark.thorough)
    for name in MAKERS
    for loss in sorted({ARCHITECTURES[name].loss, "softmax"})
]


@pytest.fixture(scope="module")
def news(tmp_path_factory):
    return write_news_folder(tmp_path_factory.mktemp("news"))


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """The folder of a tiny checkpoint of each architecture."""
    folder = tmp_path_factory.mktemp("bases")
    for name in MAKERS:
        model, processor = make_tiny(name)
        model.save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
    return folder


def arguments_of(folder, **options) -> ContrastiveTrainingArguments:
    defaults = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "learning_rate": 3e-3,
        "use_cpu": True,
        "disable_tqdm": True,
        "report_to": "none",
        "save_total_limit": None,
    }
    return ContrastiveTrainingArguments(str(folder), **{**defaults, **options})


@pytest.mark.slow
@pytest.mark.parametrize(("name", "loss"), CASES)
def test_the_whole_way(name, loss, news, bases, tmp_path):
    data_args = DataArguments(articles_file=str(news / "articles.tsv"))
    model_args, out = ModelArguments(str(bases / name)), tmp_path / "out"
    trained = experiment.train(data_args, model_args, arguments_of(out, loss=loss))
    run = trained.experiment
    fine_tuned = load_file(out / "fine_tuned" / "model.safetensors")
    base = load_file(bases / name / "model.safetensors")
    assert max((fine_tuned[key].float() - base[key].float()).abs().max() for key in base) > 1e-3

    # from its first checkpoint it ends the same, bit for bit
    again = tmp_path / "again"
    shutil.copytree(out, again)
    for gone in (*again.glob("checkpoint-6"), again / "fine_tuned", again / "newsmatch.json"):
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    experiment.train(data_args, model_args, arguments_of(again, loss=loss))
    resumed = load_file(again / "fine_tuned" / "model.safetensors")
    assert resumed.keys() == fine_tuned.keys()
    assert all(torch.equal(resumed[key], fine_tuned[key]) for key in resumed)

    for alpha, end in ((0, bases / name), (1, out / "fine_tuned")):
        made = load_file(
            interpolate(bases / name, out / "fine_tuned", alpha, tmp_path / f"{alpha}") / "model.safetensors"
        )
        expected = load_file(end / "model.safetensors")
        floating = [key for key in made if made[key].is_floating_point()]
        assert all(torch.equal(made[key], expected[key]) for key in floating)
    choice = experiment.interpolate(run, InterpolateArguments(alpha_metric="mrr@100")).choice
    assert len(choice.sweep) == 11

    predictions = experiment.predict(run, run.data(), PredictArguments(rerank=["csls"]))
    assert {made.run for made in predictions} >= {"zero_shot", "fine_tuned", "wise_ft", "wise_ft+csls"}
    scores = experiment.evaluate(run)
    point = next(point for point in choice.sweep if point["alpha"] == choice.alpha)
    mean = scores["validation"]["runs"]["wise_ft"]["mrr@100"]["mean"]
    assert mean == pytest.approx(point["mrr@100"], abs=1e-6)
    assert experiment.report(run).is_file()

    push_args = PushArguments(hub_model_id="ann/news", run="fine_tuned")
    (upload,) = collect_uploads(run, push_args, CardArguments(), {"license": "mit"})
    folder = tmp_path / "pulled"
    folder.mkdir()
    for file, content in upload.files.items():
        (folder / file).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    plain = AutoModel.from_pretrained(folder).eval()
    model, _ = load_model(folder)
    assert type(model) is type(plain)
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in model.state_dict().items())
    card = (folder / "README.md").read_text()
    assert ARCHITECTURES[name].model in card
    assert json.loads((folder / "newsmatch.json").read_text())["recipe"]["loss"] == loss


def test_a_sweep_is_of_the_interpolated_models(bases, news, tmp_path):
    """Where transformers names the weights otherwise than their file does."""
    from hf_newsmatch import load_pairs, rank_articles, score

    pairs = load_pairs(news / "articles.tsv").select(range(12))
    for name in ("altclip", "tipsv2", "vision-text-dual-encoder", "siglip2"):
        model, processor = make_tiny(name, seed=1)
        model.save_pretrained(tmp_path / name)
        processor.save_pretrained(tmp_path / name)
        sweep = sweep_alpha(bases / name, tmp_path / name, pairs, alphas=[0.3], progress=False)
        folder = interpolate(bases / name, tmp_path / name, 0.3, tmp_path / f"{name}-0.3")
        ranking = rank_articles(*load_model(folder), pairs, pairs, progress=False)
        expected = score(ranking, dict(zip(pairs["article_id"], pairs["image_id"])))["mrr@100"]
        assert sweep[0]["mrr@100"] == pytest.approx(expected)


def test_towers_whose_projections_are_fresh_are_trained_first(bases, news, tmp_path, caplog):
    model, processor = make_tiny("vision-text-dual-encoder")
    with torch.no_grad():
        model.logit_scale.fill_(model.config.logit_scale_init_value)
    base = tmp_path / "fresh"
    model.save_pretrained(base)
    processor.save_pretrained(base)
    data_args = DataArguments(articles_file=str(news / "articles.tsv"))
    options = {"num_train_epochs": 1, "unfreeze_last_layers": 0}
    run = experiment.train(data_args, ModelArguments(str(base)), arguments_of(tmp_path / "out", **options)).experiment
    assert "were never trained" in caplog.text
    for made in (
        lambda: experiment.interpolate(run, InterpolateArguments(alpha=["0.4"])),
        lambda: experiment.interpolate(run, InterpolateArguments()),
    ):
        with pytest.raises(NewsMatchError, match=r"no zero-shot meaning to interpolate with; .* as the base"):
            made()
    experiment.interpolate(run, InterpolateArguments(alpha=["1"]))
    # the trained projections are a base
    caplog.clear()
    again = arguments_of(tmp_path / "again", num_train_epochs=1)
    run = experiment.train(data_args, ModelArguments(str(tmp_path / "out" / "fine_tuned")), again).experiment
    assert "were never trained" not in caplog.text
    experiment.interpolate(run, InterpolateArguments(alpha=["0.4"]))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("clip", {"loss": "sigmoid"}, "needs a model with a logit_bias, such as SigLIP, and CLIP has none"),
        ("align", {"lora_rank": 2}, "no linear modules in the vision tower, whose layers are convolutions"),
    ],
)
def test_a_bad_mixture_is_one_sentence(name, options, message, news, bases, tmp_path):
    data_args = DataArguments(articles_file=str(news / "articles.tsv"))
    with pytest.raises(NewsMatchError, match=message):
        experiment.train(data_args, ModelArguments(str(bases / name)), arguments_of(tmp_path / "out", **options))
