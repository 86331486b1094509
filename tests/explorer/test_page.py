"""What `app/app.py` refuses, and what it takes from the environment; the page itself is tested in a browser."""

import runpy
import socket
import sys
import time
from pathlib import Path

import httpx
import pytest

from hf_newsmatch.configs import AppArguments
from hf_newsmatch.explorer.explorer import MOST_CHARACTERS, open_explorer
from hf_newsmatch.explorer.limits import MOST_BYTES
from tests.utils.explored_run import make_run

http_server = pytest.importorskip("gradio.http_server")

APP = Path(__file__).parents[2] / "app" / "app.py"


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the script; gives its exit code and standard error."""

    def run(*argv: str, **environment: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [str(APP), *argv])
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "True")  # which it turns off
        with pytest.raises(SystemExit) as exit:
            runpy.run_path(str(APP), run_name="__main__")
        return exit.value.code, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--output_dir", "absent"], "absent holds no experiment"),
        (["--split", "tset"], "has no tset split"),
        (["--k", "0"], "--k must be at least 1"),
        (["--k", "101"], "--k must be at most 100, not 101"),
        (["--hub_model_id", "ann/news"], "name pictures with --images"),
        (["--gold_file", "gold.tsv"], "--gold_file belongs to articles"),
        (["--alpha", "0.4"], "--alpha"),
    ],
)
def test_refusals_are_one_sentence(run, checkpoints, tmp_path, argv, message):
    experiment = make_run(tmp_path, checkpoints)
    code, err = run("--output_dir", str(experiment.output_dir), *argv)
    assert code == 2
    assert "Traceback" not in err
    (line,) = [line for line in err.splitlines() if "error:" in line]
    assert message in line


def test_a_port_that_is_taken(run, checkpoints, tmp_path, monkeypatch):
    experiment = make_run(tmp_path, checkpoints)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        # Gradio reads GRADIO_SERVER_PORT and GRADIO_NUM_PORTS when it is imported
        monkeypatch.setattr(http_server, "INITIAL_PORT_VALUE", port)
        monkeypatch.setattr(http_server, "TRY_NUM_PORTS", 1)
        code, err = run("--output_dir", str(experiment.output_dir))
    assert code == 2
    assert "Traceback" not in err
    assert f"error: Cannot find empty port in range: {port}-{port}" in err


def test_the_environment_is_that_of_a_space(run, checkpoints, tmp_path):
    """Every flag is a variable, too; flags override them."""
    out = str(make_run(tmp_path, checkpoints).output_dir)
    code, err = run(NEWSMATCH_OUTPUT_DIR=out, NEWSMATCH_SPLIT="tset")
    assert (code, "has no tset split" in err) == (2, True)
    code, err = run("--split", "tost", NEWSMATCH_OUTPUT_DIR=out, NEWSMATCH_SPLIT="tset")
    assert (code, "has no tost split" in err) == (2, True)


@pytest.fixture
def address(checkpoints, tmp_path, monkeypatch):
    """The address of a page, and its explorer."""
    from hf_newsmatch.explorer.page import build, serve

    args = AppArguments(output_dir=str(make_run(tmp_path, checkpoints).output_dir))
    explorer = open_explorer(args)
    page = build(explorer, args)
    _, local, _ = serve(page, prevent_thread_lock=True, quiet=True)
    yield local, explorer
    page.close()


def test_uploads_and_long_requests_are_refused(address):
    local, _ = address
    for path in ("gradio_api/upload", "gradio_api/upload?upload_id=1", "upload", "gradio_api/upload/"):
        assert httpx.post(local + path, files={"files": ("a.txt", b"x" * 2**20)}).status_code == 404, path
    config = httpx.get(local + "config")
    assert config.status_code == 200
    assert config.json()["max_file_size"] == 1
    join = {"data": ["x" * MOST_BYTES, 0.5], "fn_index": 0, "session_hash": "a"}
    assert httpx.post(local + "gradio_api/queue/join", json=join).status_code == 413

    def chunks():
        for _ in range(5):
            yield b"x" * 2**20

    assert httpx.post(local + "gradio_api/queue/join", content=chunks()).status_code in (400, 413)


def test_a_headline_of_a_megabyte_is_answered_like_its_beginning(checkpoints, tmp_path):
    from hf_newsmatch.explorer.page import build

    args = AppArguments(output_dir=str(make_run(tmp_path, checkpoints).output_dir))
    explorer = open_explorer(args)
    explorer.prepare()
    answer = next(function.fn for function in build(explorer, args).fns.values() if len(function.inputs) == 2)
    words = "storm closes the harbour " * 40_000
    begin = time.perf_counter()
    long = answer(words, 0.5)
    assert time.perf_counter() - begin < 2
    short = answer(words[:MOST_CHARACTERS].strip(), 0.5)
    assert long[2:] == short[2:]
    assert long[1] == "Only the first 10,000 characters are read."
    assert short[1] == ""
    assert [len(pictures) for pictures in long[3::2]] == [12, 12, 12]
    # what the text box cannot send, but a program can
    assert answer(None, 0.5)[1].startswith("Type a headline")


def test_without_gradio(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "hf_newsmatch.explorer.page", raising=False)  # another test has imported it
    code, err = run()
    assert (code, "This needs gradio, which is not installed: pip install 'hf-newsmatch[app]'." in err) == (2, True)
