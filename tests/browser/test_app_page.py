"""The page of `app/` in a real browser, on a small run: what it shows is what `rank` gives."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from hf_newsmatch import load_clip, rank_articles
from hf_newsmatch.experiment.folder import Experiment
from tests.utils.explored_run import make_run

from .conftest import PHONE

pytestmark = pytest.mark.browser

APP = Path(__file__).parents[2] / "app" / "app.py"
# what is left of markup when a list was read, and what can be typed
TITLE = "<custom onerror=alert(1)> <svg/onload=alert(2)// \"both\" 'quotes' [link](javascript:alert(3))"
TYPED = "<script>alert(4)</script> <img src=x onerror=alert(5)>"
PICTURE = "P5'><img src=x onerror=alert(6)>"
COLUMNS = ("zero_shot", "wise_ft", "fine_tuned")


@pytest.fixture(scope="module")
def experiment(checkpoints, tmp_path_factory) -> Experiment:
    cells = {"Title 657": TITLE, "P103": PICTURE}  # of one article and its picture
    return make_run(tmp_path_factory.mktemp("run"), checkpoints, cells, alpha=0.4)


@pytest.fixture(scope="module")
def address(experiment, tmp_path_factory):
    """Of the page, in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder, address = tmp_path_factory.mktemp("app"), f"http://127.0.0.1:{port}/"
    env = {**os.environ, "GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(folder / "gradio")}
    env |= {"NEWSMATCH_K": "4", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(APP), "--output_dir", str(experiment.output_dir)]
    with (
        open(folder / "log", "w") as log,
        subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=subprocess.STDOUT) as process,
    ):
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(address).close()
                    break
                except OSError:
                    assert process.poll() is None, (folder / "log").read_text()
                    time.sleep(0.1)
            yield address
        finally:
            process.terminate()


@pytest.fixture
def page(visit, address):
    """The page, with its first article ranked; at the end, nothing must have gone wrong in it."""
    made = visit(address)
    made.page.wait_for_selector("#fine_tuned img")
    yield made.page
    assert_quiet(made)


def assert_quiet(made) -> None:
    # Gradio's client lets go of its stream of events when none is awaited any more
    let_go = re.compile(r"http://127\.0\.0\.1:\d+/gradio_api/queue/data\?session_hash=\w+: net::ERR_ABORTED")
    made.errors[:] = [error for error in made.errors if not let_go.fullmatch(error)]
    made.assert_quiet()


def shown(page, column: str) -> list[str]:
    """The captions of a model's pictures."""
    return [image.get_attribute("alt") for image in page.query_selector_all(f"#{column} img")]


def expected(experiment: Experiment, model: str, text: str, true: str | None = None, k: int = 4) -> list[str]:
    part = experiment.data().splits["test"]
    articles = part.articles.select([0]).map(lambda _: {"title": text, "text": ""})
    ranking = rank_articles(*load_clip(model), articles, part.images, progress=False)
    rows = enumerate(zip(ranking.image_ids[0], ranking.scores[0]), 1)
    return [
        f"{'✓ ' if image_id == true else ''}{rank}. {score:.3f} {image_id}"
        for rank, (image_id, score) in rows
        if rank <= k or image_id == true
    ]


def wait_for(page, column: str, captions: list[str]) -> None:
    for _ in range(100):
        if shown(page, column) == captions:
            return
        page.wait_for_timeout(100)
    assert shown(page, column) == captions


def choose(page, title: str) -> None:
    box = page.get_by_label("Article")
    box.click()
    box.fill(title)
    page.get_by_role("option", name=title, exact=True).click()


def test_an_article_is_chosen(page, experiment):
    part = experiment.data().splits["test"]
    row = part.articles[5]
    choose(page, row["title"])
    text, true = f"{row['title']}. {row['text']}", part.gold[row["article_id"]]
    for column in COLUMNS:
        captions = expected(experiment, experiment.checkpoint(column), text, true)
        wait_for(page, column, captions)
        rank = next(caption for caption in captions if "✓" in caption).split()[1].rstrip(".")
        assert f"true picture at rank {rank} of 18" in page.inner_text(f"#{column}_heading")
    assert page.get_by_label("Headline").input_value() == text
    assert all(
        page.evaluate("[...document.images].map((image) => image.complete && image.naturalWidth > 0 && !!image.alt)")
    )


