"""The report as a reader gets it: its files are parsed and its numbers computed again from the prediction files."""

import json
import re
import runpy
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import scipy.stats

from hf_newsmatch import NewsMatchError
from hf_newsmatch.experiment.folder import Experiment
from hf_newsmatch.experiment.record import InterpolatedRecord
from hf_newsmatch.report import facts, gallery, page
from hf_newsmatch.report.tables import best_run
from tests.utils.reported_run import PICTURE, RERANKED, RUNS, TITLE, make_run

SCRIPT = Path(__file__).parents[2] / "scripts" / "report.py"


class Page(HTMLParser):
    """The elements of a page, and its tables by name as lists of rows of texts."""

    def __init__(self, html: str):
        super().__init__()
        self.elements, self.tables, self.text = [], {}, []
        self._table, self._cell = None, None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.elements.append((tag, attrs))
        if tag == "figure":
            self._table = self.tables.setdefault(attrs.get("id"), [])
        elif tag == "tr":
            self._table.append([])
        elif tag in ("td", "th"):
            self._cell = []

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._table[-1].append(" ".join("".join(self._cell).split()))
            self._cell = None

    def handle_data(self, data):
        self.text.append(data)
        if self._cell is not None:
            self._cell.append(data)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, checkpoints) -> Path:
    folder = tmp_path_factory.mktemp("report")
    experiment = make_run(folder, checkpoints, hostile=True)
    assert page.write_report(experiment, progress=False) == experiment.output_dir / "report" / "index.html"
    return experiment.output_dir


@pytest.fixture(scope="module")
def report(run_folder) -> Path:
    return run_folder / "report"


@pytest.fixture(scope="module")
def html(report) -> Page:
    return Page((report / "index.html").read_text(encoding="utf-8"))


def ranks_of(run_folder: Path, split: str) -> pd.DataFrame:
    """From the prediction files alone: pandas, no code of ours."""
    folder = run_folder / "runs" / split
    gold = pd.read_csv(folder / "gold.tsv", sep="\t", dtype=str).set_index("article_id")["image_id"]
    table = {}
    for run in (*RUNS, RERANKED):
        lists = pd.read_csv(folder / f"{run}.tsv", sep="\t", dtype=str, index_col=0)
        hits = lists.loc[gold.index].eq(gold, axis=0)
        table[run] = np.where(hits.any(axis=1), hits.to_numpy().argmax(axis=1) + 1, np.inf)
    return pd.DataFrame(table, index=gold.index).assign(picture=gold)


def read_data(report: Path, split: str) -> dict:
    text = (report / "data" / f"{split}.js").read_text()
    name, data = json.loads("[" + re.fullmatch(r"newsmatchData\((.*)\);\n", text, re.DOTALL)[1] + "]")
    assert name == split
    return data


def value(cell: str) -> float:
    return float(cell.split()[0].replace("−", "-"))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_scores_are_those_of_the_files(run_folder, html, split):
    ranks = ranks_of(run_folder, split)
    rows = {row[0]: row[1:] for row in html.tables[f"runs-{split}"][1:]}
    for run in RUNS:
        expected = [(1 / ranks[run]).mean(), *((ranks[run] <= k).mean() for k in (1, 5, 10, 50, 100))]
        assert [value(cell) for cell in rows[run]] == pytest.approx(expected, abs=5.01e-4)
    differences = {row[0]: row[1:] for row in html.tables[f"differences-{split}"][1:]}
    for later, earlier in (("fine_tuned", "zero_shot"), ("wise_ft", "zero_shot"), ("wise_ft", "fine_tuned")):
        cell = differences[f"{later} − {earlier}"][0]
        assert value(cell) == pytest.approx((1 / ranks[later] - 1 / ranks[earlier]).mean(), abs=5.01e-4)
        assert re.fullmatch(r"\S+ \S+ to \S+; p (< )?0\.\d{3}|\S+ \S+ to \S+; p 1\.000", cell)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_what_was_ranked_again_stands_beside_the_plain_ranking(run_folder, html, split):
    ranks = ranks_of(run_folder, split)
    _, row = html.tables[f"reranked-{split}"]
    assert row[0] == f"{RERANKED}† neighbours 5"
    before, after = ((1 / ranks[run]).mean() for run in ("wise_ft", RERANKED))
    gains = [after - before, *((ranks[RERANKED] <= k).mean() - (ranks.wise_ft <= k).mean() for k in (1, 5))]
    assert [value(cell) for cell in row[1:6]] == pytest.approx([before, after, *gains], abs=5.01e-4)
    # and is compared with nothing else
    assert len(html.tables[f"differences-{split}"]) == 1 + 3
    assert RERANKED not in [row[0] for row in html.tables[f"runs-{split}"]]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_table_4_is_that_of_the_files(run_folder, html, split):
    ranks = ranks_of(run_folder, split)
    found = ranks[(ranks.fine_tuned <= 100) & (ranks.wise_ft <= 100)]
    _, first, second = html.tables[f"rank-changes-{split}"]
    for row, articles in ((first, found[found.fine_tuned < found.zero_shot]), (second, found)):
        change = articles.fine_tuned - articles.wise_ft
        better, worse = change[change > 0], -change[change < 0]
        assert [int(cell) for cell in row[3:]] == [len(better), len(worse), (change == 0).sum(), len(change)]
        assert value(row[1]) == pytest.approx(better.mean(), abs=5.01e-4)
        assert value(row[2]) == pytest.approx(worse.mean(), abs=5.01e-4)


