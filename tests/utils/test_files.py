import pytest

from hf_newsmatch.utils.files import atomic_path, write_json


def test_a_file_appears_whole(tmp_path):
    with atomic_path(tmp_path / "new" / "file.txt") as temporary:
        temporary.write_text("x")
        assert not (tmp_path / "new" / "file.txt").exists()
    assert (tmp_path / "new" / "file.txt").read_text() == "x"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file.txt"]


def fail_while_writing(target):
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError


def test_after_an_error_the_old_one_stays_and_nothing_else(tmp_path):
    (tmp_path / "file.txt").write_text("old")
    with pytest.raises(RuntimeError):
        fail_while_writing(tmp_path / "file.txt")
    assert (tmp_path / "file.txt").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_replaces_a_full_one(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").write_text("old")
    with atomic_path(tmp_path / "folder") as temporary:
        temporary.mkdir()
        (temporary / "new").write_text("new")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["new"]
    assert len(list(tmp_path.iterdir())) == 1


def test_json_that_cannot_be_written_leaves_the_old(tmp_path):
    write_json({"a": "ü"}, tmp_path / "x.json")
    assert (tmp_path / "x.json").read_text(encoding="utf-8") == '{\n  "a": "ü"\n}\n'
    with pytest.raises(TypeError):
        write_json({"a": object()}, tmp_path / "x.json")
    assert "ü" in (tmp_path / "x.json").read_text(encoding="utf-8")
