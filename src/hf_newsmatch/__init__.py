"""hf-newsmatch: rank, for each news text, the pictures most likely published with it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

# Name to the module that defines it; imported on first use, so that `import hf_newsmatch` stays light.
_EXPORTS = {
    "AlphaSweep": "wise_ft.sweep",
    "ContrastiveCollator": "data.collator",
    "ContrastiveTrainer": "trainer",
    "ContrastiveTrainingArguments": "trainer",
    "NewsMatchError": "errors",
    "NewsMatcher": "matcher",
    "Ranking": "retrieval",
    "Translator": "translation",
    "check_pictures": "data.pictures",
    "choose_alpha": "wise_ft.rules",
    "chronological_slices": "data.splits",
    "chronological_split": "data.splits",
    "contrastive_loss": "losses",
    "distinct_images": "data.pictures",
    "drop_unusable": "data.pictures",
    "embed_images": "embeddings",
    "embed_texts": "embeddings",
    "fuse": "fusion",
    "interpolate": "wise_ft.interpolation",
    "load_articles": "data.newsimages",
    "load_clip": "modeling",
    "load_gold": "data.newsimages",
    "load_images": "data.newsimages",
    "load_pairs": "data.newsimages",
    "open_picture": "data.pictures",
    "rank": "retrieval",
    "rank_articles": "retrieval",
    "read_predictions": "retrieval",
    "score": "metrics",
    "split_report": "data.splits",
    "sweep_alpha": "wise_ft.sweep",
    "sweep_towers": "wise_ft.sweep",
    "translate_dataset": "translation",
    "write_newsroom": "demo.newsroom",
    "write_predictions": "retrieval",
}
__all__ = [*sorted(_EXPORTS), "__version__"]

if TYPE_CHECKING:
    from .data.collator import ContrastiveCollator
    from .data.newsimages import load_articles, load_gold, load_images, load_pairs
    from .data.pictures import check_pictures, distinct_images, drop_unusable, open_picture
    from .data.splits import chronological_slices, chronological_split, split_report
    from .demo.newsroom import write_newsroom
    from .embeddings import embed_images, embed_texts
    from .errors import NewsMatchError
    from .fusion import fuse
    from .losses import contrastive_loss
    from .matcher import NewsMatcher
    from .metrics import score
    from .modeling import load_clip
    from .retrieval import Ranking, rank, rank_articles, read_predictions, write_predictions
    from .trainer import ContrastiveTrainer, ContrastiveTrainingArguments
    from .translation import Translator, translate_dataset
    from .wise_ft.interpolation import interpolate
    from .wise_ft.rules import choose_alpha
    from .wise_ft.sweep import AlphaSweep, sweep_alpha, sweep_towers


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_EXPORTS[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
