"""A short form of `benchmarks/kills.py`: steps killed at random moments, started again, and compared."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "kills.py"


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_every_second_start_ends_in_the_undisturbed_result(tmp_path):
    steps = ["train", "interpolate", "several alphas", "interpolate", "predict beside interpolate"]
    command = [sys.executable, SCRIPT, "--kills", "10", "--seed", "3", "--folder", tmp_path, "--steps", *steps]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "10 kills, 0 not mended" in done.stderr + done.stdout


def test_a_file_that_differs_or_is_left_is_found(tmp_path):
    """The comparison itself: otherwise nothing would ever be wrong."""
    spec = importlib.util.spec_from_file_location("kills", SCRIPT)
    kills = importlib.util.module_from_spec(spec)
    environment = dict(os.environ)
    spec.loader.exec_module(kills)
    os.environ.clear()
    os.environ.update(environment)
    (tmp_path / "a.tsv").write_text("1")
    (tmp_path / "newsmatch.json").write_text('{"runs": {"test": {}}, "versions": {}}')
    before = kills.contents(tmp_path)
    assert set(before) == {"a.tsv", "newsmatch.json"}
    (tmp_path / "newsmatch.json").write_text('{"runs": {"test": {}}, "versions": {"x": "1"}}')
    assert kills.contents(tmp_path) == before
    for name, content in (("a.tsv", "2"), ("newsmatch.json", '{"runs": {}}'), (".a.tsv.abcd1234", "half")):
        (tmp_path / name).write_text(content)
        assert kills.contents(tmp_path) != before
    assert signal.SIGKILL in kills.SIGNALS
