"""`hf-newsmatch COMMAND …`, and `python -m hf_newsmatch COMMAND …`, which is the same."""

import ast
import difflib
import signal
import sys
from importlib import import_module
from pathlib import Path

from .commands import ALIASES, COMMANDS
from .errors import interrupt, leave_interrupted, program
from .version import __version__


def main() -> None:
    """Run the command that the first argument names, or list the commands."""
    name = "python -m hf_newsmatch" if program() == "__main__.py" else program()
    command = sys.argv[1] if len(sys.argv) > 1 else None
    if command in (None, "-h", "--help", "help"):
        print(overview(name))
        sys.exit(2 if command is None else 0)
    if command == "--version":
        print(f"hf-newsmatch {__version__}")
        sys.exit()
    command = ALIASES.get(command, command)
    if command not in COMMANDS:
        nearest = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean '{nearest[0]}'?" if nearest else f"the commands are {', '.join(COMMANDS)}."
        print(f"{name}: error: There is no command '{command}'; {hint}", file=sys.stderr)
        sys.exit(2)
    # what the command's error lines begin with
    sys.argv[:2] = [f"{name} {command}"]
    try:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, interrupt)
        import_module(f"hf_newsmatch.commands.{command}").main()
    except KeyboardInterrupt:  # before the command can answer it
        leave_interrupted()


def overview(name: str) -> str:
    """The commands with a line each."""
    lines = [f"  {command:<13}{summary(command)}" for command in COMMANDS]
    return "\n".join(
        [
            "Rank, for each news text, the pictures most likely published with it.",
            "",
            f"  {name} train          # fine-tune on the embedded demo newsroom",
            f"  {name} interpolate    # then merge the weights with those before, and so on below",
            "",
            f"usage: {name} COMMAND [flags]",
            "",
            *lines,
            "",
            f"`{name} COMMAND --help` tells a command's flags, `{name} --version` the version.",
        ]
    )


def summary(command: str) -> str:
    """The first line of a command's docstring, read without importing the command."""
    source = (Path(__file__).parent / "commands" / f"{command}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]


if __name__ == "__main__":
    main()
