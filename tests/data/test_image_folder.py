import unicodedata

import PIL.Image
import pytest

from hf_newsmatch.data.image_folder import ImageFolder
from hf_newsmatch.errors import NewsMatchError


@pytest.fixture
def folder(tmp_path):
    def folder(*names):
        for name in names:
            path = tmp_path / "pictures" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.new("RGB", (2, 2)).save(path, "PNG")
        return ImageFolder(tmp_path / "pictures")

    return folder


def test_pictures_are_found_by_name_then_by_id(folder):
    pictures = folder("one.jpg", "sub/two.PNG", "three.webp", "77.jpeg", "Four.gif", "notes.txt")
    assert len(pictures) == 5
    found = pictures.find_all(
        ["i1", "i2", "THREE", "i4", "four", "i6", None],
        ["one.jpg", "two.png", "three.jpg", None, None, None, "one.jpg"],
        ["71", "72", "73", "77", "75", "76", "one"],
    )
    assert found == ["one.jpg", "sub/two.PNG", "three.webp", "77.jpeg", "Four.gif", None, None]


def test_another_articles_picture_is_never_taken(folder):
    # the first article has the number of the second one's picture
    assert folder("8.jpg").find_all(["9", "8"], [None, None], ["8", "7"]) == [None, "8.jpg"]


def test_rows_of_one_id_share_the_picture_of_the_file_they_name(folder):
    pictures = folder("a.jpg", "b.jpg", "x.jpg")
    assert pictures.find_all(["x"] * 3, [None, "./a.jpg", "a.jpg"], ["1", "2", "3"]) == ["a.jpg"] * 3
    assert pictures.find_all(["x"] * 2, ["a.jpg", "b.jpg"], ["1", "2"]) == ["a.jpg", "b.jpg"]
    assert pictures.find_all(["y"] * 2, ["a.jpg", "c.jpg"], ["1", "2"]) == ["a.jpg", None]


def test_case_matters_where_it_tells_pictures_apart(folder):
    pictures = folder("aB.png", "Ab.png", "Cd.png", "sub/Cd.png", "EF.png", "sub/ef.png")
    ids = ["aB", "Ab", "AB", "cd", "ef", "EF", "Ef"]
    found = ["aB.png", "Ab.png", None, "Cd.png", "sub/ef.png", "EF.png", None]
    assert pictures.find_all(ids, [None] * 7, [""] * 7) == found
    assert pictures.find_all([str(i) for i in range(7)], [f"{name}.png" for name in ids], [""] * 7) == found


def test_ids_may_be_whole_names_or_paths(folder):
    pictures = folder("12.jpg", "2020/1.jpg", "2021/1.jpg", "notes.txt")
    ids = ["12.jpg", "2021/1", "2020/1", "2021/1.jpg", "notes.txt"]
    assert pictures.find_all(ids, [None] * 5, [""] * 5) == ["12.jpg", "2021/1.jpg", "2020/1.jpg", "2021/1.jpg", None]


@pytest.mark.parametrize(("stored", "asked"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_unicode_is_compared_composed(folder, stored, asked):
    name = unicodedata.normalize(stored, "L\u00f6we.jpg")
    asked = unicodedata.normalize(asked, "L\u00f6we.jpg")
    assert folder(name).find_all([asked[:-4], "x"], [None, asked], ["", ""]) == [name, name]


def test_linked_folders_are_followed_once(folder, tmp_path):
    folder("real/a.jpg")
    (tmp_path / "elsewhere" / "sub").mkdir(parents=True)
    (tmp_path / "elsewhere" / "sub" / "b.jpg").write_bytes(b"x")
    for link, target in {
        "again": tmp_path / "pictures" / "real",
        "linked": tmp_path / "elsewhere",
        "loop": tmp_path / "pictures",
        "real/loop": tmp_path / "pictures",
        "second": tmp_path / "elsewhere",
    }.items():
        (tmp_path / "pictures" / link).symlink_to(target, target_is_directory=True)
    assert list(folder()) == ["real/a.jpg", "linked/sub/b.jpg"]


def test_names_that_leave_the_folder_find_nothing(folder, tmp_path):
    pictures = folder("i1.jpg")
    (tmp_path / "secret.jpg").write_bytes(b"x")
    assert pictures.find_all(["i1", "i1"], ["../secret.jpg", None], ["1", "2"]) == [None, "i1.jpg"]
    assert pictures.find_all(["i1"], ["sub/../i1.jpg"], ["1"]) == [None]


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(NewsMatchError, match="is not a folder of pictures"):
        ImageFolder(tmp_path / "none")
