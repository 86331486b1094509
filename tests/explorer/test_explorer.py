"""What the page ranks, against plain transformers; and which models it takes, makes, and leaves alone."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import CLIPModel, CLIPProcessor

from hf_newsmatch import NewsMatchError
from hf_newsmatch.configs import DEFAULT_OUTPUT_DIR, AppArguments
from hf_newsmatch.data.images import open_picture
from hf_newsmatch.demo import newsroom
from hf_newsmatch.experiment import demo_run as run
from hf_newsmatch.experiment.folder import Experiment
from hf_newsmatch.experiment.merging import make_alpha, make_wise_ft
from hf_newsmatch.experiment.record import Endpoints
from hf_newsmatch.explorer import explorer, models
from hf_newsmatch.explorer.explorer import Explorer, open_explorer
from hf_newsmatch.explorer.models import GRID, AlphaModels, experiment_models, published_models
from hf_newsmatch.merging import interpolation
from hf_newsmatch.models.weights import holds_weights, weights_sha256
from hf_newsmatch.retrieval.ranking import stable_topk
from tests.utils.explored_run import make_run
from tests.utils.news import make_picture


@pytest.fixture
def experiment(checkpoints, tmp_path) -> Experiment:
    return make_run(tmp_path, checkpoints)


@pytest.fixture
def made(monkeypatch) -> list[float]:
    """The alphas that are interpolated."""
    alphas = []

    def interpolate(zero_shot, fine_tuned, alpha, *args, **kwargs):
        alphas.append(alpha)
        return original(zero_shot, fine_tuned, alpha, *args, **kwargs)

    original = interpolation.interpolate
    monkeypatch.setattr(interpolation, "interpolate", interpolate)
    return alphas


def opened(experiment: Experiment, **flags) -> Explorer:
    return open_explorer(AppArguments(output_dir=str(experiment.output_dir), **flags))


def true_pictures(shown: Explorer, text: str) -> list[str]:
    return [hit.image_id for hit in shown.rank(text, 0.0, 1) if hit.true]


def folders(experiment: Experiment) -> set[str]:
    return {folder.name for folder in experiment.output_dir.glob("wise_ft*")}


@torch.no_grad()
def expected(experiment: Experiment, checkpoints, alpha: float, text: str) -> tuple[list[str], torch.Tensor]:
    """The pictures of the test split, best first, and their similarities, by transformers alone."""
    model, other = (CLIPModel.from_pretrained(checkpoints / name) for name in ("zero_shot", "fine_tuned"))
    weights = other.state_dict()
    model.load_state_dict(
        {name: (1 - alpha) * value + alpha * weights[name] for name, value in model.state_dict().items()}
    )
    processor = CLIPProcessor.from_pretrained(checkpoints / "zero_shot", backend="pil")
    images = experiment.data().splits["test"].images
    inputs = processor(text=[text], images=images["image"][:], return_tensors="pt", truncation=True)
    similarities = model.eval()(**inputs)
    similarities = (similarities.text_embeds @ similarities.image_embeds.T)[0]
    order = similarities.argsort(descending=True)
    return [images["image_id"][place] for place in order.tolist()], similarities[order]


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_ranking_is_that_of_plain_transformers(experiment, checkpoints, alpha):
    shown = opened(experiment)
    part = experiment.data().splits["test"]
    text, true = shown.texts[3], part.gold[part.articles["article_id"][3]]
    hits = shown.rank(text, alpha, 5)
    image_ids, scores = expected(experiment, checkpoints, alpha, text)
    place = image_ids.index(true)
    places = [*range(5), *([place] if place >= 5 else [])]  # the true picture follows the others
    assert [(hit.rank, hit.image_id) for hit in hits] == [(place + 1, image_ids[place]) for place in places]
    assert [hit.score for hit in hits] == pytest.approx(scores[places].tolist(), abs=1e-5)
    assert [hit.image_id for hit in hits if hit.true] == [true]


def test_another_precision(experiment):
    text = opened(experiment).texts[0]
    shown, half = (opened(experiment, dtype=dtype).rank(text, 0.0, 5) for dtype in ("float32", "bfloat16"))
    whole, rounded = ({hit.image_id: hit.score for hit in hits} for hits in (shown, half))
    assert whole != rounded, "it was computed in half precision"
    assert all(abs(whole[name] - rounded[name]) < 0.03 for name in whole.keys() & rounded.keys())


def test_equal_scores_are_ranked_by_place_and_nothing_is_sorted_whole(experiment, monkeypatch):
    shown = opened(experiment)
    true = shown.image_ids[-1]
    text = shown.texts[0]
    shown._true = {text: {true, shown.image_ids[1], "gone"}}
    matcher, embeds = shown._model(0.0)
    same = torch.zeros_like(embeds)
    same[:, 0] = 1
    shown._ready[0.0] = matcher, same
    asked = []
    monkeypatch.setattr(explorer, "stable_topk", lambda scores, k: asked.append(k) or stable_topk(scores, k))
    hits = shown.rank(text, 0.0, 3)
    count = len(shown.image_ids)
    assert [hit.rank for hit in hits] == [1, 2, 3, count]
    assert [hit.image_id for hit in hits] == [*shown.image_ids[:3], true]
    assert [hit.true for hit in hits] == [False, True, False, True]
    assert asked == [3]


def test_a_text_whose_embedding_is_no_number_is_told(experiment, monkeypatch):
    shown = opened(experiment)
    matcher, _ = shown._model(0.0)
    monkeypatch.setattr(matcher, "embed_texts", lambda texts: torch.full((1, 8), float("nan")))
    with pytest.raises(NewsMatchError, match="The embedding of article 'of this text' is not finite"):
        shown.rank("title", 0.0, 3)


def test_articles_and_their_true_pictures(experiment):
    shown, part = opened(experiment), experiment.data().splits["test"]
    rows = part.articles[:]
    assert shown.titles == rows["title"]
    assert shown.texts == [f"{title}. {text}" for title, text in zip(rows["title"], rows["text"])]
    for place, article_id in enumerate(rows["article_id"]):
        assert true_pictures(shown, shown.texts[place]) == [part.gold[article_id]]
    assert shown.is_article(shown.texts[3])
    edited = shown.texts[3] + "!"
    assert not shown.is_article(edited)
    assert true_pictures(shown, edited) == []
    assert len(shown.rank(edited, 0.0, 5)) == 5
    assert set(shown.image_ids) == set(part.images["image_id"])


def test_articles_of_the_same_text(checkpoints, tmp_path):
    """Each of their pictures was published with it."""
    experiment = make_run(tmp_path, checkpoints, {"Title 819": "Title 900", "About p101": "About p100"})
    shown = opened(experiment)
    assert shown.texts[0] == shown.texts[1]
    assert sorted(true_pictures(shown, shown.texts[0])) == ["P100", "P101"]


def test_text_fields_are_the_runs(experiment):
    experiment.record.data.arguments.text_fields = ["title"]
    experiment.save()
    shown = opened(experiment)
    assert shown.texts == shown.titles


def test_a_picture_is_made_small_once(experiment):
    shown = opened(experiment)
    file = shown.thumbnail("P103")
    written = file.stat().st_mtime_ns
    picture = open_picture(file)
    assert picture.size == open_picture(make_picture(103)).size  # a smaller one keeps its size
    assert shown.thumbnail("P103") == file
    assert file.stat().st_mtime_ns == written


# ---- models ---------------------------------------------------------------------------------------------------------


def test_a_model_is_made_once_and_registered(experiment, made):
    shown = opened(experiment)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: shown.rank("title", 0.3, 5), range(4)))
    assert answers[1:] == answers[:-1]
    shown.prepare()
    assert made == [0.3, 0.5]
    assert folders(experiment) == {"wise_ft_alpha_0.30", "wise_ft_alpha_0.50"}
    record = Experiment.open(experiment.output_dir).record.alphas
    assert {name: entry.alpha for name, entry in record.items()} == {
        "wise_ft_alpha_0.30": 0.3,
        "wise_ft_alpha_0.50": 0.5,
    }
    again = opened(experiment)
    assert again.rank("title", 0.3, 5) == answers[0]
    assert made == [0.3, 0.5]


def test_the_ends_are_not_copied(experiment, made):
    shown = opened(experiment)
    for alpha in (0.0, 1.0):
        shown.rank("title", alpha, 5)
    assert (made, folders(experiment)) == ([], set())


def test_models_that_are_there(experiment, made):
    """The chosen alpha is where the slider stands; one between the steps makes them smaller."""
    make_wise_ft(experiment, 0.35)
    make_alpha(experiment, 0.4)
    made.clear()
    models = experiment_models(experiment)
    assert (models.start, models.step, models.alphas) == (0.35, 0.01, sorted([*GRID, 0.35]))
    assert models.checkpoint(0.35)[0] == str(experiment.output_dir / "wise_ft")
    assert models.checkpoint(0.4)[0] == str(experiment.output_dir / "wise_ft_alpha_0.40")
    assert made == []


@pytest.mark.parametrize(("alpha", "start"), [(0, 0.0), (1, 1.0), (0.7, 0.7)])
def test_a_chosen_alpha_on_the_grid(experiment, alpha, start):
    make_wise_ft(experiment, alpha)
    models = experiment_models(experiment)
    assert (models.start, models.step, models.alphas) == (start, 0.1, list(GRID))


@pytest.mark.parametrize("options", [{"alpha_vision": 0.3}, {"alphas": {"text_model.*": 0.1}}])
def test_a_model_of_several_alphas_is_none_of_one(experiment, options):
    make_wise_ft(experiment, 0.7, options, **options)
    models = experiment_models(experiment)
    assert models.start == 0.5
    assert models.checkpoint(0.7)[0] == str(experiment.output_dir / "wise_ft_alpha_0.70")


def test_extrapolated_models_are_left_out(experiment):
    for alpha in (-0.3, 1.2, 0.12345):
        make_alpha(experiment, alpha, extrapolate=True)
    make_wise_ft(experiment, 1.5, extrapolate=True)
    models = experiment_models(experiment)
    assert (models.start, models.alphas) == (0.5, list(GRID))


def test_stale_models_are_not_used(experiment, checkpoints, made):
    make_wise_ft(experiment, 0.7)
    for alpha in (0.2, 0.4, 0.6):
        make_alpha(experiment, alpha)
    out = experiment.output_dir
    # one replaced by hand, one gone, and WiSE-FT made of other models
    shutil.copytree(checkpoints / "zero_shot", out / "wise_ft_alpha_0.20", dirs_exist_ok=True)
    shutil.rmtree(out / "wise_ft_alpha_0.40")
    experiment.record.wise_ft.endpoints = Endpoints("0" * 64, "1" * 64)
    experiment.save()
    made.clear()
    models = experiment_models(experiment)
    assert models.start == 0.5
    for alpha in (0.2, 0.4, 0.6, 0.7):
        models.checkpoint(alpha)
    assert made == [0.2, 0.4, 0.7]
    assert weights_sha256(out / "wise_ft_alpha_0.20") != weights_sha256(checkpoints / "zero_shot")


def test_a_run_that_is_trained_again_while_the_page_is_open(experiment, checkpoints):
    shown = opened(experiment)
    experiment.record.train.sha256 = "0" * 64
    experiment.save()
    with pytest.raises(NewsMatchError, match="was trained again since this page started"):
        shown.rank("title", 0.3, 5)


def test_embeddings_outlive_their_model(experiment, checkpoints, monkeypatch):
    embedded = []
    original = explorer.NewsMatcher.embed_images
    monkeypatch.setattr(
        explorer.NewsMatcher, "embed_images", lambda *args: embedded.append(1) or original(*args, progress=False)
    )
    shown = opened(experiment)
    alphas = (0.0, 0.1, 0.2, 0.3, 0.4, 1.0)
    answers = [shown.rank("title", alpha, 5) for alpha in alphas]
    assert [shown.rank("title", alpha, 5) for alpha in alphas] == answers
    assert len(embedded) == len(alphas)
    assert {0.0, 1.0} < shown._ready.keys()
    assert len(shown._ready) == 2 + explorer.LOADED
    # weights that were exchanged are not those of the alpha that is shown
    gone = next(alpha for alpha in alphas if alpha not in shown._ready)
    shutil.copytree(checkpoints / "zero_shot", experiment_models(experiment).checkpoint(gone)[0], dirs_exist_ok=True)
    with pytest.raises(NewsMatchError, match="have changed since the page began"):
        shown.rank("title", gone, 5)


def test_from_any_alpha_to_the_next():
    models = AlphaModels(("a", None), ("b", None), {0.35: ("c", None)}, str)
    assert [models.snap(alpha) for alpha in (0, 0.04, 0.06, 0.33, 0.3000004, 0.96)] == [0, 0, 0.1, 0.35, 0.3, 1]
    assert (models.snap(0.36, before=0.35), models.snap(0.34, before=0.35)) == (0.4, 0.3)
    assert (models.snap(0.31, before=0.3), models.snap(0.9, before=0.3), models.snap(0.3, before=0.3)) == (
        0.35,
        0.9,
        0.3,
    )
    assert (models.snap(1, before=0.9), models.snap(0, before=0.1)) == (1, 0)


@pytest.mark.parametrize("alpha", [float("nan"), -0.1, 1.5, None, "0.5"])
def test_unusable_alphas_are_refused(alpha):
    with pytest.raises(NewsMatchError, match="alpha must"):
        AlphaModels(("a", None), ("b", None), {}, str).snap(alpha)


# ---- sources --------------------------------------------------------------------------------------------------------


def test_other_pictures_and_articles(experiment, tmp_path):
    (tmp_path / "archive").mkdir()
    for number in range(3):
        make_picture(number).save(tmp_path / "archive" / f"{number}.png")
    (tmp_path / "archive" / "bad.png").write_bytes(b"no picture")
    shown = opened(experiment, images=str(tmp_path / "archive"))
    assert (shown.image_ids, shown.titles) == (["0", "1", "2"], [])
    assert len(shown.rank("title", 0.0, 12)) == 3

    news = tmp_path / "news"
    shown = opened(experiment, articles_file=str(news / "articles.tsv"))  # linked: with its pictures and gold
    assert len(shown.titles) == 30
    assert len(shown.image_ids) == 27
    assert true_pictures(shown, shown.texts[2]) == ["P2"]
    lists = {"articles_file": "test_articles.tsv", "images": "test_images.tsv", "gold_file": "test_gold.tsv"}
    shown = opened(experiment, **{name: str(news / file) for name, file in lists.items()})
    assert true_pictures(shown, shown.texts[2]) == ["P102"]
    without_gold = opened(experiment, images=str(news / "test_images.tsv"), articles_file=str(news / "articles.tsv"))
    assert true_pictures(without_gold, without_gold.texts[2]) == []


def test_the_other_split(experiment):
    shown = opened(experiment, split="validation")
    assert len(shown.titles) == len(experiment.data().validation)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"output_dir": "absent"}, "absent holds no experiment"),
        ({"split": "tset"}, "has no tset split, only validation, test"),
        ({"images": "absent"}, "absent"),
        ({"hub_model_id": "ann/news"}, "name pictures with --images"),
        ({"hub_model_id": "news", "images": "x"}, "lacks the user or organisation"),
        ({"hub_model_id": "ann/news", "images": "x"}, "offline mode is on"),
    ],
)
def test_refusals(experiment, flags, message):
    with pytest.raises(NewsMatchError, match=message):
        open_explorer(AppArguments(**{"output_dir": str(experiment.output_dir), **flags}))


def test_nothing_fine_tuned_yet(experiment):
    shutil.rmtree(experiment.output_dir / "fine_tuned")
    with pytest.raises(NewsMatchError, match=r"no fine-tuned model yet; run `hf-newsmatch train`"):
        opened(experiment)


def test_no_usable_picture(experiment, tmp_path):
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "bad.png").write_bytes(b"no picture")
    with pytest.raises(NewsMatchError, match=r"None of the pictures of .*archive is usable"):
        opened(experiment, images=str(tmp_path / "archive"))


# ---- the demo -------------------------------------------------------------------------------------------------------


def test_the_demo_is_made_where_it_is_missing(experiment, tmp_path, monkeypatch):
    """Only in the default's folder, and only where there is nothing, or an interrupted demo."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(explorer, "make_demo_run", lambda folder: made.append(folder) or experiment)
    made, args = [], AppArguments()
    open_explorer(args)
    assert made == [DEFAULT_OUTPUT_DIR]

    shutil.copytree(experiment.output_dir, DEFAULT_OUTPUT_DIR)
    record = tmp_path / DEFAULT_OUTPUT_DIR / "newsmatch.json"
    open_explorer(args)
    shutil.rmtree(tmp_path / DEFAULT_OUTPUT_DIR / "fine_tuned")
    with pytest.raises(NewsMatchError, match="no fine-tuned model yet"):
        open_explorer(args)
    assert made == [DEFAULT_OUTPUT_DIR]
    text = json.loads(record.read_text())
    text["data"]["arguments"]["demo"] = "feed"
    record.write_text(json.dumps(text))
    open_explorer(args)
    assert made == [DEFAULT_OUTPUT_DIR] * 2


