"""Checkpoints of open_clip in the cache, converted once: what loads a model takes them as any other."""

import hashlib
import json
import logging
from pathlib import Path

from filelock import FileLock

from ..utils.files import atomic_path, sha256
from .architectures import ARCHITECTURES
from .checks import find_file
from .open_clip import CONFIG, TOKENIZER, convert_open_clip, weights_file

logger = logging.getLogger(__name__)

_VERSION = 1  # goes up when a conversion writes something else
_MARKER = "open_clip.json"  # in a converted folder, what it was made from
# What Hub ids and their revisions are in this process, so that the Hub is asked once: a folder, or themselves.
_known: dict[tuple[str, str | None], str] = {}


def is_open_clip(checkpoint: str, revision: str | None = None, offline: bool = False) -> bool:
    """Whether a folder or Hub id is laid out by open_clip alone: many are laid out by both, and load as they are."""
    folder = Path(checkpoint)
    if folder.is_dir():
        if not (folder / CONFIG).is_file():
            return False
        has_weights = any(folder.glob("model*.safetensors*")) or any(folder.glob("pytorch_model*.bin*"))
        return not (has_weights and _is_dual_encoder(folder / "config.json"))
    if (checkpoint, revision) in _known:
        return _known[checkpoint, revision] != checkpoint
    config = find_file(checkpoint, "config.json", revision, offline)
    if config is not None and _is_dual_encoder(config):
        _known[checkpoint, revision] = checkpoint
        return False
    return find_file(checkpoint, CONFIG, revision, offline) is not None


def _is_dual_encoder(config: Path) -> bool:
    try:
        return json.loads(config.read_text(encoding="utf-8")).get("model_type", "clip") in ARCHITECTURES
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return False


def converted(checkpoint: str, revision: str | None = None, offline: bool = False) -> str:
    """The folder in the cache of data sets with a checkpoint of open_clip in transformers' layout, made when missing.

    Its name is a hash of the weights, the configuration and the tokenizer: the same files have the same folder, and
    others another.

    Args:
        checkpoint (`str`):
            A folder or Hub id.
        revision (`str`, *optional*):
            Branch, tag or commit of a Hub id.
        offline (`bool`, *optional*, defaults to `False`):
            Whether to look at nothing but this machine for a Hub id.

    Raises:
        [`NewsMatchError`]: saying what cannot be converted.
    """
    import datasets

    known = _known.get((checkpoint, revision))
    if known is not None and _is_whole(Path(known)):
        return known
    names = {name: find_file(checkpoint, name, revision, offline) for name in (CONFIG, *TOKENIZER)}
    weights = weights_file(checkpoint, revision, offline)
    if weights is None and offline:
        return checkpoint  # it was downloaded in part, and has no weights here
    files = {name: sha256(file) for name, file in names.items() if file is not None}
    made_from = {"version": _VERSION, "weights": weights and sha256(weights), **files}
    key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "newsmatch" / "open_clip" / key
    if not _is_whole(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):  # of several processes, one converts
            if not _is_whole(folder):
                with atomic_path(folder) as temporary:
                    temporary.mkdir()
                    convert_open_clip(checkpoint, temporary, revision, offline=offline)
                    (temporary / _MARKER).write_text(json.dumps(made_from, indent=2) + "\n", encoding="utf-8")
                logger.info("'%s' was converted from open_clip's layout; the result is in %s.", checkpoint, folder)
    if not Path(checkpoint).is_dir():
        _known[checkpoint, revision] = str(folder)
    return str(folder)


def _is_whole(folder: Path) -> bool:
    """Whether nothing of a converted checkpoint was removed since."""
    return all((folder / name).is_file() for name in (_MARKER, "config.json", "model.safetensors", "tokenizer.json"))


def commit_of(checkpoint: str, revision: str | None = None) -> str | None:
    """The commit that a checkpoint of open_clip on the Hub was read at; `None` for a folder."""
    from transformers.utils.hub import extract_commit_hash

    if Path(checkpoint).is_dir():
        return None
    file = find_file(checkpoint, CONFIG, revision)
    return extract_commit_hash(None if file is None else str(file), None)
