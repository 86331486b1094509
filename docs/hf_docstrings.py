"""A griffe extension that reads docstrings as transformers writes them, for a site that renders Google's style.

In ours, an argument is `name (`type`, *optional*, defaults to `value`):`, and [`name`] refers to another object. Types
and defaults stand in the signature already, so that the site shows them from there; a shape goes to the description. A
reference becomes a link when its object is on the site, else code.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import griffe

# the packages that have a page below docs/api
DOCUMENTED = {page.stem for page in (Path(__file__).parent / "api").glob("*.md")}

_REFERENCE = re.compile(r"\[`~?([^`]+)`\](?![\[(])")
_SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises):$")
_TYPE = r"\((?:`[^`]*`|\([^()]*\)|[^()`])*\)"
_HEAD = re.compile(rf"^    ((?:\w+(?: {_TYPE})?(?:, )?)+):(?: (.*))?$")
_SHAPE = re.compile(r"of (shapes? `[^`]*`(?:(?:, | and )`[^`]*`)*)")


class HuggingFaceDocstrings(griffe.Extension):
    """Rewrites every docstring of a package when it is loaded."""

    def on_package(self, *, pkg: griffe.Module, **kwargs) -> None:
        objects = list(_walk(pkg))
        targets = defaultdict(list)
        for item in objects:
            if _is_on_site(item):
                targets[item.name].append(item.path)
                targets[".".join(item.path.rsplit(".", 2)[1:])].append(item.path)
        for item in objects:
            if item.docstring is not None:
                text = rewrite_sections(item.docstring.value)
                item.docstring.value = _REFERENCE.sub(lambda match, item=item: _link(match[1], item, targets), text)


def rewrite_sections(text: str) -> str:
    """A docstring's text in Google's style, references aside."""
    lines, section = [], None
    for line in text.splitlines():
        if match := _SECTION.match(line):
            section = match[1]
            lines.append(line if section not in ("Returns", "Yields") else f"**{section}:**\n")
        elif line.strip() and not line.startswith(" "):
            section = None
            lines.append(line)
        elif section in ("Args", "Attributes") and (match := _HEAD.match(line)):
            lines += _rewrite_argument(match[1], match[2])
        elif section in ("Returns", "Yields"):
            lines.append(line.removeprefix("    "))
        elif section == "Raises":
            lines.append(re.sub(r"^    \[?`([\w.]+)`\]?:", r"    \1:", line))
        else:
            lines.append(line)
    return "\n".join(lines)


def _rewrite_argument(head: str, description: str | None) -> list[str]:
    """The lines that begin an argument; arguments described together share the first one's description."""
    *others, last = re.sub(rf" {_TYPE}", "", head).split(", ")
    shape = _SHAPE.search(head)
    start = " ".join(filter(None, [shape and shape[1].capitalize() + ".", description]))
    return [*(f"    {name}: As `{last}`." for name in others), f"    {last}: {start}".rstrip()]


def _link(name: str, item: griffe.Object, targets: dict[str, list[str]]) -> str:
    """A link to the object that a docstring means: of its class, of its module, or the only one of that name."""
    code = f"`{name.split('.')[-1] if name.startswith('~') else name}`"
    paths = targets.get(name, [])
    parents = [item.path, item.path.rpartition(".")[0], item.module.path]
    near = [path for parent in parents for path in paths if path == f"{parent}.{name}"]
    path = near[0] if near else paths[0] if len(set(paths)) == 1 else None
    return f"[{code}][{path}]" if path else code


def _is_on_site(item: griffe.Object) -> bool:
    names = item.path.split(".")
    public = not any(name.startswith("_") for name in names)
    return len(names) > 2 and names[1] in DOCUMENTED and public and item.docstring is not None and not item.is_module


def _walk(item: griffe.Object) -> Iterator[griffe.Object]:
    yield item
    for member in item.members.values():
        if not member.is_alias:
            yield from _walk(member)
