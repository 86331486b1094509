import pytest

from hf_newsmatch.data.layouts import LAYOUTS, find_layout, normalise, unknown_layout
from hf_newsmatch.data.newsimages import load_pairs


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_every_layout_is_found_by_its_own_header(layout):
    found, names, has_header = find_layout(layout.header)
    assert found is layout
    assert has_header
    assert {source for sources in layout.columns.values() for source in sources} & set(names)


@pytest.mark.parametrize("name", ["# Article", "\ufeffarticle", " ARTICLE ", '#"article"'])
def test_names_are_compared_without_their_decoration(name):
    assert normalise(name) == "article"


def test_the_2025_list_is_known_by_its_urls_when_it_has_no_header():
    row = ["7", "https://example.org/7", "Title", "tag;tag", "ABC", "https://example.org/7.jpg"]
    layout, names, has_header = find_layout(row)
    assert (layout.name, has_header) == ("NewsImages 2025", False)
    assert names[4] == "image_id"


@pytest.mark.parametrize("row", [["id", "headline"], ["id", "image_id"], ["a", "b", "c", "d", "e", "f"], [], [""] * 6])
def test_other_rows_are_unknown(row):
    assert find_layout(row) is None


def test_the_message_names_what_it_met_and_what_it_knows():
    message = unknown_layout("news.csv", ["id", "headline" * 10])
    assert message.startswith("news.csv has an unknown layout: its first line holds 'id', 'headline")
    assert "…" in message
    assert all(layout.name in message for layout in LAYOUTS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "image,caption\nx/1.jpg,Ein Hund\n2.jpg,Eine Katze\n2.jpg,Noch eine\n"),
        ("a.tsv", "filepath\ttitle\nx/1.jpg\tEin Hund\n2.jpg\tEine Katze\n2.jpg\tNoch eine\n"),
        (
            "metadata.jsonl",
            '{"file_name": "x/1.jpg", "text": "Ein Hund"}\n{"file_name": "2.jpg", "text": "Eine Katze"}\n'
            '{"file_name": "2.jpg", "text": "Noch eine"}\n',
        ),
        ("metadata.csv", "file_name,caption\nx/1.jpg,Ein Hund\n2.jpg,Eine Katze\n2.jpg,Noch eine\n"),
    ],
)
def test_lists_of_pictures_and_captions(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    pairs = load_pairs(tmp_path / name, find_pictures=False)
    assert pairs["title"][:] == ["Ein Hund", "Eine Katze", "Noch eine"]
    assert pairs["image_file"][:] == ["x/1.jpg", "2.jpg", "2.jpg"]
    assert pairs["image_id"][:] == ["1", "2", "2"]
    assert pairs["article_id"][:] == ["1", "2", "2#2"]
