"""An edition of several files in an experiment's record: full paths, one hash, one name."""

import hashlib

from hf_newsmatch.configs import DataArguments
from hf_newsmatch.experiment.inputs import hash_files, with_full_paths
from hf_newsmatch.hub.provenance import file_name


def test_several_files_have_full_paths_one_hash_and_names_without_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    contents = {"a.tsv": b"one", "b.tsv": b"two"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    args = with_full_paths(DataArguments(articles_file=list(contents)))
    assert args.articles_file == f"{tmp_path}/a.tsv + {tmp_path}/b.tsv"
    hashes = [hashlib.sha256(content).hexdigest() for content in contents.values()]
    found = hash_files(args)["articles_file"]
    assert (found.path, found.sha256) == (args.articles_file, hashlib.sha256(" ".join(hashes).encode()).hexdigest())
    assert file_name(args.articles_file) == "a.tsv + b.tsv"
    (tmp_path / "b.tsv").write_bytes(b"changed")
    assert hash_files(args)["articles_file"] != found


def test_one_file_is_as_before(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"one")
    args = DataArguments(articles_file=str(tmp_path / "a.tsv"))
    assert hash_files(args)["articles_file"].sha256 == hashlib.sha256(b"one").hexdigest()
    assert file_name("someone/news") == "someone/news"
