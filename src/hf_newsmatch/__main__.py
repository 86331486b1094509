"""`python -m hf_newsmatch STEP …` is the command `hf-newsmatch STEP …`."""

import sys
from importlib import import_module


def main() -> None:
    name = sys.argv.pop(1)
    import_module(f"hf_newsmatch.commands.{name}").main()


if __name__ == "__main__":
    main()
