"""The launch configurations for several processes, really run: two processes, on the CPU, on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.utils.launching import free_port
from tests.utils.news import make_model, make_processor, write_news_folder

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.distributed, pytest.mark.slow]


def launch(config: str, news: Path, output_dir: Path, batch_size: int, *flags: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file"]
    command += [str(ROOT / "accelerate_configs" / f"{config}.yaml"), "--mixed_precision", "no", *flags]
    script = f"""{ROOT}/scripts/train.py --articles_file {news}/articles.tsv --model_name_or_path {news}/base
        --output_dir {output_dir} --use_cpu true --max_steps 4 --per_device_train_batch_size {batch_size}
        --learning_rate 0.01 --optim sgd --coupled_weight_decay false --report_to none --disable_tqdm true"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, *script.split()], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.fixture(scope="module")
def news(tmp_path_factory):
    folder = write_news_folder(tmp_path_factory.mktemp("news"))
    processor = make_processor()
    make_model(processor).save_pretrained(folder / "base")
    processor.save_pretrained(folder / "base")
    return folder


@pytest.fixture(scope="module")
def one_process(news):
    """What one process trains with the whole batch."""
    process = launch("cpu", news, news / "one", 8)
    assert process.wait() == 0, process.stdout.read()[-3000:]
    return load_file(news / "one" / "fine_tuned" / "model.safetensors")


def check(processes: list[subprocess.Popen], output_dir: Path, expected) -> None:
    outputs = [process.communicate()[0] for process in processes]
    # a thread of gloo may abort a process that has done everything; what was done is checked below
    aborted = any("terminate called without an active exception" in output for output in outputs)
    assert aborted or not any(process.returncode for process in processes), "\n".join(outputs)[-5000:]
    assert json.loads((output_dir / "newsmatch.json").read_text())["train"]["processes"] == 2
    weights = load_file(output_dir / "fine_tuned" / "model.safetensors")
    for name, tensor in expected.items():
        assert (tensor - weights[name]).abs().max() < 2e-6, name
    assert {path.name for path in output_dir.iterdir()} >= {"fine_tuned", "newsmatch.json"}


def test_multi_gpu(news, one_process):
    port = ["--main_process_port", str(free_port())]
    check([launch("multi_gpu", news, news / "two", 4, *port)], news / "two", one_process)


def test_multi_node(news, one_process):
    """Two machines of one process each, both of them this one."""
    where = ["--main_process_ip", "127.0.0.1", "--main_process_port", str(free_port())]
    nodes = [launch("multi_node", news, news / "nodes", 4, *where, "--machine_rank", str(rank)) for rank in (0, 1)]
    check(nodes, news / "nodes", one_process)
    assert [path.name for path in (news / "nodes").glob("checkpoint-*")], "a checkpoint that both had a part in"
