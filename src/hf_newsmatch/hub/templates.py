"""The templates of `model_cards/`."""

from typing import Any

import jinja2

from ..utils.resources import resource_dir


def render(template: str, /, **values: Any) -> str:
    """A card from the template `model_cards/TEMPLATE.md`; a value that the template misses is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resource_dir("model_cards")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(f"{template}.md").render(**values)
