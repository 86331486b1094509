"""Ordinary checkpoints from other ones: from open_clip's layout, and with a longer context."""

import os
from pathlib import Path

from ..errors import NewsMatchError
from ..utils.files import atomic_path, temporary_folder
from .converted import is_open_clip
from .loading import load_config, load_model, named_checkpoint
from .open_clip import convert_open_clip
from .stretching import stretch_checkpoint
from .weights import check_replaceable


def convert(
    name_or_path: str | Path,
    output_dir: str | Path,
    *,
    revision: str | None = None,
    tokenizer: str | Path | None = None,
    context_length: int | None = None,
    keep_positions: int | None = None,
) -> Path:
    """Write a checkpoint in open_clip's layout, or one whose context is to be longer, as an ordinary one.

    Args:
        name_or_path (`str` or `Path`):
            A folder or Hub id, of open_clip's layout or transformers'.
        output_dir (`str` or `Path`):
            The folder to write; it appears whole or not at all. An empty folder or an older checkpoint is replaced.
        revision (`str`, *optional*):
            Branch, tag or commit of a Hub id.
        tokenizer (`str` or `Path`, *optional*):
            A folder or Hub id with the files of CLIP's tokenizer, for a folder of open_clip that has none.
        context_length (`int`, *optional*):
            The tokens that a text may have, more than the model's own.
        keep_positions (`int`, *optional*):
            With `context_length`, the first positions that are kept, the others being stretched: 20 is Long-CLIP. By
            default all are kept and stretched ones follow, so that shorter texts have the embeddings they had.

    Returns:
        `Path`: the folder, which `CLIPModel.from_pretrained` and `CLIPProcessor.from_pretrained`, or those of the
        checkpoint's own type, load.

    Raises:
        [`NewsMatchError`]: on a checkpoint that cannot be converted, or an `output_dir` that holds something else.
    """
    checkpoint, output_dir = named_checkpoint(name_or_path), Path(output_dir)
    if keep_positions is not None and context_length is None:
        raise NewsMatchError("--keep_positions belongs to --context_length; name the context that is wanted.")
    from_open_clip = is_open_clip(checkpoint, revision)
    if not from_open_clip and tokenizer is not None:
        raise NewsMatchError(
            f"'{name_or_path}' is no checkpoint of open_clip and has a tokenizer; leave --tokenizer out."
        )
    if not from_open_clip and context_length is None:
        load_config(name_or_path, revision)  # says what it is where that is no ordinary checkpoint
        raise NewsMatchError(
            f"'{name_or_path}' is a checkpoint of transformers already; use it as it is, or name a --context_length."
        )
    if output_dir.exists() and Path(checkpoint).exists() and os.path.samefile(output_dir, checkpoint):
        raise NewsMatchError(f"{output_dir} is the checkpoint itself; name another --output_dir.")
    check_replaceable(output_dir)
    tokens = None if tokenizer is None else str(tokenizer)
    with atomic_path(output_dir) as temporary:
        temporary.mkdir()
        if context_length is None:
            convert_open_clip(checkpoint, temporary, revision, tokens)
        elif not from_open_clip:
            stretch_checkpoint(name_or_path, temporary, context_length, keep_positions, revision)
        else:
            with temporary_folder(temporary.parent, output_dir.name) as scratch:
                convert_open_clip(checkpoint, scratch, revision, tokens)
                stretch_checkpoint(scratch, temporary, context_length, keep_positions)
        load_model(temporary)  # what does not load is not left
    return output_dir