def test_a_headline_is_typed(page, experiment):
    """It is ranked as it is typed, and the mark of the article that was chosen before goes."""
    assert any("✓" in caption for caption in shown(page, "zero_shot"))
    page.get_by_label("Headline").fill("title 7")
    for column in COLUMNS:
        wait_for(page, column, expected(experiment, experiment.checkpoint(column), "title 7"))
        assert "true picture" not in page.inner_text(f"#{column}_heading")
    assert page.get_by_label("Article").input_value() == ""
    page.get_by_label("Headline").fill("  ")
    for column in COLUMNS:
        wait_for(page, column, [])
    assert page.get_by_text("Type a headline, or choose an article.", exact=True).is_visible()


def test_the_slider_moves_with_the_keyboard(page, experiment):
    page.get_by_label("Headline").fill("title 7")
    slider = page.get_by_label("range slider for alpha")
    assert slider.input_value() == "0.4"  # the run's
    heading = page.locator("#wise_ft_heading h3")
    assert heading.inner_text() == "WiSE-FT, alpha 0.4"
    wait_for(page, "fine_tuned", expected(experiment, experiment.checkpoint("fine_tuned"), "title 7"))
    others = {column: expected(experiment, experiment.checkpoint(column), "title 7") for column in COLUMNS}
    slider.press("ArrowLeft")
    heading.filter(has_text=re.compile("alpha 0.3$")).wait_for()
    made = experiment.output_dir / "wise_ft_alpha_0.30"
    wait_for(page, "wise_ft", expected(experiment, str(made), "title 7"))
    for column in ("zero_shot", "fine_tuned"):
        assert shown(page, column) == others[column]
    slider.press("End")
    wait_for(page, "wise_ft", others["fine_tuned"])
    number = page.get_by_label("number input for alpha")
    number.fill("0")
    number.press("Enter")
    wait_for(page, "wise_ft", others["zero_shot"])
    assert {folder.name for folder in experiment.output_dir.glob("wise_ft*")} == {"wise_ft", made.name}


def test_hostile_texts_do_nothing(page, experiment):
    part = experiment.data().splits["test"]
    (row,) = [row for row in part.articles if row["title"] == TITLE]
    choose(page, TITLE)
    for column in COLUMNS:
        captions = expected(experiment, experiment.checkpoint(column), f"{TITLE}. {row['text']}", PICTURE)
        wait_for(page, column, captions)
        assert any(caption.startswith("✓") and caption.endswith(PICTURE) for caption in captions)
    page.click("#zero_shot img[alt*='onerror']")  # its large view
    page.get_by_label("Close").first.wait_for()
    page.get_by_label("Headline").fill(TYPED)
    wait_for(page, "fine_tuned", expected(experiment, experiment.checkpoint("fine_tuned"), TYPED))
    assert page.locator("[onerror]").count() == 0


def test_on_a_phone(visit, address):
    made = visit(address, PHONE)
    made.page.wait_for_selector("#fine_tuned img")
    assert made.overflow() == []
    boxes = [made.page.locator(f"#{column}").bounding_box() for column in COLUMNS]
    assert boxes[0]["y"] < boxes[1]["y"] < boxes[2]["y"]  # below one another
    assert all(box["width"] > 300 for box in boxes)
    # the gallery's own box would cut off what reaches beyond it
    for column, box in zip(COLUMNS, boxes):
        for thumbnail in made.page.locator(f"#{column} button:has(img)").all():
            inside = thumbnail.bounding_box()
            assert box["x"] <= inside["x"] < inside["x"] + inside["width"] <= box["x"] + box["width"] - 4
    assert_quiet(made)
