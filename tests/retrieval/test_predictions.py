import csv
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from hf_newsmatch import NewsMatchError, Ranking, read_predictions, write_predictions

RANKING = Ranking(["a", "b c"], [["p", "q", "r"], ["q", "p", "r"]], [[0.5, 0.25, 0.125], [0.75, 0.5, -0.25]])


def test_written_in_the_organisers_format(tmp_path):
    file = write_predictions(RANKING, tmp_path / "new" / "run.tsv")
    assert file.read_text() == "articleID\tiid1\tiid2\tiid3\na\tp\tq\tr\nb c\tq\tp\tr\n"
    scores = pq.read_table(file.with_suffix(".parquet")).to_pydict()
    assert scores == {
        "article_id": ["a"] * 3 + ["b c"] * 3,
        "rank": [1, 2, 3, 1, 2, 3],
        "image_id": ["p", "q", "r", "q", "p", "r"],
        "score": [0.5, 0.25, 0.125, 0.75, 0.5, -0.25],
    }
    assert sorted(path.name for path in file.parent.iterdir()) == ["run.parquet", "run.tsv"]


def test_read_gives_what_was_written(tmp_path):
    assert read_predictions(write_predictions(RANKING, tmp_path / "run.tsv")) == RANKING


def test_scores_of_another_run_are_not_taken(tmp_path):
    write_predictions(RANKING, tmp_path / "run.tsv")
    (tmp_path / "run.tsv").write_text("articleID\tiid1\na\tr\n")
    assert read_predictions(tmp_path / "run.tsv").scores is None


def test_scores_of_other_articles_are_not_taken(tmp_path):
    """The same pictures in the same order, but of articles that changed places."""
    write_predictions(Ranking(["a", "b"], [["p"], ["q"]], [[0.5], [0.25]]), tmp_path / "run.tsv")
    (tmp_path / "run.tsv").write_text("articleID\tiid1\nb\tp\na\tq\n")
    assert read_predictions(tmp_path / "run.tsv").scores is None


def test_a_ranking_without_scores_leaves_no_old_ones(tmp_path):
    file = write_predictions(RANKING, tmp_path / "run.tsv")
    write_predictions(Ranking(RANKING.article_ids, RANKING.image_ids), file)
    assert read_predictions(file).scores is None
    assert [path.name for path in tmp_path.iterdir()] == ["run.tsv"]


@pytest.mark.parametrize("damage", ["truncated", "a column less", "words for scores"])
def test_damaged_scores_are_named(tmp_path, damage):
    file = write_predictions(RANKING, tmp_path / "run.tsv")
    scores = file.with_suffix(".parquet")
    table = pq.read_table(scores)
    if damage == "truncated":
        scores.write_bytes(b"PAR1xx")
    elif damage == "a column less":
        pq.write_table(table.drop_columns("score"), scores)
    else:
        pq.write_table(table.set_column(3, "score", [["much"] * len(table)]), scores)
    with pytest.raises(
        NewsMatchError, match=r"run\.parquet holds no scores .* run `hf-newsmatch predict` again or delete it"
    ):
        read_predictions(file)


@pytest.mark.parametrize(
    ("ranking", "message"),
    [
        (Ranking(["a"], [[str(number) for number in range(101)]]), "article 'a' has 101 pictures"),
        (Ranking(["a", "a"], [["p"], ["q"]]), "'a' occurs more than once"),
    ],
)
def test_refuses_to_write(tmp_path, ranking, message):
    with pytest.raises(NewsMatchError, match=message):
        write_predictions(ranking, tmp_path / "run.tsv")
    assert not any(tmp_path.iterdir())


def test_reads_what_others_write(tmp_path):
    """No header, lists of different length, CRLF, a byte order mark, trailing tabs, an empty line."""
    file = tmp_path / "run.tsv"
    file.write_bytes("\ufeffa\tp\tq\r\n\r\nb\tq\t\t\r\n".encode())
    assert read_predictions(file) == Ranking(["a", "b"], [["p", "q"], ["q"]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "ranks no article"),
        ("articleID\tiid1\n", "ranks no article"),
        ("a\tp\na\tq\n", "line 2: article 'a' was ranked before, in line 1"),
        ("a\tp\t\tq\n", "line 1: article 'a' has an empty place"),
        ("a\n", "line 1: article 'a' has an empty place"),
    ],
)
def test_bad_files(tmp_path, content, message):
    (tmp_path / "run.tsv").write_text(content)
    with pytest.raises(NewsMatchError, match=message):
        read_predictions(tmp_path / "run.tsv")


@pytest.mark.parametrize("at", range(8))
@pytest.mark.parametrize("damage", ['"{}', '{}"', '{}\t"p1', '{}\t"'])
def test_a_stray_quote_joins_no_rows(tmp_path, at, damage):
    rows = [f"a{i}\tp{i}\tq" for i in range(8)]
    rows[at] = damage.format(rows[at])
    (tmp_path / "run.tsv").write_text("articleID\tiid1\tiid2\n" + "\n".join(rows) + "\n")
    with pytest.raises(NewsMatchError, match=rf"line {at + 2}: the quotes are wrong"):
        read_predictions(tmp_path / "run.tsv")


def test_a_file_with_every_cell_in_quotes_is_read(tmp_path):
    (tmp_path / "run.tsv").write_text('"articleID"\t"iid1"\n"a"\t"p"\r\n"b"\t"q"\n')
    assert read_predictions(tmp_path / "run.tsv") == Ranking(["a", "b"], [["p"], ["q"]])


def test_ids_are_read_with_composed_unicode(tmp_path):
    (tmp_path / "run.tsv").write_text("u\u0308\to\u0308\n", encoding="utf-8")
    assert read_predictions(tmp_path / "run.tsv") == Ranking(["\u00fc"], [["\u00f6"]])


@pytest.mark.parametrize("name", ["a\nb", "a\r"])
def test_ids_with_line_ends_are_refused(tmp_path, name):
    for ranking in (Ranking([name], [["p"]]), Ranking(["a"], [[name]])):
        with pytest.raises(NewsMatchError, match="has a line end"):
            write_predictions(ranking, tmp_path / "run.tsv")


def test_bad_bytes_and_missing_file(tmp_path):
    (tmp_path / "run.tsv").write_bytes(b"\xff\xfe\x00\x01\n")
    with pytest.raises(NewsMatchError, match=r"run\.tsv is not a prediction file"):
        read_predictions(tmp_path / "run.tsv")
    with pytest.raises(NewsMatchError, match=r"no prediction file .*absent\.tsv; `hf-newsmatch predict`"):
        read_predictions(tmp_path / "absent.tsv")


def test_ids_with_quotes_and_tabs_survive(tmp_path):
    ranking = Ranking(['say "x"', "tab\there"], [["p"], ["q"]])
    file = write_predictions(ranking, tmp_path / "run.tsv")
    assert read_predictions(file) == ranking
    with open(file, newline="") as stream:
        assert len(list(csv.reader(stream, delimiter="\t"))) == 3


def test_reading_fusing_and_scoring_need_no_pytorch(tmp_path):
    """It takes seconds to import."""
    file = write_predictions(RANKING, tmp_path / "run.tsv")
    code = (
        "import sys, hf_newsmatch as news; from hf_newsmatch.metrics import compare_runs\n"
        f"ranking = news.fuse([news.read_predictions({str(file)!r})] * 2)\n"
        "assert compare_runs({'run': ranking}, {'a': 'p'})['runs']['run']['mrr@100']['mean'] == 1\n"
        "sys.exit(' '.join({'torch', 'transformers', 'datasets'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
