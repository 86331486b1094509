"""An experiment: the folder with its record, and the seven steps over it.

Each step takes an experiment and its arguments and returns data; the commands print them.
"""

from importlib import import_module
from typing import Any

# Name to the module that defines it; imported on first use, because most steps need seconds for their libraries.
_EXPORTS = {
    "Experiment": "folder",
    "train": "training",
    "interpolate": "merging",
    "predict": "prediction",
    "evaluate": "evaluation",
    "report": "reporting",
    "push": "publishing",
    "translate": "translating",
}
__all__ = list(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_EXPORTS[name]}", __name__), name)
