"""The report in a real browser: what it shows, that its controls work, and that it harms and asks nobody."""

import json
import subprocess
import sys
from pathlib import Path

import PIL.Image
import pytest

from hf_newsmatch import load_gold, read_predictions
from hf_newsmatch.report import page
from tests.browser.conftest import DESKTOP, PHONE
from tests.utils.reported_run import PICTURE, TITLE, make_run

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, checkpoints) -> Path:
    """A run with a report; a picture and all titles are as bad as can be."""
    experiment = make_run(tmp_path_factory.mktemp("report"), checkpoints, hostile=True)
    with pytest.MonkeyPatch.context() as patch:
        # the readers strip markup: as if they had let it pass
        patch.setattr(page, "join_text", lambda row, fields: f"{TITLE} {row['title']}")
        page.write_report(experiment, progress=False)
    return experiment.output_dir


@pytest.fixture
def report(run_folder, visit):
    """The report from disk, its list of cases open."""

    def report(size=DESKTOP, **options):
        made = visit((run_folder / "report" / "index.html").as_uri(), size, **options)
        made.page.locator("#cases").scroll_into_view_if_needed()
        made.page.locator(".case").first.wait_for()
        return made

    return report


def cases(page) -> list[str]:
    return page.locator(".case h3").all_text_contents()


def test_every_article_can_be_found(report, run_folder):
    made = report()
    page = made.page
    page.locator("#kind").select_option("all articles")
    gold = load_gold(run_folder / "runs/test/gold.tsv")
    while page.get_by_role("button", name="Show more").is_visible():
        page.get_by_role("button", name="Show more").click()
    assert cases(page) == list(gold)
    assert page.locator("#status").inner_text() == f"{len(gold)} of {len(gold)} articles"

    # the true picture of each list is marked, where it is among those shown
    ranking = read_predictions(run_folder / "runs/test/wise_ft.tsv")
    shown = sum(gold[article_id] in names[:5] for article_id, names in zip(ranking.article_ids, ranking.image_ids))
    assert page.locator(".run", has_text="wise_ft").locator(".picture.right").count() == shown > 0
    page.locator(".case img").last.scroll_into_view_if_needed()
    page.wait_for_function("() => [...document.querySelectorAll('.case img')].at(-1).naturalWidth > 0")
    made.assert_quiet()


def test_search_and_filters(report, run_folder):
    page = report().page
    page.locator("#kind").select_option("all articles")
    page.get_by_label("search").fill("p103")
    gold = load_gold(run_folder / "runs/test/gold.tsv")
    assert cases(page) == [article_id for article_id, image_id in gold.items() if image_id == "P103"]
    page.get_by_label("search").fill("nothing of the kind")
    assert page.locator("#status").inner_text() == "No article fits."
    page.get_by_label("search").fill("")
    page.locator("#dimensions label", has_text="picture").locator("select").select_option("of several articles")
    found = page.locator(".case .quiet").all_text_contents()
    assert len(found) == 10
    assert all("of several articles" in text for text in found)
    page.locator("#part").select_option("validation")
    page.locator(".case", has_text="2022").first.wait_for()
    counted = len(load_gold(run_folder / "runs/validation/gold.tsv"))
    page.locator("#kind").select_option("all articles")
    assert page.locator("#status").inner_text() == f"{counted} of {counted} articles"


def test_kinds_of_cases(report, run_folder):
    page = report().page
    data = json.loads((run_folder / "report/data/test.js").read_text().partition(",")[2].removesuffix(");\n"))
    for kind in ("repaired", "lost", "gains"):
        page.locator("#kind").select_option(kind)
        expected = [data["articles"][article]["id"] for article, _ in data["cases"][kind]]
        assert expected
        assert cases(page) == expected[:12]


def test_what_the_data_say_does_nothing(report):
    made = report()
    page = made.page
    page.locator("#kind").select_option("")
    page.get_by_label("search").fill(PICTURE)
    assert page.locator(".case p").first.inner_text().startswith(TITLE)
    assert PICTURE in page.locator(".truth").first.inner_text()
    assert page.locator("img[src='x']").count() == 0
    assert page.locator("main script").count() == 0
    made.assert_quiet()


def test_keys_alone_reach_everything(report):
    page = report().page
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.textContent") == "Skip to the content"
    page.locator("#kind").select_option("all articles")
    reached = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("() => document.activeElement.id"))
        if "more" in reached:
            break
    assert {"part", "kind", "search", "more"} <= reached
    before = len(cases(page))
    page.keyboard.press("Enter")
    assert len(cases(page)) > before
    # it goes on where the new ones begin
    assert page.evaluate("() => document.activeElement.className") == "case"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_it_is_accessible_and_fits(report, axe, size, scheme):
    made = report(size, color_scheme=scheme)
    made.page.locator("#kind").select_option("")
    assert axe(made) == []
    assert made.overflow() == []
    assert made.page.evaluate("() => document.documentElement.scrollWidth") == size[0]
    ground = made.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")


def test_it_prints(report):
    made = report()
    made.page.emulate_media(media="print")
    assert not made.page.locator("#filters").is_visible()
    assert made.page.get_by_role("table").first.is_visible()
    assert made.page.pdf().startswith(b"%PDF")


def test_a_picture_of_it(run_folder, tmp_path):
    script = Path(__file__).parents[2] / "scripts" / "screenshot.py"
    report, picture = run_folder / "report" / "index.html", tmp_path / "cases.png"
    command = [sys.executable, script, report, picture, "--selector", "#cases", "--width", "500"]
    subprocess.run(command, check=True)
    with PIL.Image.open(picture) as shown:
        assert (shown.format, shown.size) == ("PNG", (500, 900))
        assert len(shown.getcolors(2**20)) > 100
    for file, selector, message in ((report.with_name("none.html"), "#cases", "no page"), (report, "#x", "cannot be")):
        flags = [file, tmp_path / "no.png", "--selector", selector, "--timeout", "1"]
        refused = subprocess.run([*command[:2], *flags], capture_output=True, text=True)
        assert refused.returncode == 2
        assert message in refused.stderr
        assert "Traceback" not in refused.stderr
    assert not (tmp_path / "no.png").exists()
