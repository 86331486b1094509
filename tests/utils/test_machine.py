import os

import pytest

from hf_newsmatch.utils import machine
from hf_newsmatch.utils.machine import cpu_flags, usable_cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system pins no processes")
def test_only_the_cores_of_this_process_count():
    before = os.sched_getaffinity(0)
    assert usable_cores() == len(before)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_elsewhere_all_cores_count(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


def test_the_flags_of_the_processor(monkeypatch, tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\nbugs\t\t: amx\n\nflags\t\t: fpu\n")
    monkeypatch.setattr(machine, "_CPU_INFO", file)
    assert cpu_flags() == {"fpu", "avx2", "avx512_bf16"}
    file.write_text("processor\t: 0\nBogoMIPS\t: 50\n")
    assert cpu_flags() == set()
    file.unlink()
    assert cpu_flags() == set(), "not every system has the file"
