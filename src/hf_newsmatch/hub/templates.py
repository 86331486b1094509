"""The templates of `model_cards/`, filled so that no value is taken for Markdown or HTML."""

import json
import re
from typing import Any

import jinja2
from markupsafe import Markup  # which Jinja2 is made of

from ..utils.resources import resource_dir

_SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")
# What would begin a heading, a list, a quotation or a fence at the beginning of a line.
_BLOCK = re.compile(r"\A(?P<before>\d*)(?=[.)](\s|\Z)|#{1,6}(\s|\Z)|[-+](\s|\Z)|=+\s*\Z|-+\s*\Z)")


def render(template: str, /, **values: Any) -> str:
    """A card from the template `model_cards/TEMPLATE.md`; a value that the template misses is an error.

    Values are escaped, but for those that are [`~markupsafe.Markup`]: Markdown of our own.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resource_dir("model_cards")),
        undefined=jinja2.StrictUndefined,
        finalize=escape_markdown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # finalize comes last, so what these give must be Markup
    environment.filters |= {"code": code, "python": _python, "yaml": _yaml, "own": Markup}
    return environment.get_template(f"{template}.md").render(**values)


def escape_markdown(value: Any) -> str:
    """A value as text of Markdown on one line, without meaning as Markdown or HTML."""
    if isinstance(value, Markup | jinja2.Undefined):
        return str(value)
    if isinstance(value, str) and not value.strip():
        return value  # a space between words
    text = str(value)
    lead, trail = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    text = _SPECIAL.sub(r"\\\g<0>", one_line(text))
    text = _BLOCK.sub(r"\g<before>\\", text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # a bare address is not made a link
    text = re.sub(r"@(?=[\w-]+\.)", "&#64;", text)
    text = re.sub(r"(?i)\b(https?|ftp|mailto|xmpp)(:)|\b(www)(\.)", _unlinked, text)
    return f"{' ' if lead else ''}{text}{' ' if trail else ''}"


def code(value: Any) -> Markup:
    """A value as a span of code on one line; a pipe becomes a bar that looks the same, for it may stand in a table."""
    text = one_line(str(value)).replace("|", "¦")
    if not text:
        return Markup("(empty)")  # no fence ends where nothing is between
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return Markup(f"{fence}{space}{text}{space}{fence}")


def one_line(text: str) -> str:
    """A text without line ends and control characters."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def _unlinked(found: re.Match) -> str:
    return f"{found[1]}&#58;" if found[1] else f"{found[3]}&#46;"


def _python(value: Any) -> Markup:
    """A string of Python."""
    return Markup(json.dumps(str(value)).replace("`", "\\u0060"))


def _yaml(value: Any) -> Markup:
    """A value of YAML."""
    return Markup(value if re.fullmatch(r"[\w.-]+", str(value)) else json.dumps(str(value)))
