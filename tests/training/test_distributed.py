"""Two processes on this machine (gloo) against one with the whole batch."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.utils import training_worker
from tests.utils.launching import two_processes
from tests.utils.news import make_pairs

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.distributed


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One folder with the results of two processes, one with those of a single process."""
    single, double = tmp_path_factory.mktemp("single"), tmp_path_factory.mktemp("double")
    (double / "pictures").mkdir()
    make_pairs(double / "pictures", training_worker.COUNT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    # now and then gloo itself ends a process with SIGSEGV in the midst of a gather: that is tried once more
    for _ in range(2):
        command = [*two_processes(), "--module", "tests.utils.training_worker", str(double)]
        result = subprocess.run(command, env=environment, capture_output=True, text=True)
        if "SIGSEGV" not in result.stderr:
            break
        shutil.rmtree(double)
        double.mkdir()
        (double / "pictures").mkdir()
        make_pairs(double / "pictures", training_worker.COUNT)
    assert result.returncode == 0, result.stderr[-3000:]
    for case in training_worker.CASES:
        training_worker.train(single, case)
    return single, double


@pytest.mark.parametrize("case", training_worker.CASES)
def test_two_processes_train_as_one(folders, case):
    single, double = (load_file(folder / f"{case}.safetensors") for folder in folders)
    if case == "one incomplete batch":
        # seven pairs make three in each of two processes: another batch than one process's seven
        assert single.keys() == double.keys()
        return
    start = training_worker.make_tiny(training_worker.CASES[case].get("architecture", "clip"))[0].state_dict()
    for name, tensor in single.items():
        assert (tensor - double[name]).abs().max() < 2e-6, name
    assert max((single[name] - start[name]).abs().max() for name in single) > 1e-2, "it has learned something"


@pytest.mark.parametrize("case", training_worker.CASES)
def test_metrics_are_of_the_whole_set(folders, case):
    single, double = (json.loads((folder / f"{case}.json").read_text()) for folder in folders)
    if case != "one incomplete batch":
        for name in ("eval_loss", "eval_mrr@100", "eval_recall@1"):
            assert single[name] == pytest.approx(double[name], abs=1e-4)


@pytest.mark.parametrize("case", training_worker.CASES)
def test_the_loss_of_each_step_is_that_of_the_whole_batch(folders, case):
    single, double = (json.loads((folder / f"{case}.json").read_text())["losses"] for folder in folders)
    assert len(single) == len(double) == 5
    if case != "one incomplete batch":
        assert single == pytest.approx(double, abs=1e-5)
        assert single[-1] != pytest.approx(single[0], abs=1e-3)


@pytest.mark.parametrize("case", ["chunks", "checkpointing"])
def test_chunks_change_nothing(folders, case):
    plain, chunked = (load_file(folders[0] / f"{name}.safetensors") for name in ("plain", case))
    for name, tensor in plain.items():
        assert (tensor - chunked[name]).abs().max() < 2e-6, name


def test_all_processes_stop_at_the_same_step_and_go_on_together(folders):
    """Whichever of them SIGTERM came to; the weights are those of a training that was not stopped."""
    plain, stopped = (load_file(folders[1] / f"{name}.safetensors") for name in ("plain", "stopped"))
    for name, tensor in plain.items():
        assert (tensor == stopped[name]).all(), name


@pytest.mark.parametrize("step", training_worker.RESUMED_AT)
@pytest.mark.parametrize("case", training_worker.RESUMED)
def test_two_processes_that_are_resumed_end_the_same(folders, case, step):
    """In the middle of the first epoch or the second, bit for bit; SGD shows an order that differs at once."""
    run = folders[1] / "resumed" / case
    whole, resumed = (load_file(run / name / "final.safetensors") for name in ("whole", f"from {step}"))
    for name, tensor in whole.items():
        assert (tensor == resumed[name]).all(), name
    logs = [json.loads((run / name / "log.json").read_text()) for name in ("whole", f"from {step}")]
    whole, resumed = ([entry["loss"] for entry in log if "loss" in entry] for log in logs)
    assert len(whole) == 2
    assert resumed == pytest.approx(whole, abs=1e-5)
    assert logs[1][-1]["train_loss"] == pytest.approx(sum(whole) / 2, abs=1e-5)
