"""hf-newsmatch: rank, for each news text, the pictures most likely published with it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

# Name to the module that defines it; imported on first use, so that `import hf_newsmatch` stays light.
_EXPORTS = {
    "AlphaSweep": "merging.curve",
    "ContrastiveCollator": "training.collator",
    "ContrastiveTrainer": "training.trainer",
    "ContrastiveTrainingArguments": "training.arguments",
    "NewsMatchError": "errors",
    "NewsMatcher": "retrieval.matcher",
    "Ranking": "retrieval.ranking",
    "Translator": "translation",
    "check_pictures": "data.images",
    "choose_alpha": "merging.selection",
    "chronological_slices": "data.splits",
    "chronological_split": "data.splits",
    "contrastive_loss": "training.losses",
    "convert": "models.conversion",
    "distinct_images": "data.images",
    "drop_unusable": "data.images",
    "embed_images": "retrieval.embeddings",
    "embed_texts": "retrieval.embeddings",
    "fuse": "retrieval.fusion",
    "interpolate": "merging.interpolation",
    "load_articles": "data.newsimages",
    "load_clip": "models.loading",
    "load_model": "models.loading",
    "load_gold": "data.newsimages",
    "load_images": "data.newsimages",
    "load_pairs": "data.newsimages",
    "open_picture": "data.images",
    "rank": "retrieval.ranking",
    "rank_articles": "retrieval.articles",
    "read_predictions": "retrieval.predictions",
    "score": "metrics",
    "split_report": "data.splits",
    "sweep_alpha": "merging.sweep",
    "sweep_towers": "merging.sweep",
    "translate_dataset": "translation",
    "write_newsroom": "demo.newsroom",
    "write_predictions": "retrieval.predictions",
}
__all__ = [*sorted(_EXPORTS), "__version__"]

if TYPE_CHECKING:
    from .data.images import check_pictures, distinct_images, drop_unusable, open_picture
    from .data.newsimages import load_articles, load_gold, load_images, load_pairs
    from .data.splits import chronological_slices, chronological_split, split_report
    from .demo.newsroom import write_newsroom
    from .errors import NewsMatchError
    from .merging.curve import AlphaSweep
    from .merging.interpolation import interpolate
    from .merging.selection import choose_alpha
    from .merging.sweep import sweep_alpha, sweep_towers
    from .metrics import score
    from .models.conversion import convert
    from .models.loading import load_clip, load_model
    from .retrieval.articles import rank_articles
    from .retrieval.embeddings import embed_images, embed_texts
    from .retrieval.fusion import fuse
    from .retrieval.matcher import NewsMatcher
    from .retrieval.predictions import read_predictions, write_predictions
    from .retrieval.ranking import Ranking, rank
    from .training.arguments import ContrastiveTrainingArguments
    from .training.collator import ContrastiveCollator
    from .training.losses import contrastive_loss
    from .training.trainer import ContrastiveTrainer
    from .translation import Translator, translate_dataset


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .errors import needs_extra

    with needs_extra():
        value = getattr(import_module(f".{_EXPORTS[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
