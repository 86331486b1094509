"""The upload of a checkpoint with its card and its provenance, and nothing else."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from huggingface_hub import constants

from ..configs import CardArguments
from ..experiment.record import RECORD, Record
from .card import model_card
from .files import Upload, checkpoint_files, refuse_private
from .provenance import Checkpoint, local_paths, provenance


def make_upload(
    record: Record,
    checkpoint: Checkpoint,
    branch: str,
    repo_id: str,
    card_args: CardArguments,
    license: Mapping[str, str],
    recipe_defaults: Mapping[str, Any],
    alphas: Collection[str] = (),
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
        **checkpoint_files(checkpoint.folder),
    }
    if checkpoint.figure:
        files[checkpoint.figure.name] = checkpoint.figure
    folder = checkpoint.folder
    refuse_private(files, [folder, folder.parent, *local_paths(record.to_json())], token)
    return Upload(branch, files)
