import os
import unicodedata

import PIL.Image
import pytest

from hf_newsmatch.data.image_folder import ImageFolder
from hf_newsmatch.data.images import open_picture
from hf_newsmatch.errors import NewsMatchError


@pytest.fixture
def folder(tmp_path):
    def folder(*names):
        for name in names:
            path = tmp_path / "pictures" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".txt":
                path.write_text("no picture")
            else:
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


def test_links_are_followed_once_and_inside_the_folder_alone(folder, tmp_path):
    folder("real/a.jpg", "real/sub/b.jpg")
    (tmp_path / "elsewhere" / "sub").mkdir(parents=True)
    (tmp_path / "elsewhere" / "sub" / "c.jpg").write_bytes(b"x")
    for link, target in {
        "again": tmp_path / "pictures" / "real",
        "linked": tmp_path / "elsewhere",
        "loop": tmp_path / "pictures",
        "real/loop": tmp_path / "pictures",
        "first.jpg": tmp_path / "pictures" / "real" / "a.jpg",
        "out.jpg": tmp_path / "elsewhere" / "sub" / "c.jpg",
        "passwd.jpg": "/etc/passwd",
        # the folder's own name is the beginning of that of another
        "beside.jpg": tmp_path / "pictures2" / "x.jpg",
        "nothing.jpg": "nowhere.jpg",
    }.items():
        (tmp_path / "pictures" / link).symlink_to(target)
    pictures = folder()
    assert list(pictures) == ["first.jpg", "real/a.jpg", "real/sub/b.jpg"]
    assert dict(pictures.left_out) == {
        "a link out of the folder": ["beside.jpg", "linked", "out.jpg", "passwd.jpg"],
        "neither a file nor a folder": ["nothing.jpg"],
    }
    assert pictures.find_all(["out", "c", "passwd"], ["out.jpg", "linked/sub/c.jpg", None], [""] * 3) == [None] * 3
    # the folder itself may be a link
    (tmp_path / "link").symlink_to(tmp_path / "pictures" / "real", target_is_directory=True)
    assert list(ImageFolder(tmp_path / "link")) == ["a.jpg", "sub/b.jpg"]


def test_a_snapshot_of_the_hub_is_links_to_its_own_repository(tmp_path):
    snapshot, blobs = tmp_path / "datasets--a--b" / "snapshots" / "0a1b" / "images", tmp_path / "datasets--a--b/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    PIL.Image.new("RGB", (2, 2)).save(blobs / "f00", "PNG")
    (snapshot / "a.jpg").symlink_to("../../../blobs/f00")
    (snapshot / "b.jpg").symlink_to("../../../../secret")
    assert list(ImageFolder(snapshot)) == ["a.jpg"]
    assert list(ImageFolder(snapshot.parent)) == ["images/a.jpg"]


def test_all_that_pillow_opens_is_a_picture_whatever_its_name(folder, tmp_path):
    pictures = tmp_path / "pictures"
    names = ["a.jfif", "b.jpe", "c.tif", "d.bmp", "e.avif", "f", "g.data", "h.JP2", "i.ppm", "j.qoi", "k.tiff"]
    formats = ["JPEG", "JPEG", "TIFF", "BMP", "AVIF", "PNG", "WEBP", "JPEG2000", "PPM", "QOI", "TIFF"]
    folder(*names)
    for name, format in zip(names, formats):
        PIL.Image.new("RGB", (8, 8), (200, 0, 0)).save(pictures / name, format)
        red = open_picture(pictures / name).getpixel((4, 4))
        assert red[0] > 190
        assert max(red[1:]) < 10
    for name, content in {"list.tsv": b"a\tb\n", "x.pdf": b"%PDF-1.4", "script": b"%!PS", "empty": b""}.items():
        (pictures / name).write_bytes(content)
    (pictures / "web.jpg").write_bytes(b"<html>404</html>")  # counted, and found unusable when it is opened
    found = folder()
    assert list(found) == [*names, "web.jpg"]
    assert dict(found.left_out) == {"no picture": ["empty", "list.tsv", "script", "x.pdf"]}
    assert found.describe_left_out() == "4 x no picture (empty, list.tsv, script, …)"


def test_pipes_devices_and_names_that_no_list_can_hold_are_left_out(folder, tmp_path):
    folder("a.jpg", 'quo"te.jpg', "tab\t.jpg", "line\nend.jpg")
    pictures = tmp_path / "pictures"
    os.mkfifo(pictures / "pipe.jpg")
    os.mkfifo(pictures / "pipe")
    (pictures / "zero.jpg").symlink_to("/dev/zero")
    with open(os.fsencode(pictures) + b"/\xff.jpg", "wb") as stream:
        PIL.Image.new("RGB", (2, 2)).save(stream, "PNG")
    found = folder()
    assert list(found) == ["a.jpg"]
    assert {reason: len(names) for reason, names in found.left_out.items()} == {
        "neither a file nor a folder": 2,
        "a link out of the folder": 1,
        "a picture whose name no list can hold": 4,
    }
    assert found.describe_left_out().isprintable()


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["b.jpg", "sub/a.png"], ["b", "a"]),
        (["a.jpg", "one/a.jpg", "two/a.png", "two/b.jpg"], ["a", "one/a", "two/a", "b"]),
        (["a.jpg", "a.png", "c.jpg"], ["a.jpg", "a.png", "c"]),
        (["one/a.jpg", "one/a.png", "two/a.jpg"], ["one/a.jpg", "one/a.png", "two/a"]),
        # an id that is taken by a path is not given to a name
        (["a.jpg", "a.jpg.png", "a.png"], ["a.jpg", "a.jpg.png", "a.png"]),
    ],
)
def test_ids_are_names_and_paths_where_names_repeat(folder, names, ids):
    assert list(folder(*names)) == names
    assert folder().image_ids() == ids


def test_two_names_that_look_the_same_are_refused(folder):
    names = [unicodedata.normalize(form, "L\u00f6we.jpg") for form in ("NFC", "NFD")]
    with pytest.raises(NewsMatchError, match="whose names look the same"):
        folder(*names).image_ids()


def test_names_that_leave_the_folder_find_nothing(folder, tmp_path):
    pictures = folder("i1.jpg")
    (tmp_path / "secret.jpg").write_bytes(b"x")
    assert pictures.find_all(["i1", "i1"], ["../secret.jpg", None], ["1", "2"]) == [None, "i1.jpg"]
    assert pictures.find_all(["i1"], ["sub/../i1.jpg"], ["1"]) == [None]


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(NewsMatchError, match="is not a folder of pictures"):
        ImageFolder(tmp_path / "none")
