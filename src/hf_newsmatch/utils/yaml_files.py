"""Settings in YAML files, each said once."""

from pathlib import Path
from typing import Any

import yaml

from ..errors import NewsMatchError, first_sentence
from .files import check_regular

# Settings take a few kilobytes, and YAML some seconds a megabyte.
_MOST_BYTES = 2**18


class _Loader(yaml.SafeLoader):
    """Reads plain values; a key that stands twice, and merged mappings, are errors."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse merges, which can repeat one mapping without an end; called before a mapping is made."""
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(problem=f"line {key.start_mark.line + 1} merges mappings")

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are distinct."""
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if (first := lines.get((key.tag, key.value))) is not None:
                    problem = f"'{key.value[:60]}' stands in line {first} and again in line {line}"
                    raise yaml.constructor.ConstructorError(problem=problem)
                lines[key.tag, key.value] = line
        return super().construct_mapping(node, deep)


def read_yaml(file: str | Path, name: str = "") -> Any:
    """The values of a YAML file.

    Args:
        file (`str` or `Path`):
            The file.
        name (`str`, *optional*):
            What messages put before the file, such as `"The recipe "`.

    Raises:
        [`NewsMatchError`]: when there is no such file, or it is not YAML, says a setting twice, or is far too long.
    """
    try:
        check_regular(file)
        with open(file, "rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise NewsMatchError(f"{name}{file} has more than {_MOST_BYTES // 1024} KiB, which no settings take.")
        return yaml.load(content.decode("utf-8-sig"), _Loader)
    except NewsMatchError:
        raise
    except OSError as error:
        raise NewsMatchError(f"{name}{file} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise NewsMatchError(f"{name}{file} is not YAML: {first_sentence(error)}.") from error
