"""Several processes: the rows of the others, with a gradient that finds its way back, and how to end."""

import atexit
import os
import sys
from typing import NoReturn

import torch
import torch.distributed as dist


def world() -> tuple[int, int]:
    """This process's rank and the number of processes; `(0, 1)` without a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def gather(tensor: torch.Tensor) -> torch.Tensor:
    """The rows of all processes, in the order of their ranks; the tensor itself when there is one process.

    Each row's gradient is the sum of what every process's loss says of it, so that the mean of the processes'
    gradients, which data-parallel training takes, is the gradient of the mean of their losses.

    Args:
        tensor (`torch.Tensor` of shape `(n, ...)`):
            This process's rows, as many in every process.

    Returns:
        `torch.Tensor` of shape `(processes * n, ...)`.
    """
    return _Gather.apply(tensor) if world()[1] > 1 else tensor


def leave(code: int = 0) -> NoReturn:
    """End a process whose group is closed, after everything that is due at exit, but without the interpreter's end.

    Now and then a thread that gloo has left behind aborts an interpreter that shuts down, and with it the launch.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty_like(tensor) for _ in range(world()[1])]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        rank, processes = world()
        return gradient.chunk(processes)[rank]