def test_groups_and_hubs_are_those_of_the_files(run_folder, html):
    ranks = ranks_of(run_folder, "test")
    shared = ranks.picture.map(ranks.picture.value_counts()) > 1
    rows = {row[0]: row[1:] for row in html.tables["picture-test"][1:]}
    for label, articles in (("of several articles", ranks[shared]), ("of one article", ranks[~shared])):
        assert int(rows[label][0]) == len(articles)
        expected = [(1 / articles[run]).mean() for run in RUNS]
        assert [value(cell) for cell in rows[label][1:4]] == pytest.approx(expected, abs=5.01e-4)
    candidates = pd.read_csv(run_folder / "runs" / "test" / "candidates.tsv", sep="\t")["image_id"]
    hubs = {row[0]: row[1:] for row in html.tables["hubs-test"][1:]}
    for run in RUNS:
        lists = pd.read_csv(run_folder / "runs" / "test" / f"{run}.tsv", sep="\t", index_col=0).iloc[:, :10]
        counts = lists.stack().value_counts().reindex(candidates, fill_value=0)
        assert value(hubs[run][0]) == pytest.approx(scipy.stats.skew(counts), abs=5.01e-3)
        assert int(hubs[run][1]) == (counts > counts.mean() + 2 * counts.std(ddof=0)).sum()
        assert int(hubs[run][3]) == (counts == 0).sum()


def test_gallery_holds_every_article_with_ranks_lists_and_scores(run_folder, report):
    for split in ("validation", "test"):
        data, ranks = read_data(report, split), ranks_of(run_folder, split)
        assert data["runs"] == list(RUNS)
        assert [article["id"] for article in data["articles"]] == list(ranks.index)
        for place, run in enumerate(RUNS):
            assert [article["ranks"][place] or np.inf for article in data["articles"]] == ranks[run].to_list()
            scores = pd.read_parquet(run_folder / "runs" / split / f"{run}.parquet").query("rank <= 5")
            shown = [pair for article in data["articles"] for pair in article["top"][place]]
            by_article = scores.set_index("article_id").loc[list(ranks.index)]
            assert [data["pictures"][picture] for picture, _ in shown] == by_article["image_id"].to_list()
            assert [score for _, score in shown] == pytest.approx(by_article["score"].to_list(), abs=6e-4)
        worse = ranks[(ranks.fine_tuned > ranks.zero_shot) & (ranks.wise_ft < ranks.fine_tuned)]
        repaired = [data["articles"][article]["id"] for article, _ in data["cases"]["repaired"]]
        assert set(repaired) == set(worse.index)
    assert repaired  # of the test part, the last


def test_thumbnails_are_small_pictures(report):
    data = read_data(report, "test")
    for number_, name in enumerate(data["pictures"]):
        with PIL.Image.open(report / "pictures" / f"test-{number_}.webp") as picture:
            assert picture.format == "WEBP", name
            assert max(picture.size) <= gallery.SIZE, name
    assert len(list((report / "pictures").glob("test-*"))) == len(data["pictures"])


def test_nothing_of_the_data_is_markup(html, report):
    scripts = [attrs for tag, attrs in html.elements if tag == "script"]
    assert scripts == [{"src": "report.js"}]
    assert not [attrs for _, attrs in html.elements if any(name.startswith("on") for name in attrs)]
    data = read_data(report, "test")
    assert PICTURE in data["pictures"]
    assert "<" not in (report / "data" / "test.js").read_text()
    # the script makes elements and texts of what it shows, never markup
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval", (report / "report.js").read_text()
    )


