import pytest

from hf_newsmatch.data.layouts import LAYOUTS, find_layout, normalise, unknown_layout


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
