"""Publishing, against a Hub on this machine that a real client talks to over HTTP."""

import contextlib
import copy
import dataclasses
import hashlib
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from safetensors.torch import load_file
from transformers import TrainingArguments

from hf_newsmatch import ContrastiveTrainingArguments, embed_texts, load_model
from hf_newsmatch.configs import AppArguments, CardArguments, PushArguments
from hf_newsmatch.errors import NewsMatchError
from hf_newsmatch.experiment.folder import Experiment
from hf_newsmatch.experiment.publishing import collect_uploads, take_push
from hf_newsmatch.explorer.explorer import open_explorer
from hf_newsmatch.hub.card import find_license, model_card
from hf_newsmatch.hub.provenance import Checkpoint
from hf_newsmatch.hub.push import check_repo_id
from hf_newsmatch.models.architectures import ARCHITECTURES
from hf_newsmatch.models.weights import save_checkpoint
from tests.utils.architectures import MAKERS, make_tiny
from tests.utils.fake_hub import READER, WRITER, FakeHub, Fault
from tests.utils.news import make_picture, write_news_folder, write_test_lists

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table")
ROOT = Path(__file__).parents[2]
MIT = {"license": "mit"}
TRAIN = ["--use_cpu", "true", "--num_train_epochs", "1", "--per_device_train_batch_size", "8", "--report_to", "none"]
SETTINGS = {"README.md", "newsmatch.json", "config.json", "processor_config.json", "tokenizer.json"}
FILES = {*SETTINGS, "tokenizer_config.json", "model.safetensors"}
CHOSEN = {*FILES, "alpha_curve.png"}


@pytest.fixture(scope="module")
def run_folder(client, checkpoints, tmp_path_factory) -> Path:
    """A run made by the scripts, scored, with two more alphas and with what must never be published.

    The client is asked for first because it imports its libraries meanwhile.
    """
    folder = tmp_path_factory.mktemp("secret-machine")
    news = write_news_folder(folder / "news")
    write_test_lists(news, write_news_folder(folder / "later", count=10, first=50, shared=2))
    for picture in (folder / "later" / "images").iterdir():
        picture.rename(news / "images" / picture.name)
    out = folder / "out"
    data = ["--articles_file", news / "articles.tsv", "--image_dir", news / "images"]
    test = ["--test_articles_file", news / "test_articles.tsv", "--test_images", news / "test_images.tsv"]
    gold = ["--gold_file", news / "test_gold.tsv", "--output_dir", out]
    base = ["--model_name_or_path", checkpoints / "zero_shot", "--learning_rate", "3e-3", "--logits_factor", "0.942"]
    patch = pytest.MonkeyPatch()
    for name, *argv in (
        ("train", *data, *test, *gold, *base, *TRAIN),
        *((name, "--output_dir", out) for name in ("interpolate", "predict", "evaluate")),
        ("interpolate", "--output_dir", out, "--alpha", 0.2, 0.4),
    ):
        patch.setattr(sys, "argv", [name, *map(str, argv)])
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            runpy.run_path(str(ROOT / "scripts" / f"{name}.py"), run_name="__main__")
    patch.undo()
    for name in (
        "optimizer.pt",
        "training_args.bin",
        "scheduler.pt",
        "rng_state.pth",
        "trainer_state.json",
        "a.parquet",
    ):
        (out / "wise_ft" / name).write_text("not to be published")
    return out


@pytest.fixture
def experiment(run_folder) -> Experiment:
    return Experiment.open(run_folder)


def gather(experiment, license=MIT, card=None, **push) -> dict[str, dict[str, bytes]]:
    """Branch to file to content, of what a push would send."""
    arguments = PushArguments(**{"hub_model_id": "ann/news", **push})
    uploads = collect_uploads(experiment, arguments, card or CardArguments(dataset_name="Our *news*"), license)
    return {
        upload.branch: {
            name: content if isinstance(content, bytes) else content.read_bytes()
            for name, content in upload.files.items()
        }
        for upload in uploads
    }


# ---- what is published ----------------------------------------------------------------------------------------------


def test_exactly_the_files_of_a_checkpoint(experiment):
    (branch, files) = next(iter(gather(experiment).items()))
    assert branch == "main"
    assert set(files) == CHOSEN
    assert files["model.safetensors"] == (experiment.output_dir / "wise_ft" / "model.safetensors").read_bytes()


def test_nothing_of_this_machine(experiment, run_folder):
    """Neither the folder of the run, nor that of the data or the base model, nor the user's, is in any text."""
    for files in gather(experiment, family=True).values():
        for name in set(files) - {"model.safetensors"}:
            text = files[name].decode(errors="replace")
            assert "secret-machine" not in text, name
            assert str(Path.home()) not in text, name
            assert "checkpoints0" not in text, name
            assert not re.search(r"P\d+\.png|https://news", text), name
        assert b"is_local" not in files["tokenizer_config.json"]