def test_hostile_names_and_titles_are_text(run_folder, tmp_path, monkeypatch):
    """The hostile picture as the most frequent hub, in a table; the title as if the readers had let it pass."""
    monkeypatch.setattr(page, "join_text", lambda *_: TITLE)
    monkeypatch.setattr(page, "hubness", lambda *_: {"k": 10, "skewness": 1.0, "never": 0, "hubs": [(PICTURE, 3)]})
    folder = tmp_path / "out"
    shutil.copytree(run_folder, folder)
    html = Page(page.write_report(Experiment.open(folder), progress=False).read_text())
    assert PICTURE in html.tables["hubs-test"][1][3]
    assert not [attrs for tag, attrs in html.elements if tag == "img" and attrs.get("src") == "x"]
    assert {article["text"] for article in read_data(folder / "report", "test")["articles"]} == {TITLE}
    assert "<" not in (folder / "report" / "data" / "test.js").read_text()
    markdown = (folder / "report" / "tables.md").read_text()
    assert "<img" not in markdown
    assert "&lt;img" in markdown


def test_the_page_asks_for_nothing_elsewhere(html, report):
    links = [attrs.get(name) for _, attrs in html.elements for name in ("src", "href") if attrs.get(name)]
    for link in links:
        assert re.match(r"#|data:,$", link) or (report / link).is_file(), link
    targets = {attrs["id"] for _, attrs in html.elements if "id" in attrs}
    assert {link[1:] for link in links if link.startswith("#")} <= targets
    text = (report / "style.css").read_text() + (report / "report.js").read_text()
    assert not re.search(r"https?:|//[a-z]|@import|url\(|fetch\(", re.sub(r"// .*", "", text))


def test_pictures_have_words_and_controls_labels(html):
    images = [attrs for tag, attrs in html.elements if tag == "img"]
    assert images
    assert all(attrs["alt"] for attrs in images)
    ids = [attrs["id"] for _, attrs in html.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert ("html", {"lang": "en"}) in html.elements


def test_facts(html, run_folder):
    rows = {row[0]: row[1:] for row in html.tables["data"][1:]}
    # 59 of the 60 articles have a picture that opens: the newest fifth is validated on; the test list has no dates
    dates = [f"2022-{1 + number // 28:02}-{1 + number % 28:02}" for number in range(48, 60)]
    pictures = len({number % 54 for number in range(48, 60)})
    assert rows["validation"][:4] == ["12", str(pictures), min(dates), max(dates)]
    assert rows["test"][:4] == ["40", "35", "–", "–"]
    refused = dict(map(tuple, html.tables["refused"][1:]))
    assert refused["articles read with the picture that they were published with"] == "60"
    assert refused["articles read of the test list"] == "40"
    assert refused["articles left out for want of a usable picture"] == "1"
    assert refused["pictures refused: empty file"] == "1"
    assert refused["rows that could not be read and were skipped"] == "1"
    assert any(name.startswith("skipped: ") and "again" in name for name in refused)
    assert refused["different ones kept in the original because no translation was sound"] == "3"
    provenance = dict(map(tuple, html.tables["provenance"][1:]))
    record = json.loads((run_folder / "newsmatch.json").read_text())
    assert provenance["SHA-256 of the base"] == record["base_model"]["sha256"]
    # no folder of this machine goes to others
    assert str(run_folder.parent) not in "".join(html.text)
    assert provenance["WiSE-FT"] == "WiSE-FT uses alpha 0.5 (rule: given)."


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (None, "No WiSE-FT model was made."),
        ({"alpha": 0.4, "rule": "best"}, "WiSE-FT uses alpha 0.4 (rule: best)."),
        (
            {"alpha": None, "alpha_vision": 0.85, "alpha_text": 0.0, "rule": "best, per tower"},
            "WiSE-FT uses 0.85 for the vision tower, 0 for the text tower (rule: best, per tower).",
        ),
        (
            {"alpha": 0.5, "alphas": {"a": 1}, "rule": "given"},
            "WiSE-FT uses alpha 0.5, alphas by weight (rule: given).",
        ),
    ],
)
def test_the_chosen_alpha_in_a_sentence(made, sentence):
    assert facts.describe_choice(made and InterpolatedRecord(made.pop("alpha", None), None, None, **made)) == sentence


