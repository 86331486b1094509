"""The files of a published checkpoint: those that `from_pretrained` reads, and no path or token of this machine."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import constants, get_token

from ..errors import NewsMatchError

# Everything that `from_pretrained` reads of a dual encoder. What else lies in a folder stays there.
CHECKPOINT_FILES = (
    *("config.json", "model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json"),
    *("processor_config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"),
    *("vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model"),
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
        return _text(self.files[constants.REPOCARD_NAME])


def is_checkpoint_file(name: str) -> bool:
    """Whether a file of a repository belongs to a checkpoint."""
    return any(fnmatch(name, pattern) for pattern in CHECKPOINT_FILES)


def checkpoint_files(folder: Path) -> dict[str, Path | bytes]:
    """The files of a checkpoint by name: the local file, or its content without what it says of this machine."""
    return {file.name: _settings(file) for file in sorted(folder.iterdir()) if is_checkpoint_file(file.name)}


def _settings(file: Path) -> Path | bytes:
    """The file, or its content without what it says of this machine."""
    if file.name not in ("config.json", "tokenizer_config.json"):
        return file
    settings = json.loads(file.read_text(encoding="utf-8"))
    kept = {name: value for name, value in settings.items() if name not in _OF_THIS_MACHINE}
    return file if kept == settings else (json.dumps(kept, indent=2, ensure_ascii=False) + "\n").encode()


def _text(content: Path | bytes) -> str:
    return content.decode() if isinstance(content, bytes) else content.read_text(encoding="utf-8")


def refuse_private(files: Mapping[str, Path | bytes], paths: Collection[str | Path], token: str | None) -> None:
    """Refuse a text that holds a token or a path of this machine: the last look before anything is sent.

    Args:
        files (`Mapping[str, Path | bytes]`):
            Name to the local file, or to the content itself.
        paths (`Collection[str | Path]`):
            The paths that must not be told, beside the working directory and the user's home.
        token (`str`, *optional*):
            The token of the push; that of this machine is looked for, too.

    Raises:
        [`NewsMatchError`]: naming the file.
    """
    hidden = {str(Path(path).absolute()) for path in (*paths, Path.cwd(), Path.home())} - {"/"}
    for name, content in files.items():
        if not name.endswith((".json", ".md")) or name in _VOCABULARIES:
            continue
        text = _text(content)
        if _TOKEN.search(text) or any(secret in text for secret in (token, get_token()) if secret):
            raise NewsMatchError(f"{name} would publish a token; take it out of the run's settings and train again.")
        found = next((path for path in hidden if re.search(rf"(?<![\w./-]){re.escape(path)}(?![\w-])", text)), None)
        if found:
            raise NewsMatchError(f"{name} would publish the path {found} of this machine; take it out first.")
