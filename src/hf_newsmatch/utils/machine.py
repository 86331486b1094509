"""The resources of the machine that this process may use."""

import os


def usable_cores() -> int:
    """The cores that this process may use: fewer than there are inside a container or a scheduler's job."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
