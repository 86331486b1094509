"""The resources of the machine that this process may use."""

import os
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")


def usable_cores() -> int:
    """The cores that this process may use: fewer than there are inside a container or a scheduler's job."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_flags() -> frozenset[str]:
    """The instruction sets of the processor as Linux names them, such as `avx512_bf16`; none on other systems."""
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    # all cores have the first one's
    return next((frozenset(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), frozenset())
