"""Where the scripts print their tables."""

from rich.console import Console

WIDTH = 100  # columns that the table of runs needs with its intervals


def make_console() -> Console:
    """The terminal, or, in a pipe or a log, one as wide as our tables."""
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, WIDTH))
