"""What `app/app.py` refuses, and what it takes from the environment; the page itself is tested in a browser."""

import runpy
import socket
import sys
from pathlib import Path

import pytest

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


def test_without_gradio(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    code, err = run()
    assert (code, "This needs gradio, which is not installed: pip install 'hf-newsmatch[app]'." in err) == (2, True)
