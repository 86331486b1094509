"""The files beside the code: recipes, launch configurations and model card templates."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def resource_dir(name: str) -> Path:
    """The folder of shipped files: `"recipes"`, `"accelerate_configs"` or `"model_cards"`.

    They stand at the top of the repository, where people look for them; a wheel has them inside the package.
    """
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parents[1] / name
