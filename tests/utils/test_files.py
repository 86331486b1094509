import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hf_newsmatch.utils.files import atomic_path, is_file_name, remove_leftovers, sha256, write_json


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


def leave(target: Path, *names: str) -> Path:
    """What a killed process leaves of its work on `target`."""
    folder = target.parent / f".{target.name}.abcd1234"
    folder.mkdir()
    for name in names or (target.name,):
        (folder / name).write_text("half")
    return folder


@pytest.mark.parametrize("names", [("file.txt",), (".lock", "file.txt", "replaced"), (".file.txt.efgh5678",), ()])
def test_leftovers_of_killed_processes_go_with_the_next_start(tmp_path, names):
    leave(tmp_path / "file.txt", *names)
    with atomic_path(tmp_path / "file.txt") as temporary:
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_a_process_that_is_killed_leaves_what_the_next_removes(tmp_path):
    code = (
        "import os, signal; from hf_newsmatch.utils.files import atomic_path\n"
        f"with atomic_path({str(tmp_path / 'folder')!r}) as path:\n"
        "    path.mkdir(); (path / 'x').write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    with atomic_path(tmp_path / "folder") as path:
        path.mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_the_work_of_a_process_that_still_runs_stays(tmp_path):
    with atomic_path(tmp_path / "file.txt") as first:
        first.write_text("first")
        with atomic_path(tmp_path / "file.txt") as second:
            second.write_text("second")
        assert first.read_text() == "first"
    assert (tmp_path / "file.txt").read_text() == "first"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_only_looks_like_a_leftover_stays(tmp_path):
    mine = leave(tmp_path / "file.txt", "file.txt", "mine")
    (tmp_path / ".file.txt.original").mkdir()
    (tmp_path / ".file.txt.abcd5678").symlink_to(mine, target_is_directory=True)
    (tmp_path / ".other.txt.abcd1234").mkdir()
    (tmp_path / ".file.txt.efgh1234").write_text("a file")
    (tmp_path / ".file.txt.swp").write_text("an editor's")
    before = sorted(tmp_path.rglob("*"))
    with atomic_path(tmp_path / "file.txt") as temporary:
        temporary.write_text("x")
    # an empty folder by a name of eight letters is one of ours
    gone = {tmp_path / ".file.txt.original"}
    assert set(tmp_path.rglob("*")) == {*before, tmp_path / "file.txt"} - gone


# ---- hashes ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def hashed(monkeypatch):
    """The files whose contents were hashed."""
    found, original = [], hashlib.file_digest
    monkeypatch.setattr(
        hashlib, "file_digest", lambda stream, name: found.append(stream.name) or original(stream, name)
    )
    monkeypatch.setattr("hf_newsmatch.utils.files._TICK", -(10**18))
    return found


def test_a_file_is_hashed_once(tmp_path, hashed):
    file = tmp_path / "x"
    file.write_bytes(b"abc")
    assert {sha256(file) for _ in range(3)} == {hashlib.sha256(b"abc").hexdigest()}
    (tmp_path / "other name").hardlink_to(file)
    assert len(hashed) == 1


@pytest.mark.parametrize("how", ["in place", "replaced", "same time", "appended"])
def test_a_hash_is_not_kept_across_a_change(tmp_path, hashed, how):
    file = tmp_path / "x"
    file.write_bytes(b"abc")
    sha256(file)
    status = file.stat()
    time.sleep(0.02)  # more than a tick of the file system's clock
    content = b"xyz" if how != "appended" else b"abcd"
    if how == "replaced":
        (tmp_path / "y").write_bytes(content)
        (tmp_path / "y").replace(file)
    else:
        file.write_bytes(content)
    if how == "same time":
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert sha256(file) == hashlib.sha256(content).hexdigest()


def test_a_file_that_has_just_changed_is_not_trusted(tmp_path):
    """Two changes within a tick of the clock leave size and times as they are."""
    file = tmp_path / "x"
    for content in (b"abc", b"xyz", b"123"):
        file.write_bytes(content)
        assert sha256(file) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/a", "a\\b", "C:a", "a\0b", "a\nb"])
def test_names_that_lead_elsewhere(name):
    assert not is_file_name(name)


@pytest.mark.parametrize("name", ["a", "model-00001-of-00002.safetensors", ".hidden", "ä b.png"])
def test_names_of_files(name):
    assert is_file_name(name)


def test_a_folder_whose_replacement_was_killed_between_two_renames_comes_back(tmp_path, monkeypatch):
    """The old one was aside and the new one not yet at its place."""
    target = tmp_path / "model"
    target.mkdir()
    (target / "weights").write_text("old")
    child = os.fork()
    if not child:
        monkeypatch.setattr(os, "replace", lambda *paths: os._exit(9))
        with atomic_path(target) as temporary:
            temporary.mkdir()
            (temporary / "weights").write_text("new")
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not target.exists()
    remove_leftovers(tmp_path, "model")
    assert (target / "weights").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
