"""Text towers with a longer context: the table of their positions stretched, as Long-CLIP does (Zhang et al. 2024)."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import NewsMatchError
from .architectures import architecture_of
from .inputs import save_processor
from .loading import load_config, load_processor
from .tensors import write_weights
from .weights import Weights, open_weights

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

LONG_CLIP = 20  # positions that Long-CLIP keeps: those that most captions are shorter than
MAX_CONTEXT = 8192
_TABLE = re.compile(r"\bposition_embeddings?\.weight$")
_UNLIMITED = 10**9


def stretch_positions(table: np.ndarray, context: int, keep: int | None = None) -> np.ndarray:
    """A table of positions with more rows, those between its own interpolated linearly.

    Long-CLIP keeps the first rows and draws the others apart, the last ones going on in the direction of the last
    two. So do the rows that are added here; but by default all rows of the table stay in their places before them.

    Args:
        table (`np.ndarray`):
            Of shape `(positions, width)`.
        context (`int`):
            The rows wanted, more than there are.
        keep (`int`, *optional*):
            The first rows that stay what they are, the others being stretched; 20 is Long-CLIP. By default all.

    Returns:
        `np.ndarray` of shape `(context, width)` and the dtype of the table.
    """
    rows = len(table)
    first = min(LONG_CLIP, rows - 2) if keep is None else keep
    places = first + np.arange(context - first) * ((rows - first) / (context - first))
    below = np.minimum(places.astype(np.int64), rows - 2)
    share = (places - below)[:, None]
    wide = table.astype(np.float64)
    stretched = np.concatenate([wide[:first], (1 - share) * wide[below] + share * wide[below + 1]]).astype(table.dtype)
    kept = rows if keep is None else keep
    stretched[:kept] = table[:kept]
    return stretched


def stretch_checkpoint(
    name_or_path: str | Path, folder: Path, context: int, keep: int | None = None, revision: str | None = None
) -> None:
    """Write a checkpoint whose text tower reads longer texts, with the weights of another.

    Args:
        name_or_path (`str` or `Path`):
            The checkpoint.
        folder (`Path`):
            The folder to write into, which is there and empty.
        context (`int`):
            The tokens that a text may have.
        keep (`int`, *optional*):
            As for [`stretch_positions`].
        revision (`str`, *optional*):
            Branch, tag or commit of a Hub id.

    Raises:
        [`NewsMatchError`]: on a text tower without a table of positions, or a context that is not longer.
    """
    config = load_config(name_or_path, revision)
    # a padding token or more of the table lie before the first position
    positions = _positions(name_or_path, config)
    before = config.text_config.max_position_embeddings - positions
    processor = load_processor(name_or_path, revision, config)
    # some tokenizers cut before the positions end
    limit = processor.tokenizer.model_max_length
    if not limit < context <= MAX_CONTEXT:
        raise NewsMatchError(
            f"'{name_or_path}' reads texts of {limit} tokens; name a longer --context_length, up to {MAX_CONTEXT}, not"
            f" {context}."
        )
    if keep is not None and not 1 <= keep <= positions - 2:
        raise NewsMatchError(
            f"--keep_positions must lie between 1 and {positions - 2} with the {positions} positions of"
            f" '{name_or_path}', not at {keep}; without it, all of them stay."
        )
    with open_weights(name_or_path, revision) as weights:
        arrays = dict(weights.arrays)
        if context > positions:
            name = _table(weights, config)
            stretched = stretch_positions(arrays[name][before:], context, keep)
            arrays[name] = np.concatenate([arrays[name][:before], stretched])
            config.text_config.max_position_embeddings = context + before
        write_weights(folder, arrays, lambda weight: [arrays[weight].reshape(-1)])
    config.save_pretrained(folder)
    processor.tokenizer.model_max_length = context
    save_processor(processor, folder)


def _positions(name_or_path: str | Path, config: "PreTrainedConfig") -> int:
    """The positions that a text tower can use."""
    architecture = architecture_of(config, name_or_path)
    if architecture.pads_to_context:
        raise NewsMatchError(
            f"'{name_or_path}' is of type {architecture.title}, which reads every text padded to its whole context:"
            " with a longer one all embeddings would change; name a model of another type."
        )
    if architecture.context is not None:
        raise NewsMatchError(
            f"'{name_or_path}' is of type {architecture.title}, which was trained with texts of {architecture.context}"
            " tokens and has positions for more: there is nothing to stretch."
        )
    text = config.text_config
    kind = getattr(text, "position_embedding_type", None) or "absolute"
    if getattr(text, "max_position_embeddings", None) is None or kind != "absolute":
        raise NewsMatchError(_no_table(name_or_path, text.model_type))
    return architecture.text_length(config, _UNLIMITED)


def _table(weights: Weights, config: "PreTrainedConfig") -> str:
    """The name of the text tower's table of positions."""
    architecture = architecture_of(config, weights.source)
    found = [name for name in weights.names if architecture.tower(name) == "text" and _TABLE.search(name)]
    if len(found) != 1 or len(weights.arrays[found[0]]) != config.text_config.max_position_embeddings:
        raise NewsMatchError(_no_table(weights.source, config.text_config.model_type))
    return found[0]


def _no_table(source: str | Path, kind: str) -> str:
    return f"The text tower of '{source}', of type {kind}, has no table of positions that could be stretched."
