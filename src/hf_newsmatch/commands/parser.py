"""The command line every command shares: dataclasses, a YAML recipe under them, flags over it."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser

from .. import configs
from ..errors import NewsMatchError, first_sentence


def parse_arguments(
    *dataclass_types: type,
    description: str,
    argv: Sequence[str] | None = None,
    default_config: str | Path | None = None,
) -> tuple[Any, ...]:
    """Parse the command line into dataclasses, over the values of the YAML file that `--config` names.

    Args:
        dataclass_types (`type`):
            The dataclasses, as for `HfArgumentParser`.
        description (`str`):
            The script's own, shown by `--help`.
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
    config_parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    config_parser.add_argument("--config")
    config, flags = config_parser.parse_known_args(argv)

    parser = HfArgumentParser(dataclass_types, description=description, allow_abbrev=False)
    parser.add_argument("--config", metavar="YAML", help="A recipe: the values below by name. Flags override it.")
    file = config.config
    if file is None and default_config is not None and not _names_data(flags):
        file = default_config
    if file is not None and not {"-h", "--help"} & set(flags):
        lists = {action.dest for action in parser._actions if action.nargs == "+"}
        # the recipe as flags ahead of the others: argparse checks all alike, and the later ones win; `--config` in
        # between ends the recipe's last list
        flags = [*_as_flags(_read_recipe(file, dataclass_types), lists), f"--config={file}", *flags]
    try:
        # flags only: argparse would let a `--config` inside pass, but it is read already
        return parser.parse_args_into_dataclasses(flags, look_for_args_file=False)[: len(dataclass_types)]
    except (ValueError, TypeError) as error:
        raise NewsMatchError(first_sentence(error) + ".") from error


def _names_data(flags: Sequence[str]) -> bool:
    return any(flag.split("=")[0] in ("--articles_file", "--articles-file", "--demo") for flag in flags)


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


def _read_recipe(file: str | Path, dataclass_types: Sequence[type]) -> dict[str, Any]:
    try:
        values = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise NewsMatchError(f"The recipe {file} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise NewsMatchError(f"The recipe {file} is not YAML: {first_sentence(error)}.") from error
    if not isinstance(values, dict):
        raise NewsMatchError(f"The recipe {file} is to hold lines like `learning_rate: 1e-5`.")
    # one recipe serves every script: each takes its own keys and leaves the others'
    unknown = sorted(set(values) - _field_names(_all_dataclasses()), key=str)
    if unknown:
        raise NewsMatchError(f"The recipe {file} has the key '{unknown[0]}', which no script knows.")
    own = _field_names(dataclass_types)
    return {name: value for name, value in values.items() if name in own}


def _all_dataclasses() -> list[type]:
    from ..training.arguments import ContrastiveTrainingArguments

    own = [value for value in vars(configs).values() if dataclasses.is_dataclass(value)]
    return [ContrastiveTrainingArguments, *own]


def _field_names(dataclass_types: Sequence[type]) -> set[str]:
    return {
        item.name for dataclass_type in dataclass_types for item in dataclasses.fields(dataclass_type) if item.init
    }
