"""The command line that all commands share: dataclasses, a YAML recipe under them, flags over it.

Help and the answer to a wrong flag come before anything heavy is imported; see `flags`.
"""

import argparse
import dataclasses
import difflib
import json
import sys
import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from .. import configs
from ..errors import NewsMatchError, first_sentence, program, readable
from ..utils.resources import resource_dir
from .flags import TRAINING_ARGUMENTS, Flag, flags_of, resolve
from .help import HelpFormatter, as_called, columns, flag_help, group_flags
from .renamed import RENAMED

__all__ = ["TRAINING_ARGUMENTS", "parse_arguments"]

_CONFIG_HELP = "A recipe in YAML with the values below by name; flags override it."
_HELP = {"-h", "--help", "--help_all", "--help-all"}


# Flags that name data, in place of those of the default recipe.
_NAMES_DATA = {"articles_file", "test_articles_file", "demo"}
_MOST_VALUES = 10_000


def parse_arguments(
    *dataclass_types: type | str,
    description: str,
    argv: Sequence[str] | None = None,
    default_config: str | Path | None = None,
) -> tuple[Any, ...]:
    """Parse the command line into dataclasses, over the values of the YAML file that `--config` names.

    Args:
        dataclass_types (`type` or `str`):
            The dataclasses, as for `HfArgumentParser`; `TRAINING_ARGUMENTS` in place of the one that takes seconds to
            import.
        description (`str`):
            The command's docstring, which `--help` shows: a sentence, indented examples, and more to know.
        argv (`Sequence[str]`, *optional*):
            The arguments; those of the process by default.
        default_config (`str` or `Path`, *optional*):
            The YAML file to take when neither it nor the flags name any data.

    Returns:
        `tuple`: one instance of each dataclass.

    Raises:
        [`NewsMatchError`]: on a recipe that cannot be read, a key in it that no dataclass has, an unknown flag, or a
            value that a dataclass refuses. Values of another type end as argparse ends them, with exit code 2.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    own = {name: flag for item in dataclass_types for name, flag in flags_of(item).items()}
    if asked := _HELP & set(argv):
        print_help(dataclass_types, description, everything=asked <= {"--help_all", "--help-all"})
        sys.exit(0)

    config_parser = _Parser(prog=program(), add_help=False, allow_abbrev=False)
    config_parser.add_argument("--config")
    config, flags = config_parser.parse_known_args(argv)
    _check_flags(own, flags)
    file = config.config
    if file is None and default_config is not None and not _names_data(flags):
        file = default_config
    if file is not None:
        lists = {name for name, flag in own.items() if flag.nargs == "+"}
        # the recipe as flags ahead of the others: argparse checks all alike, and the later ones win; `--config` in
        # between ends the recipe's last list
        flags = [*_as_flags(_read_recipe(file, own), lists), f"--config={file}", *flags]
        _check_flags(own, flags)

    # from here on there are values to parse
    from transformers import HfArgumentParser

    types = [resolve(item) for item in dataclass_types]
    parser = HfArgumentParser(types, prog=program(), usage=argparse.SUPPRESS, add_help=False, allow_abbrev=False)
    parser.add_argument("--config")
    for action in parser._actions:
        if action.dest in own and own[action.dest].words:
            action.type = own[action.dest].parse
    try:
        # flags only: argparse would let a `--config` inside pass, but it is read already
        return parser.parse_args_into_dataclasses(flags, look_for_args_file=False)[: len(types)]
    except (ValueError, TypeError) as error:
        raise NewsMatchError(first_sentence(error) + ".") from error


def print_help(dataclass_types: Sequence[type | str], description: str, everything: bool = False) -> None:
    """Print a command's examples and flags; of a training's flags those that matter, unless it is to be everything."""
    summary, _, rest = as_called(description).partition("\n")
    parser = _Parser(
        prog=program(),
        usage="%(prog)s [--config YAML] [flags]",
        description=f"{summary}\n{rest}",
        add_help=False,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--config", metavar="YAML", help=_CONFIG_HELP)
    hidden: list[Flag] = []
    for item in dataclass_types:
        groups, rare = group_flags(item)
        hidden += rare
        for title, flags in groups.items():
            group = parser.add_argument_group(title)
            for flag in flags:
                flag.add_to(group, flag_help(flag))
    shown = [flag for item in dataclass_types for flag in flags_of(item).values()]
    epilog = "--no_NAME turns off a switch whose default is on." if any(flag.is_on for flag in shown) else ""
    if hidden and everything:
        group = parser.add_argument_group("more of transformers.TrainingArguments")
        for flag in hidden:
            flag.add_to(group, flag_help(flag))
    elif hidden:
        epilog += f" --help_all adds the {len(hidden)} other flags of transformers.TrainingArguments."
    parser.epilog = textwrap.fill(epilog, columns())
    parser.print_help()


class _Parser(argparse.ArgumentParser):
    """An `argparse` parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {readable(message)}\n")