def test_the_curve_over_alpha_comes_along_only_when_it_chose(run_folder, tmp_path):
    experiment = Experiment.open(run_folder)
    experiment = Experiment(tmp_path, experiment.record)
    (tmp_path / "report" / "figures").mkdir(parents=True)
    for ending in ("png", "pdf"):
        (tmp_path / f"alpha_curve.{ending}").write_text(ending)
    names = [[drawing.name for drawing in page._training_figures(tmp_path / "report", experiment)]]
    experiment.record.wise_ft.alpha_rule = "best"
    names.append([drawing.name for drawing in page._training_figures(tmp_path / "report", experiment)])
    assert names == [["learning_curve"], ["learning_curve", "alpha_curve"]]
    assert (tmp_path / "report" / "figures" / "alpha_curve.pdf").read_text() == "pdf"


def test_truncation_is_counted(run_folder, html, processor):
    data = Experiment.open(run_folder).data()
    header, *rows = html.tables["data"]
    assert header[-1] == "cut at 24 tokens"
    for row in rows:
        articles = data.train if row[0] == "train" else data.splits[row[0]].articles
        texts = [f"{article['title']}. {article['text']}" for article in articles]
        long = sum(len(processor.tokenizer(text, verbose=False)["input_ids"]) > 24 for text in texts)
        assert row[-1] == f"{long} ({long / len(texts):.0%})"


def test_the_same_tables_in_markdown_and_latex(report, html):
    markdown, latex = ((report / f"tables.{ending}").read_text() for ending in ("md", "tex"))
    assert latex.count(r"\begin{table}") == latex.count(r"\toprule") == latex.count(r"\end{tabular}")
    names = [name for name in html.tables if name]
    assert latex.count(r"\label{tab:") == markdown.count("\n| --- |") == len(names)
    cells = html.tables["rank-changes-test"][1]
    assert f"| {' | '.join(cells)} |" in markdown
    assert f"    {' & '.join(cells)} \\\\" in latex
    for name in ("recall-test", "ranks-validation", "learning_curve"):
        assert {file.suffix for file in (report / "figures").glob(f"{name}.*")} == {".png", ".pdf"}


def test_best_is_bold_only_beyond_chance():
    runs = {"runs": {"a": {"m": {"mean": 0.1}}, "b": {"m": {"mean": 0.3}}, "c": {"m": {"mean": 0.2}}}}

    def pairs(low: float) -> dict:
        return {
            ("b", "a"): {"m": {"low": 0.1, "high": 0.2}},
            ("c", "a"): {"m": {"low": -0.1, "high": 0.2}},  # not the best's: does not matter
            ("c", "b"): {"m": {"low": -0.2, "high": low}},
        }

    assert best_run(runs, pairs(-0.01), "m") == "b"
    assert best_run(runs, pairs(0.0), "m") is None
    assert best_run(runs, pairs(0.01), "m") is None
    assert best_run({"runs": {"a": runs["runs"]["a"]}}, {}, "m") is None


def test_script(run_folder, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "out"
    shutil.copytree(run_folder, folder)
    shutil.rmtree(folder / "report")
    monkeypatch.setattr(sys, "argv", ["report.py", str(folder)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert (folder / "report" / "index.html").is_file()
    assert not list(folder.glob(".report*"))

    for argv, message in (
        ([tmp_path / "none"], "holds no experiment"),
        (["--output_dir", tmp_path], "holds no experiment"),
    ):
        monkeypatch.setattr(sys, "argv", ["report.py", *map(str, argv)])
        with pytest.raises(SystemExit) as error:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        assert error.value.code == 2
        assert message in capsys.readouterr().err


def test_an_error_leaves_the_old_report(run_folder, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    shutil.copytree(run_folder, folder)
    (folder / "report" / "index.html").write_text("old")
    monkeypatch.setattr(page, "hubness", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        page.write_report(Experiment.open(folder), progress=False)
    assert (folder / "report" / "index.html").read_text() == "old"
    assert not list(folder.glob(".report*"))


def test_refusals(run_folder, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(run_folder, folder)
    record = json.loads((folder / "newsmatch.json").read_text())
    record["runs"]["test"]["fine_tuned"]["model_sha256"] = "another"
    (folder / "newsmatch.json").write_text(json.dumps(record))
    with pytest.raises(NewsMatchError, match=r"fine_tuned\.tsv is stale"):
        page.write_report(Experiment.open(folder), progress=False)
    del record["runs"]
    (folder / "newsmatch.json").write_text(json.dumps(record))
    with pytest.raises(NewsMatchError, match="no predictions with known true pictures"):
        page.write_report(Experiment.open(folder), progress=False)
