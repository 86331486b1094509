"""Several processes: gathering rows of all of them with their gradients, and ending one."""

import atexit
import os
import sys
from typing import NoReturn

import torch
import torch.distributed as dist
from torch.distributed._functional_collectives import all_gather_single_autograd


def world() -> tuple[int, int]:
    """This process's rank and the number of processes; `(0, 1)` without a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def gather(tensor: torch.Tensor) -> torch.Tensor:
    """The rows of all processes, in the order of their ranks; the tensor itself when there is one process.

    Each row's gradient is the sum of the gradients of all processes' losses, so that the mean of the processes'
    gradients, which data-parallel training takes, is the gradient of the mean of their losses.

    Args:
        tensor (`torch.Tensor` of shape `(n, ...)`):
            This process's rows, as many in every process.

    Returns:
        `torch.Tensor` of shape `(processes * n, ...)`.
    """
    return all_gather_single_autograd(tensor, 0, dist.group.WORLD) if world()[1] > 1 else tensor


def leave(code: int = 0) -> NoReturn:
    """End a process whose group is closed: run what is registered for exit, but skip the interpreter's shutdown.

    Now and then a thread that gloo has left behind aborts an interpreter that shuts down, and with it the launch.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
