"""The flags of a dataclass, known without importing what the dataclass is built on.

`transformers.TrainingArguments` takes seconds to import. Its fields are read from its source instead, so that help and
the answer to a wrong flag come at once; the values are parsed by `HfArgumentParser` over the real dataclass.
"""

import argparse
import ast
import dataclasses
import importlib.util
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ..configs import SWITCH_WORDS, ContrastiveOptions

# stands for the dataclass in a call of `parse_arguments`, which imports it only when there are values to parse
TRAINING_ARGUMENTS = "hf_newsmatch:ContrastiveTrainingArguments"

_KINDS = {"int": int, "float": float}


def boolean(text: str) -> bool:
    """The value of a switch, as `HfArgumentParser` reads it."""
    if text.lower() in ("yes", "true", "t", "y", "1"):
        return True
    if text.lower() in ("no", "false", "f", "n", "0"):
        return False
    raise argparse.ArgumentTypeError(f"yes or no expected, not '{text}'")


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag as `HfArgumentParser` would make it of a field.

    Args:
        name (`str`): The field's name.
        kind (`type`): `int`, `float`, `bool` or, for all else, `str`.
        nargs (`str`, *optional*): `"+"` for a list, `"?"` for a switch that may stand alone.
        default (`Any`): The default; [`Unknown`] where only the real dataclass can tell it.
        choices (`tuple`, *optional*): The values to choose from.
        help (`str`): The text that `--help` shows.
        words (`tuple[str, ...]`): What a switch takes beside yes and no.
    """

    name: str
    kind: type
    nargs: str | None
    default: Any
    choices: tuple[Any, ...] | None
    help: str
    words: tuple[str, ...] = ()

    def parse(self, text: str) -> Any:
        """The value of a text on the command line."""
        if text in self.words:
            return text
        return boolean(text) if self.kind is bool else self.kind(text)

    @property
    def names(self) -> list[str]:
        """The spellings on the command line, with underscores and with hyphens."""
        return [f"--{self.name}", *([f"--{self.name.replace('_', '-')}"] if "_" in self.name else [])]

    def add_to(self, group: Any, help: str) -> None:
        """Add the flag to an `argparse` parser or group, with `--no_…` for a switch that is on by default."""
        kind = boolean if self.kind is bool else self.kind
        kind = self.parse if self.words else kind
        const = True if self.nargs == "?" else None
        default = argparse.SUPPRESS  # the real parser knows it; help shows it in its text
        group.add_argument(
            *self.names, type=kind, nargs=self.nargs, const=const, default=default, choices=self.choices, help=help
        )
        if self.is_on:
            negation = [f"--no_{self.name}", f"--no-{self.name.replace('_', '-')}"]
            group.add_argument(
                *negation, action="store_false", dest=self.name, default=default, help=argparse.SUPPRESS
            )

    @property
    def is_on(self) -> bool:
        """Whether this is a switch that is on by default, which `--no_…` turns off."""
        return self.kind is bool and self.default is True


class Unknown:
    """The default of a field whose value its class computes when it is imported."""


def resolve(item: type | str) -> type:
    """The dataclass itself, imported where only its name is given."""
    if not isinstance(item, str):
        return item
    module, _, name = item.partition(":")
    return getattr(import_module(module), name)


def flags_of(item: type | str) -> dict[str, Flag]:
    """The flags of a dataclass by name; of `TRAINING_ARGUMENTS` without importing it."""
    if item == TRAINING_ARGUMENTS:
        inherited = transformers_flags()
        # a transformers whose source reads otherwise still works, only more slowly
        return {**inherited, **flags_of(ContrastiveOptions)} if inherited else flags_of(resolve(item))
    dataclass_type = resolve(item)
    hints = typing.get_type_hints(dataclass_type)
    flags = {}
    for field in dataclasses.fields(dataclass_type):
        if not field.init:
            continue
        default = None if field.default is dataclasses.MISSING else field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        flags[field.name] = _flag(field.name, list(_names_of_hint(hints[field.name])), default, field.metadata)
    return flags


@cache
def transformers_flags() -> dict[str, Flag]:
    """The flags of `transformers.TrainingArguments`, read from its source; none where that cannot be read."""
    spec = importlib.util.find_spec("transformers")
    if spec is None or not spec.submodule_search_locations:
        return {}
    file = Path(spec.submodule_search_locations[0]) / "training_args.py"
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError):
        return {}
    bodies = (node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "TrainingArguments")
    flags = {}
    for node in next(bodies, []):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(node.value, ast.Call):
            given = {keyword.arg: keyword.value for keyword in node.value.keywords}
            default = [] if "default_factory" in given else _literal(given.get("default"))
            metadata = given.get("metadata")
            pairs = zip(metadata.keys, metadata.values) if isinstance(metadata, ast.Dict) else ()
            texts = {_literal(key): _literal(value) for key, value in pairs}
            flags[node.target.id] = _flag(node.target.id, list(_names_of_source(node.annotation)), default, texts)
    return flags


def _literal(node: ast.expr | None) -> Any:
    try:
        return Unknown if node is None else ast.literal_eval(node)
    except ValueError:
        return Unknown


def _flag(name: str, kinds: Sequence[str], default: Any, metadata: Mapping[str, Any]) -> Flag:
    """The flag of a field whose type is the union of `kinds`, by the rules of `HfArgumentParser`."""
    kind = kinds[0]
    optional_switch = set(kinds) == {"bool", "None"}
    if optional_switch:
        kind = "bool"
    elif len(kinds) > 1:
        other = "None" if "None" in kinds else "str"
        kind = kinds[0] if kinds[1] == other else kinds[1]
    nargs = metadata.get("nargs")
    if kind.startswith("list["):
        kind, nargs = kind.removeprefix("list[").removesuffix("]"), "+"
    elif kind == "bool" and not (optional_switch and default is None):
        nargs = "?"
    choices = metadata.get("choices", Unknown)
    return Flag(
        name,
        bool if kind == "bool" else _KINDS.get(kind, str),
        nargs,
        default,
        None if choices is Unknown else tuple(choices),
        metadata.get("help") or "",
        SWITCH_WORDS.get(name, ()),
    )


def _names_of_hint(hint: Any) -> Iterator[str]:
    """The names of the types in a union."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        for part in typing.get_args(hint):
            yield from _names_of_hint(part)
    elif hint is types.NoneType:
        yield "None"
    elif origin is list:
        yield f"list[{typing.get_args(hint)[0].__name__}]"
    else:
        yield getattr(origin or hint, "__name__", str(hint))


def _names_of_source(node: ast.expr) -> Iterator[str]:
    """The names of the types in a union that is written `X | Y`."""
    if isinstance(node, ast.BinOp):
        yield from _names_of_source(node.left)
        yield from _names_of_source(node.right)
    elif isinstance(node, ast.Subscript) and ast.unparse(node.value) != "list":
        yield ast.unparse(node.value)
    else:
        yield ast.unparse(node)