def _check_flags(own: Mapping[str, Flag], flags: Sequence[str]) -> None:
    """Refuse an unknown flag, or a value of another type, without the real dataclasses."""
    parser = _Parser(prog=program(), add_help=False, allow_abbrev=False)
    parser.add_argument("--config")
    for flag in own.values():
        flag.add_to(parser, flag.help)
    _, unknown = parser.parse_known_args(flags)
    if not unknown:
        return
    typed = next((text for text in unknown if text.startswith("-")), unknown[0]).partition("=")[0]
    if not typed.startswith("-"):
        raise NewsMatchError(f"'{typed}' belongs to no flag.")
    name = typed.lstrip("-").replace("-", "_")
    if name in RENAMED and "num_train_epochs" in own:
        raise NewsMatchError(f"Transformers 5 has no {typed} any more: {RENAMED[name]}.")
    nearest = _nearest(name, [*own, "config", "help", "help_all"], "--") or "."
    raise NewsMatchError(f"There is no flag {typed}{nearest}")


def _nearest(name: str, names: Collection[str], prefix: str = "") -> str:
    nearest = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {prefix}{nearest[0]}?" if nearest else ""


def _names_data(flags: Sequence[str]) -> bool:
    typed = {flag.partition("=")[0].removeprefix("--").replace("-", "_") for flag in flags if flag.startswith("--")}
    return not typed.isdisjoint(_NAMES_DATA)


def _as_flags(recipe: Mapping[str, Any], lists: Collection[str]) -> list[str]:
    """The values of a recipe as they would be typed; a null is not."""
    flags = []
    for name, value in recipe.items():
        if isinstance(value, list) and name in lists:
            flags += [f"--{name}", *map(_as_typed, value)]
        elif value is not None:
            flags.append(f"--{name}={_as_typed(value)}")
    return flags


def _as_typed(value: Any) -> str:
    if isinstance(value, bool):
        # YAML reads `no` as false; `yes` and `no` are understood by switches too
        return "yes" if value else "no"
    # what is nested goes as JSON, which TrainingArguments reads where it takes a dictionary
    return json.dumps(value, default=str) if isinstance(value, dict | list | None) else str(value)


def _read_recipe(file: str | Path, own: Collection[str]) -> dict[str, Any]:
    """The values of a recipe that belong to this command."""
    from ..utils.yaml_files import read_yaml

    file = Path(file)
    if file.parent == Path("recipes") and not file.exists() and (resource_dir("recipes") / file.name).is_file():
        # where there is no repository, the recipe that came with the package
        file = resource_dir("recipes") / file.name
    values = read_yaml(file, "The recipe ")
    if not _is_small(values):
        raise NewsMatchError(f"The recipe {file} holds more than {_MOST_VALUES:,} values, which no recipe does.")
    if not isinstance(values, dict):
        raise NewsMatchError(f"The recipe {file} must hold lines like `learning_rate: 1e-5`.")
    # one recipe serves every command: each takes its own keys and leaves the others'
    known = {name for item in _all_dataclasses() for name in flags_of(item)}
    unknown = sorted(set(values) - known, key=str)
    if unknown and unknown[0] in RENAMED:
        text = RENAMED[unknown[0]].replace("--", "")
        raise NewsMatchError(f"The recipe {file} has '{unknown[0]}', which transformers 5 no longer has: {text}.")
    if unknown:
        nearest = _nearest(str(unknown[0]), known) or "."
        raise NewsMatchError(f"The recipe {file} has the key '{unknown[0]}', which no command knows{nearest}")
    return {name: value for name, value in values.items() if name in own}


def _is_small(values: Any) -> bool:
    """Whether there are few values in all, those that YAML's aliases repeat counted each time."""
    waiting, count = [values], 0
    while waiting and count <= _MOST_VALUES:
        value = waiting.pop()
        count += 1
        if isinstance(value, dict | list):
            waiting += value.values() if isinstance(value, dict) else value
    return count <= _MOST_VALUES


def _all_dataclasses() -> list[type | str]:
    own = [value for value in vars(configs).values() if isinstance(value, type) and dataclasses.is_dataclass(value)]
    return [TRAINING_ARGUMENTS, *own]
