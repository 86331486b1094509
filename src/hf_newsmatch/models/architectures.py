"""Where the weights of each architecture belong: to which tower, and to which of its layers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """The names of a dual encoder's weights, tower by tower.

    Args:
        towers (`Mapping[str, tuple[str, ...]]`):
            For `"vision"` and `"text"`, the prefixes of the names of the tower's weights, its projection's included.
        layer (`re.Pattern`):
            Finds the number of a transformer layer, its first group, in the name of a weight.
        input (`re.Pattern`):
            Finds the weights below the first layer: the embeddings and a norm after them.
    """

    towers: Mapping[str, tuple[str, ...]]
    layer: re.Pattern[str]
    input: re.Pattern[str]

    def tower(self, name: str) -> str | None:
        """The tower of a weight, told from its name; `None` for one of neither, such as `logit_scale`."""
        return next((tower for tower, prefixes in self.towers.items() if name.startswith(prefixes)), None)

    def patterns(self, tower: str) -> list[str]:
        """The names of a tower's weights as patterns for `fnmatch`."""
        return [f"{prefix}*" for prefix in self.towers[tower]]


CLIP = Architecture(
    towers={"vision": ("vision_model.", "visual_projection."), "text": ("text_model.", "text_projection.")},
    layer=re.compile(r"\.encoder\.layers\.(\d+)\."),
    input=re.compile(r"_model\.(embeddings|pre_layrnorm)\."),
)