def test_the_demo_is_that_of_the_recipe(tmp_path, monkeypatch, caplog):
    assert run.RECIPE.samefile(Path(__file__).parents[2] / "recipes" / "demo.yaml")
    recipe = run.RECIPE.read_text().replace("num_train_epochs: 6", "num_train_epochs: 1")
    assert recipe != run.RECIPE.read_text()
    (tmp_path / "recipe.yaml").write_text(recipe)
    monkeypatch.setattr(run, "RECIPE", tmp_path / "recipe.yaml")
    monkeypatch.setattr(newsroom, "TRAIN", 80)
    monkeypatch.setattr(newsroom, "TEST", 20)
    run.make_demo_run(tmp_path / "out")
    experiment = Experiment.open(tmp_path / "out")
    assert experiment.has_model("fine_tuned")
    assert holds_weights(tmp_path / "out" / "fine_tuned")
    arguments = experiment.record.train.arguments
    assert (arguments["num_train_epochs"], arguments["learning_rate"], arguments["use_cpu"]) == (1, 3e-4, True)
    assert experiment.record.base_model.id == "demo"
    assert len(experiment.data().splits["test"].articles) == 20


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b'"text"',
        b"[" * 100_000,
        '{"x": "\u00e4"}'.encode("latin-1"),
        b'{"format": ' + b"9" * 5000 + b"}",
        b'{"base_model": {"id": "demo", "revision": null, "sha256": null}, "data": 1e999}',
        b'{"runs": {"validation": []}}',
    ],
)
def test_a_foreign_record_of_the_hub_is_one_sentence(tmp_path, monkeypatch, content):
    (tmp_path / "newsmatch.json").write_bytes(content)
    branch = SimpleNamespace(name="main", target_commit="0a1b")
    refs = SimpleNamespace(list_repo_refs=lambda repo_id: SimpleNamespace(branches=[branch]))
    monkeypatch.setattr(models, "HfApi", lambda: refs)
    monkeypatch.setattr(models, "hf_hub_download", lambda *args, **kwargs: str(tmp_path / "newsmatch.json"))
    with pytest.raises(
        NewsMatchError, match=r"ann/news has no newsmatch\.json of a run, but one that is dam"
    ) as error:
        published_models("ann/news")
    assert str(tmp_path) not in str(error.value)
    assert len(str(error.value)) < 500
