"""The files of a published checkpoint: what `from_pretrained` reads, the card and the provenance, and nothing else."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_token

from ..configs import CardArguments
from ..errors import NewsMatchError
from ..experiment.record import RECORD, Record
from .card import model_card
from .provenance import Checkpoint, local_paths, provenance

# Everything that `from_pretrained` reads of a CLIP. What else lies in a folder stays there.
CHECKPOINT_FILES = (
    *("config.json", "model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json"),
    *("processor_config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"),
    *("vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json"),
)
# What `save_pretrained` notes about how and where it was called.
_OF_THIS_MACHINE = ("_name_or_path", "name_or_path", "is_local", "local_files_only")
# Of the base model, untouched; among tens of thousands of pieces of words, some look like paths.
_VOCABULARIES = ("tokenizer.json", "vocab.json")
_TOKEN = re.compile(r"\bhf_\w{16,}")


@dataclass(frozen=True)
class Upload:
    """One branch of a published model.

    Args:
        branch (`str`):
            Its name.
        files (`dict[str, Path | bytes]`):
            Name in the repository to the local file, or to the content itself.
    """

    branch: str
    files: dict[str, Path | bytes]

    def size(self, name: str) -> int:
        """The bytes of one of the files."""
        content = self.files[name]
        return len(content) if isinstance(content, bytes) else content.stat().st_size

    @property
    def card(self) -> str:
        """The model card."""
        return self.files[constants.REPOCARD_NAME].decode()


def make_upload(
    record: Record,
    checkpoint: Checkpoint,
    branch: str,
    repo_id: str,
    card_args: CardArguments,
    license: Mapping[str, str],
    recipe_defaults: Mapping[str, Any],
    alphas: Mapping[str, float] | None = None,
    token: str | None = None,
) -> Upload:
    """Everything that is sent of one checkpoint, and nothing else.

    Args:
        branch (`str`):
            The branch that it goes to.
        token (`str`, *optional*):
            The token of the push; a file that holds it, or that of this machine, is refused.
        record, checkpoint, repo_id, card_args, license, recipe_defaults, alphas:
            As for [`model_card`].

    Raises:
        [`NewsMatchError`]: when a file would tell of this machine or hold a token.
    """
    revision = None if branch == constants.DEFAULT_REVISION else branch
    card = model_card(record, checkpoint, repo_id, card_args, license, recipe_defaults, revision, alphas)
    public = json.dumps(provenance(record, checkpoint), indent=2, ensure_ascii=False, allow_nan=False)
    files = {
        constants.REPOCARD_NAME: card.content.encode(),
        RECORD: (public + "\n").encode(),
        **_checkpoint_files(checkpoint.folder),
    }
    if checkpoint.figure:
        files[checkpoint.figure.name] = checkpoint.figure
    _refuse_private(files, record, checkpoint.folder, token)
    return Upload(branch, files)


def is_checkpoint_file(name: str) -> bool:
    """Whether a file of a repository belongs to a checkpoint."""
    return any(fnmatch(name, pattern) for pattern in CHECKPOINT_FILES)


def _checkpoint_files(folder: Path) -> dict[str, Path | bytes]:
    return {file.name: _settings(file) for file in sorted(folder.iterdir()) if is_checkpoint_file(file.name)}


def _settings(file: Path) -> Path | bytes:
    """The file, or its content without what it says of this machine."""
    if file.name not in ("config.json", "tokenizer_config.json"):
        return file
    settings = json.loads(file.read_text(encoding="utf-8"))
    kept = {name: value for name, value in settings.items() if name not in _OF_THIS_MACHINE}
    return file if kept == settings else (json.dumps(kept, indent=2, ensure_ascii=False) + "\n").encode()


def _refuse_private(files: dict[str, Path | bytes], record: Record, folder: Path, token: str | None) -> None:
    """The last look: whatever way a path of this machine or a token got into a text, it is not sent."""
    folders = {str(path.absolute()) for path in (folder, folder.parent, Path.cwd(), Path.home())}
    paths = {*folders, *local_paths(record.to_json())} - {"/"}
    for name, content in files.items():
        if not name.endswith((".json", ".md")) or name in _VOCABULARIES:
            continue
        text = content.decode() if isinstance(content, bytes) else content.read_text(encoding="utf-8")
        if _TOKEN.search(text) or any(secret in text for secret in (token, get_token()) if secret):
            raise NewsMatchError(f"{name} would publish a token; take it out of the run's settings and train again.")
        found = next((path for path in paths if re.search(rf"(?<![\w./-]){re.escape(path)}(?![\w-])", text)), None)
        if found:
            raise NewsMatchError(f"{name} would publish the path {found} of this machine; take it out first.")