def test_provenance(experiment):
    record = json.loads(gather(experiment)["main"]["newsmatch.json"])
    before = experiment.record.to_json()
    assert record["versions"] == before["versions"]
    assert record["base_model"] == {**before["base_model"], "id": "zero_shot"}
    file = before["data"]["files"]["articles_file"]
    assert record["data"]["files"]["articles_file"] == {"name": "articles.tsv", "sha256": file["sha256"]}
    assert record["data"]["split"] == before["data"]["split"]
    assert record["wise_ft"] == before["wise_ft"]
    assert record["recipe"]["learning_rate"] == 3e-3
    assert record["train"]["log_history"] == before["train"]["log_history"]
    assert "arguments" not in record["train"]


def test_a_family(experiment):
    branches = gather(experiment, family=True)
    assert list(branches) == ["alpha-0.20", "alpha-0.40", "alpha-1.00", "main"]
    for branch, folder in (("alpha-0.20", "wise_ft_alpha_0.20"), ("alpha-1.00", "fine_tuned"), ("main", "wise_ft")):
        weights = (experiment.output_dir / folder / "model.safetensors").read_bytes()
        assert branches[branch]["model.safetensors"] == weights
    assert "`alpha-0.20`, `alpha-0.40`" in branches["main"]["README.md"].decode()
    card = branches["alpha-0.20"]["README.md"].decode()
    assert 'revision="alpha-0.20"' in card
    assert "Our *news* (chose the epoch or alpha: optimistic)" in card


