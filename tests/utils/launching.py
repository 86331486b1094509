"""Two processes on this machine."""

import socket
import sys


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def two_processes() -> list[str]:
    """The command that starts what follows it twice.

    Not with `--standalone`: its rendezvous takes a launcher whose heartbeat is late on a busy machine for dead, and
    starts the processes once more (`torch/distributed/elastic/agent/server/api.py`, "membership changes").
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv_backend", "static"]
    return [*command, "--master_addr", "127.0.0.1", "--master_port", str(free_port())]