def test_an_alpha_a_tower_and_a_curve_with_its_picture(experiment, run_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    make_picture(0).save(copy / "alpha_curve.png")
    towers = Experiment.open(copy)
    made = towers.record.wise_ft
    towers.record.wise_ft = dataclasses.replace(made, alpha=None, curve=None, alpha_vision=0.25, alpha_text=0.75)
    files = gather(towers)["main"]
    assert files["alpha_curve.png"] == (copy / "alpha_curve.png").read_bytes()
    card = files["README.md"].decode()
    assert "(alpha_curve.png)" in card
    assert "alpha = 0.25 in the vision tower and 0.75 in the text tower" in card
    # a picture of a sweep that did not choose the alpha is not shown
    towers.record.wise_ft = dataclasses.replace(made, rule="given")
    assert set(gather(towers)["main"]) == FILES
    assert "given and not chosen" in gather(towers)["main"]["README.md"].decode()


@pytest.mark.parametrize("name", ["README.md", "config.json"])
@pytest.mark.parametrize("secret", ["hf_" + "x" * 34, "{home}/pictures", "{run}"])
def test_a_last_look_at_every_text(experiment, tmp_path, run_folder, name, secret):
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    secret = secret.format(home=Path.home(), run=copy)
    card = CardArguments(dataset_name=f"data of {secret}") if name == "README.md" else CardArguments()
    if name == "config.json":
        config = json.loads((copy / "wise_ft" / name).read_text())
        (copy / "wise_ft" / name).write_text(json.dumps({**config, "note": f"made in {secret}"}))
    with pytest.raises(NewsMatchError, match=f"{name} would publish"):
        gather(Experiment.open(copy), card=card)


def test_an_alpha_of_other_models_is_refused(run_folder, checkpoints, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    shutil.copytree(copy / "wise_ft_alpha_0.20", copy / "wise_ft_alpha_0.40", dirs_exist_ok=True)
    with pytest.raises(NewsMatchError, match=r"wise_ft_alpha_0.40 is not made from the models"):
        gather(Experiment.open(copy), family=True)
    assert set(gather(Experiment.open(copy))) == {"main"}


# ---- the card -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["wise_ft", "fine_tuned"])
def test_cards_go_through_the_client_and_back(experiment, run, tmp_path):
    card_args = CardArguments(base_model="me/base", datasets=["me/news"], language=["en", "de"])
    text = gather(experiment, run=run, card=card_args)["main"]["README.md"].decode()
    card = ModelCard(text)
    card.save(tmp_path / "README.md")
    again = ModelCard.load(tmp_path / "README.md")
    assert again.data.to_dict() == card.data.to_dict()
    assert again.data.eval_results == card.data.eval_results
    assert again.content == text

    data = again.data
    assert (data.license, data.library_name, data.base_model) == ("mit", "transformers", "me/base")
    assert (data.datasets, data.language) == (["me/news"], ["en", "de"])
    assert data.pipeline_tag == "zero-shot-image-classification"
    assert data.base_model_relation == {"wise_ft": "merge", "fine_tuned": "finetune"}[run]
    scores = json.loads((experiment.output_dir / "scores.json").read_text())
    expected = {
        (split, name): value["mean"]
        for split, comparison in scores.items()
        for name, value in comparison["runs"][run].items()
        if "@" in name
    }
    assert {(row.dataset_split, row.metric_type): row.metric_value for row in data.eval_results} == expected
    assert len(expected) == 12


def test_what_the_text_of_a_card_says(experiment):
    text = gather(experiment)["main"]["README.md"].decode()
    scores = json.loads((experiment.output_dir / "scores.json").read_text())["test"]["runs"]["wise_ft"]["mrr@100"]
    assert f"{scores['mean']:.3f} ({scores['low']:.3f}–{scores['high']:.3f})" in text
    alpha = experiment.record.wise_ft.alpha
    assert re.findall(r"^\| \*\*(.*?)\*\*", text, re.MULTILINE) == [f"{alpha:g}"]  # its line of the curve
    assert "| train | 32 |" in text
    assert "`zero_shot`, a checkpoint that is not on the Hub" in text
    assert "base_model:" not in text
    assert "2022-01-01 to " in text
    assert "Other settings: logits_factor 0.942." in text
    assert "{{" not in text
    assert "None" not in text
    assert experiment.record.data.files["articles_file"].sha256 in text
    for limit in ("News pictures", "Names", "Time"):
        assert f"**{limit}.**" in text


def test_nothing_of_a_record_is_markdown_or_html_in_a_card(experiment):
    """Hostile strings wherever the record and the flags have strings: the card has the same structure without them."""
    hostile = "<img src=x onerror=alert(1)> [a](https://evil.example) **b** | c\n# d"
    changed = Experiment(experiment.output_dir, copy.deepcopy(experiment.record))
    record = changed.record
    record.base_model.id = f"nobody/{hostile}"
    record.hf_newsmatch = hostile
    record.versions = {"torch": hostile, hostile: "1"}
    record.data.arguments.text_fields = ["title", hostile]
    record.data.arguments.translate, record.data.arguments.translation_model = True, hostile
    record.train.arguments |= {"lr_scheduler_type": hostile, "optim": hostile}
    record.recipe["warmup_steps"] = hostile
    record.wise_ft.rule = hostile
    for split in record.data.split.splits.values():
        split.first_date = split.last_date = hostile
    for file in record.data.files.values():
        file.path = f"/x/{hostile}"
    checkpoint = Checkpoint("wise_ft", experiment.layout.model("wise_ft"), 0.5)
    card_args = CardArguments(dataset_name=hostile, base_model=hostile)
    plain_args = CardArguments(dataset_name="news", base_model="me/base")
    kinds = []
    for whose, arguments in ((record, card_args), (experiment.record, plain_args)):
        defaults = {"warmup_steps": 0}
        card = model_card(whose, checkpoint, "ann/news", arguments, MIT, defaults, alphas={hostile: 0.2})
        tokens = [child for token in MARKDOWN.parse(card.text) for child in (token.children or [token])]
        kinds.append({token.type for token in tokens})
        links = {token.attrs.get("href") for token in tokens if token.type == "link_open"}
        assert not any("evil" in link for link in links)
        assert sum(token.type == "heading_open" for token in tokens) == 7
    assert not kinds[0] & {"html_inline", "html_block", "image"}
    # the data of the card are YAML, which keeps strings as they are
    assert model_card(record, checkpoint, "ann/news", card_args, MIT, {}).data.base_model == hostile


def test_a_model_that_was_not_scored_yet(experiment, run_folder, tmp_path):
    """As after training: the card has what the validation part said of the kept epoch."""
    shutil.copytree(run_folder, tmp_path / "copy")
    (tmp_path / "copy" / "scores.json").unlink()
    card = ModelCard(gather(Experiment.open(tmp_path / "copy"), run="fine_tuned")["main"]["README.md"].decode())
    (row,) = [row for row in experiment.record.train.log_history if "eval_mrr@100" in row]
    assert {result.dataset_split for result in card.data.eval_results} == {"validation"}
    assert card.data.eval_results[0].metric_value == row["eval_mrr@100"]
    assert "optimistic" in card.text


def test_stale_scores_are_refused(run_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    scores = json.loads((copy / "scores.json").read_text())
    scores["test"]["runs"]["wise_ft"]["mrr@100"]["mean"] += 0.01
    (copy / "scores.json").write_text(json.dumps(scores))
    with pytest.raises(NewsMatchError, match=r"`hf-newsmatch evaluate` again"):
        gather(Experiment.open(copy))


def test_a_stale_model_is_refused(run_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    experiment = Experiment.open(copy)
    experiment.record.train.sha256 = "0" * 64
    with pytest.raises(NewsMatchError, match=r"`hf-newsmatch interpolate` first"):
        gather(experiment)


# ---- the licence ----------------------------------------------------------------------------------------------------


def test_the_licence_is_the_bases(experiment, checkpoints, tmp_path):
    assert find_license(experiment.record.base_model, CardArguments(license="gpl-3.0")) == {"license": "gpl-3.0"}
    with pytest.raises(NewsMatchError, match="names no licence; name it with --license"):
        find_license(experiment.record.base_model, CardArguments())
    base = tmp_path / "base"
    shutil.copytree(checkpoints / "zero_shot", base)
    experiment.record.base_model.id = str(base)
    (base / "README.md").write_text("---\nlicense: other\nlicense_name: ours\nlicense_link: LICENSE\n---\n# Base\n")
    expected = {"license": "other", "license_name": "ours", "license_link": "LICENSE"}
    assert find_license(experiment.record.base_model, CardArguments()) == expected
    (base / "README.md").write_text("---\nlicense: [broken\n---\n")
    with pytest.raises(NewsMatchError, match="names no licence"):
        find_license(experiment.record.base_model, CardArguments())
    experiment.record.base_model.id = "demo"
    assert find_license(experiment.record.base_model, CardArguments()) == {"license": "apache-2.0"}
    experiment.record.base_model.id = "nobody/never-downloaded"
    with pytest.raises(NewsMatchError, match=r"cannot be read .*--license"):
        find_license(experiment.record.base_model, CardArguments())


# ---- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [None, "news", "ann/news/more", "ann/--", "ann/a b"])
def test_names_that_are_no_repository(name):
    with pytest.raises(NewsMatchError, match="hub_model_id"):
        check_repo_id(name)


def test_trainer_never_pushes_by_itself(tmp_path):
    args = ContrastiveTrainingArguments(
        tmp_path, use_cpu=True, push_to_hub=True, hub_model_id="ann/news", hub_token=WRITER, hub_private_repo=False
    )
    push = take_push(args)
    assert (push.hub_model_id, push.hub_token, push.hub_private_repo, push.run) == (
        "ann/news",
        WRITER,
        False,
        "fine_tuned",
    )
    assert (args.push_to_hub, args.hub_token) == (False, None)
    args = ContrastiveTrainingArguments(tmp_path, use_cpu=True, hub_token=WRITER)
    assert take_push(args) is None
    assert args.hub_token is None


@pytest.mark.parametrize("flag", [{"hub_strategy": "checkpoint"}, {"hub_always_push": True}])
def test_strategies_without_meaning_are_refused(tmp_path, flag):
    assert TrainingArguments(tmp_path, use_cpu=True, **flag)
    with pytest.raises(ValueError, match="leave it out"):
        ContrastiveTrainingArguments(tmp_path, use_cpu=True, **flag)


# ---- over HTTP ------------------------------------------------------------------------------------------------------


class Client:
    """The process of `hub_client.py`, and the Hub that it talks to."""

    def __init__(self, process: subprocess.Popen, hub: FakeHub):
        self.process, self.hub = process, hub

    def ask(self, token: str | None = WRITER, **request) -> tuple[int, str, str]:
        env = {"HF_TOKEN": token} if token else {}
        self.process.stdin.write(json.dumps({"env": env, **request}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer["code"], answer["out"], answer["err"]

    def push(self, folder, *argv, repo="ann/news", license="mit", **request) -> tuple[int, str, str]:
        flags = ["--output_dir", folder, "--hub_model_id", repo, "--license", license]
        return self.ask(script="push_to_hub", argv=[str(value) for value in (*flags, *argv)], **request)

    def load(self, repo_id: str, folder: Path, revision: str | None = None) -> dict[str, torch.Tensor]:
        """The weights that `from_pretrained` finds on the Hub."""
        code = f"""
from safetensors.torch import save_file
from transformers import CLIPModel, CLIPProcessor
CLIPProcessor.from_pretrained({repo_id!r}, revision={revision!r}, backend="pil")
model = CLIPModel.from_pretrained({repo_id!r}, revision={revision!r})
save_file({{name: value.contiguous() for name, value in model.state_dict().items()}}, {str(folder / "loaded")!r})
"""
        code, _, err = self.ask(code=code)
        assert code == 0, err
        return load_file(folder / "loaded")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with FakeHub() as hub:
        home = tmp_path_factory.mktemp("home")
        env = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "TRANSF"))}
        env |= {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
        env |= {
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT), *sys.path[1:]]),
        }
        worker = [sys.executable, str(ROOT / "tests" / "utils" / "hub_client.py")]
        with (
            open(home / "log", "w") as log,
            subprocess.Popen(
                worker, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=env, text=True
            ) as process,
        ):
            yield Client(process, hub)
            process.stdin.close()


@pytest.fixture
def hub(client) -> FakeHub:
    client.hub.repos.clear()
    client.hub.objects.clear()
    client.hub.requests.clear()
    client.hub.faults.clear()
    client.hub.room = None
    return client.hub


def test_up_and_back_bit_for_bit(client, hub, run_folder, tmp_path):
    code, _, err = client.push(run_folder, "--family")
    assert code == 0, err
    assert WRITER not in err
    assert hub.repos["ann/news"].private
    assert set(hub.repos["ann/news"].branches) == {"main", "alpha-0.20", "alpha-0.40", "alpha-1.00"}
    assert set(hub.files("ann/news")) == {*CHOSEN, ".gitattributes"}
    for branch, folder in ((None, "wise_ft"), ("alpha-0.20", "wise_ft_alpha_0.20"), ("alpha-1.00", "fine_tuned")):
        there, here = client.load("ann/news", tmp_path, branch), load_file(run_folder / folder / "model.safetensors")
        assert there.keys() == here.keys()
        assert all(torch.equal(there[name], here[name]) for name in here)

    # the same again changes nothing
    commits = {name: commit.oid for name, commit in hub.repos["ann/news"].branches.items()}
    assert client.push(run_folder, "--family")[0] == 0
    assert {name: commit.oid for name, commit in hub.repos["ann/news"].branches.items()} == commits

    # the two snippets of the card, as they stand, in a folder with such pictures
    card = hub.files("ann/news")["README.md"].decode()
    plain, matcher = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    for seed, name in enumerate(("harbour.jpg", "stadium.jpg")):
        make_picture(seed).save(tmp_path / name, quality=95)
    code, out, err = client.ask(
        code=f"import os\nos.chdir({str(tmp_path)!r})\n{plain}\nprint(scores.tolist())\n{matcher}"
    )
    assert code == 0, err
    *_, plain_scores, ranked = out.splitlines()
    plain_scores, (names, scores) = eval(plain_scores)[0], eval(ranked.replace("] [", "], ["))
    assert scores == pytest.approx(sorted(plain_scores, reverse=True), abs=1e-6)
    assert (
        names
        == sorted(["harbour.jpg", "stadium.jpg"], key=dict(zip(["harbour.jpg", "stadium.jpg"], plain_scores)).get)[
            ::-1
        ]
    )


SHOW = """
import json, os
os.chdir({base!r})
from hf_newsmatch.configs import AppArguments
from hf_newsmatch.explorer.explorer import open_explorer
shown = open_explorer(AppArguments(hub_model_id="ann/news", articles_file={articles!r}))
ranks = {{alpha: [hit.image_id for hit in shown.rank("title 7", alpha, 20)] for alpha in shown.models.alphas}}
print(json.dumps([shown.models.start, shown.models.step, ranks, shown.texts[0]]))
"""


def test_a_family_as_the_page_in_app_takes_it(client, hub, run_folder, checkpoints, tmp_path):
    """What was pushed ranks as what is here, whether it was published or is made of the two ends."""
    articles = str(run_folder.parent / "news" / "articles.tsv")
    show = SHOW.format(base=str(checkpoints), articles=articles)  # a base from a folder is published by its name
    assert "not on the Hub" in client.ask(code=show)[2]
    assert client.push(run_folder)[0] == 0
    record = hub.files("ann/news").pop("newsmatch.json")
    assert "ann/news has no newsmatch.json of a run" in client.ask(code=show)[2]
    hub.files("ann/news")["newsmatch.json"] = record
    assert "ann/news has no branch alpha-1.00" in client.ask(code=show)[2]
    assert client.push(run_folder, "--family")[0] == 0
    code, out, err = client.ask(code=show)
    assert code == 0, err
    start, step, ranks, text = json.loads(out)
    assert start == Experiment.open(run_folder).record.wise_ft.alpha
    assert (step, len(ranks)) == (0.1, 11)
    shutil.copytree(run_folder, tmp_path / "copy")
    here = open_explorer(AppArguments(output_dir=str(tmp_path / "copy"), articles_file=articles))
    for alpha, image_ids in ranks.items():
        assert [hit.image_id for hit in here.rank("title 7", float(alpha), 20)] == image_ids
    assert text == here.texts[0]


def test_dry_run_sends_nothing(client, hub, run_folder, experiment):
    code, out, err = client.push(run_folder, "--dry_run", "--family", token=None)
    assert code == 0, err
    assert hub.requests == []
    branches = gather(experiment, family=True, card=CardArguments())
    tables = re.findall(r"branch (\S+)(.*?)└", out, re.DOTALL)
    listed = {branch: set(re.findall(r"│ (\S+\.\S+) ", table)) for branch, table in tables}
    assert listed == {branch: set(files) for branch, files in branches.items()}
    assert branches["main"]["README.md"].decode() in out


def test_a_push_that_broke_off_is_repeated(client, hub, run_folder, tmp_path):
    """One error that the client itself mends, one that it does not, in the middle of several branches."""
    hub.faults += [Fault("PUT", "/_lfs/", 503), Fault("POST", "/commit/alpha-1.00", 502)]
    code, _, err = client.push(run_folder, "--family")
    assert code == 2
    assert "The Hub had a problem of its own, status 502" in err
    assert "push again, what arrived is not sent twice" in err
    assert "Traceback" not in err
    assert set(hub.files("ann/news", "alpha-0.40")) == {*FILES, ".gitattributes"}
    # what is not there yet is empty, and not another alpha's weights
    assert set(hub.files("ann/news", "alpha-1.00")) == set(hub.files("ann/news")) == {".gitattributes"}

    hub.requests.clear()
    assert client.push(run_folder, "--family")[0] == 0
    puts = [path for method, path in hub.requests if method == "PUT"]
    assert len(puts) == 1  # of main; the others' weights had arrived
    weights = (run_folder / "fine_tuned" / "model.safetensors").read_bytes()
    assert hub.files("ann/news", "alpha-1.00")["model.safetensors"] == weights


def test_an_earlier_checkpoint_leaves_nothing_behind(client, hub, run_folder):
    repo = hub.create("ann/news", private=True)
    own = {"figure.png": b"png", ".gitattributes": b"", "notes/model.safetensors": b"own"}
    shards = {"model-00001-of-00002.safetensors": b"1", "model.safetensors.index.json": b"{}", "vocab.json": b"{}"}
    hub.commit(repo, "main", "before", {**own, **shards})
    assert client.push(run_folder)[0] == 0
    assert set(hub.files("ann/news")) == {*CHOSEN, *own}


@pytest.mark.parametrize(
    ("fault", "flags", "token", "sentence"),
    [
        (None, {}, None, "There is no token for the Hub; log in"),
        (None, {}, "hf_" + "z" * 34, "The Hub does not know the token"),
        (None, {}, READER, "The token may not write to ann/news"),
        (None, {"repo": "eve/news"}, WRITER, "The token may not write to eve/news"),
        (Fault("PUT", "/_lfs/", 403, "Private repository storage limit reached"), {}, WRITER, "The Hub has no room"),
        (Fault("POST", "/info/lfs/", 413, "Too large"), {}, WRITER, "The Hub has no room for ann/news (Too large)"),
        (Fault("POST", "/commit/", 500), {}, WRITER, "The Hub had a problem of its own, status 500"),
        (Fault("GET", "/api/models/", 404), {}, WRITER, "is not on the Hub, or the token may not see it"),
        (None, {"license": ""}, WRITER, "names no licence; name it with --license"),
        (
            None,
            {"license": "ours"},
            WRITER,
            'The Hub refuses ann/news: Invalid metadata in README.md. - "license" must',
        ),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(client, hub, run_folder, fault, flags, token, sentence):
    hub.faults += [fault] if fault else []
    code, _, err = client.push(run_folder, token=token, **flags)
    assert code == 2
    last = err.strip().splitlines()[-1]
    assert sentence in last, err
    assert "Traceback" not in err
    assert not token or token not in err
    assert not any("model.safetensors" in commit.files for r in hub.repos.values() for commit in r.commits.values())


def test_no_room_for_a_family(client, hub, run_folder):
    """The second checkpoint does not fit any more; with more room, the rest follows."""
    size = (run_folder / "wise_ft" / "model.safetensors").stat().st_size
    hub.room = size + size // 2
    code, _, err = client.push(run_folder, "--family")
    assert code == 2
    assert "The Hub has no room for ann/news" in err.splitlines()[-1]
    assert "Storage quota exceeded" in err
    assert len(hub.objects) == 1
    hub.room = 4 * size
    assert client.push(run_folder, "--family")[0] == 0
    assert len(hub.objects) == 4


def test_a_public_repository_is_not_written_to_by_mistake(client, hub, run_folder):
    hub.create("ann/news", private=False)
    code, _, err = client.push(run_folder)
    assert code == 2
    assert "is there and public: say so with --hub_private_repo false" in err
    assert set(hub.files("ann/news")) == {".gitattributes"}
    assert client.push(run_folder, "--hub_private_repo", "false")[0] == 0
    assert set(hub.files("ann/news")) == {*CHOSEN, ".gitattributes"}


def test_without_a_network(client, run_folder):
    for patch, sentence in (
        ("constants.HF_HUB_OFFLINE = True", "offline mode is on; unset HF_HUB_OFFLINE"),
        ("constants.ENDPOINT = 'http://127.0.0.1:9'", "http://127.0.0.1:9 cannot be reached (ConnectError)"),
    ):
        code = f"""
from huggingface_hub import constants, close_session, hf_api
before = constants.HF_HUB_OFFLINE, constants.ENDPOINT
{patch}
close_session()
from hf_newsmatch.hub.push import open_repo
try:
    open_repo("ann/news")
finally:
    constants.HF_HUB_OFFLINE, constants.ENDPOINT = before
    close_session()
"""
        _, _, err = client.ask(code=code)
        assert "NewsMatchError: " in err
        assert sentence in err.splitlines()[-1]


def test_training_publishes_as_the_command_does(client, hub, run_folder, checkpoints, tmp_path):
    news = run_folder.parent / "news"
    data = ["--articles_file", news / "articles.tsv", "--model_name_or_path", checkpoints / "zero_shot"]
    out = ["--output_dir", tmp_path / "out", "--push_to_hub", "--hub_token", WRITER, *TRAIN]
    argv = [str(value) for value in (*data, *out)]

    # what would stop the push stops the training before it starts
    code, _, err = client.ask(script="train", argv=argv, token=None)
    assert code == 2
    assert "--hub_model_id" in err
    code, _, err = client.ask(script="train", argv=[*argv, "--hub_model_id", "ann/trained"], token=None)
    assert code == 2
    assert "--license" in err
    assert not list((tmp_path / "out").glob("checkpoint-*"))

    flags = ["--hub_model_id", "ann/trained", "--license", "mit"]
    code, _, err = client.ask(script="train", argv=argv + flags, token=None)
    assert code == 0, err
    assert WRITER not in err
    assert set(hub.files("ann/trained")) == {*FILES, ".gitattributes"}
    assert commit_titles(hub, "ann/trained") == ["Upload with hf-newsmatch", "initial commit"]
    weights = (tmp_path / "out" / "fine_tuned" / "model.safetensors").read_bytes()
    assert hub.files("ann/trained")["model.safetensors"] == weights
    for file in (tmp_path / "out").rglob("*"):
        assert not file.is_file() or WRITER.encode() not in file.read_bytes(), file


def commit_titles(hub: FakeHub, repo_id: str) -> list[str]:
    titles, commit = [], hub.repos[repo_id].branches["main"]
    while commit:
        titles.append(commit.title)
        commit = commit.parent
    return titles


# ---- from Python ----------------------------------------------------------------------------------------------------

TRAINER = """
from pathlib import Path
from hf_newsmatch import ContrastiveTrainer, ContrastiveTrainingArguments
from tests.utils.news import make_pairs

folder = Path({folder!r})
pairs = make_pairs(folder, 12)
args = ContrastiveTrainingArguments(
    str(folder / "out"), use_cpu=True, num_train_epochs=1, per_device_train_batch_size=4, learning_rate=1e-3,
    push_to_hub={at_once}, hub_model_id="ann/news", hub_token={token!r}, hub_private_repo={private},
    disable_tqdm=True, report_to="none",
)
trainer = ContrastiveTrainer({base!r}, args, train_dataset=pairs, eval_dataset=pairs)
trainer.train()
print(trainer.push_to_hub({arguments}))
"""


@pytest.fixture
def push_trainer(client, checkpoints, tmp_path):
    (tmp_path / "secret-machine").mkdir()

    def push(arguments='license="mit", dataset="Our news"', token=WRITER, at_once=True, private=None):
        base = str(checkpoints / "zero_shot")
        folder = str(tmp_path / "secret-machine")
        values = {"base": base, "token": token, "at_once": at_once, "private": private, "arguments": arguments}
        return client.ask(code=TRAINER.format(folder=folder, **values), token=None)

    return push


@pytest.mark.parametrize("at_once", [True, False])
def test_a_trainer_publishes_the_checkpoint_its_card_and_its_provenance_alone(hub, push_trainer, tmp_path, at_once):
    code, out, err = push_trainer(at_once=at_once)
    assert code == 0, err
    assert out.strip().splitlines()[-1].endswith("/ann/news")
    assert hub.repos["ann/news"].private
    files = hub.files("ann/news")
    assert set(files) - {".gitattributes"} == FILES
    for name in set(files) - {"model.safetensors"}:
        text = files[name].decode()
        assert WRITER not in text, name
        assert "secret-machine" not in text, name
    # neither what is published nor what stays here holds the token
    for file in (tmp_path / "secret-machine" / "out").rglob("*"):
        assert not file.is_file() or WRITER.encode() not in file.read_bytes(), file
    card = ModelCard(files["README.md"].decode())
    assert card.data.license == "mit"
    assert "Data: Our news." in card.text
    assert "| train | 12 | 12 |" in card.text
    assert "learning rate 0.001" in card.text
    record = json.loads(files["newsmatch.json"])
    assert record["train"]["sha256"] == hashlib.sha256(files["model.safetensors"]).hexdigest()
    assert card.data.eval_results[0].dataset_split == "validation"


def test_a_trainer_whose_push_cannot_work_says_so_before_it_trains(hub, push_trainer, tmp_path):
    hub.create("ann/news", private=False)
    code, _, err = push_trainer()
    assert code == 1
    assert "ann/news is there and public" in err
    assert not list((tmp_path / "secret-machine").rglob("checkpoint-*"))
    code, _, err = push_trainer(private=False)
    assert code == 0, err
    assert "model.safetensors" in hub.files("ann/news")


def test_a_trainer_without_a_licence_sends_nothing(hub, push_trainer):
    code, _, err = push_trainer("")
    assert code == 1
    assert "names no licence" in err
    assert "model.safetensors" not in hub.files("ann/news")


def test_a_checkpoint_of_a_training_is_never_pushed(hub, push_trainer):
    assert push_trainer()[0] == 0
    assert len(hub.repos["ann/news"].commits) == 2, "the repository's first, and the model's"


def test_a_matcher_publishes_what_it_ranks_with(client, hub, checkpoints, tmp_path):
    base = tmp_path / "secret-machine"
    shutil.copytree(checkpoints / "fine_tuned", base)
    (base / "optimizer.pt").write_text("not to be published")
    code = f"""
from hf_newsmatch import NewsMatcher
print(NewsMatcher.from_pretrained({str(base)!r}).push_to_hub("ann/news", license="mit"))
"""
    exit_code, out, err = client.ask(code=code)
    assert exit_code == 0, err
    assert out.strip().endswith("/ann/news")
    assert hub.repos["ann/news"].private
    files = hub.files("ann/news")
    assert set(files) - {".gitattributes"} == FILES - {"newsmatch.json"}
    assert "are not recorded here" in files["README.md"].decode()
    assert "secret-machine" not in "".join(files[name].decode() for name in set(files) - {"model.safetensors"})
    weights = load_file(base / "model.safetensors")
    loaded = client.load("ann/news", tmp_path)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in weights.items())

    # the card of the folder goes along, unless it tells of this machine
    (base / "README.md").write_text("---\nlicense: mit\n---\n# Our model")
    assert client.ask(code=code)[0] == 0
    assert hub.files("ann/news")["README.md"] == b"---\nlicense: mit\n---\n# Our model"
    (base / "README.md").write_text(f"# Made in {base}")
    exit_code, _, err = client.ask(code=code)
    assert exit_code == 1
    assert "README.md would publish the path" in err


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "clip"])
def test_each_architecture_goes_up_and_comes_back(client, hub, tmp_path, name):
    """By plain transformers, and by the matcher."""
    model, processor = make_tiny(name)
    save_checkpoint(model, processor, tmp_path / "model")
    repo = f"ann/{name}"
    code = f"""
import json
from transformers import AutoModel
from hf_newsmatch import NewsMatcher
NewsMatcher.from_pretrained({str(tmp_path / "model")!r}).push_to_hub({repo!r}, license="mit")
plain = AutoModel.from_pretrained({repo!r}, cache_dir={str(tmp_path / "cache")!r})
sums = {{key: value.double().sum().item() for key, value in plain.state_dict().items()}}
texts = NewsMatcher.from_pretrained({repo!r}).embed_texts(["A storm", "b"])
print(json.dumps([type(plain).__name__, sums, texts.tolist()]))
"""
    exit_code, out, err = client.ask(code=code)
    assert exit_code == 0, err
    kind, sums, texts = json.loads(out.splitlines()[-1])
    assert kind == ARCHITECTURES[name].model
    assert sums == {key: value.double().sum().item() for key, value in model.state_dict().items()}
    assert torch.equal(torch.tensor(texts), embed_texts(*load_model(tmp_path / "model"), ["A storm", "b"]))
    card = hub.files(repo)["README.md"].decode()
    assert f"from transformers import {kind}, {ARCHITECTURES[name].processor}" in card
    assert f"pipeline_tag: {ARCHITECTURES[name].pipeline_tag}" in card
