"""Sending files to the Hub: exactly those that are named, one commit a branch."""

import logging
from collections.abc import Sequence

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ..errors import NewsMatchError, first_sentence
from .errors import explained
from .files import Upload, is_checkpoint_file

logger = logging.getLogger(__name__)


def push(
    uploads: Sequence[Upload],
    repo_id: str,
    private: bool = True,
    token: str | None = None,
    commit_message: str | None = None,
) -> str:
    """Send each branch as one commit.

    A push that broke off is repeated as it is: weights that arrived are not sent twice, and what has not changed makes
    no commit. Files of an earlier checkpoint that the new one does not have are removed; whatever else is in the
    repository stays.

    Args:
        uploads (`Sequence[Upload]`):
            The branches and their files.
        repo_id (`str`):
            `user/name`; made when it is not there.
        private (`bool`, *optional*, defaults to `True`):
            See [`open_repo`].
        token (`str`, *optional*):
            That of `HF_TOKEN` or `hf auth login` by default.
        commit_message (`str`, *optional*):
            The message of each commit.

    Returns:
        `str`: the address of the repository.

    Raises:
        [`NewsMatchError`]: on whatever the Hub refuses, and when it cannot be reached.
    """
    api = HfApi(token=token)
    url = open_repo(repo_id, private, token)
    with explained(repo_id, token):
        # the first commit holds no model: a branch that begins there never has the weights of another
        first = api.list_repo_commits(repo_id)[-1].commit_id
        for upload in uploads:
            if upload.branch != constants.DEFAULT_REVISION:
                api.create_branch(repo_id, branch=upload.branch, revision=first, exist_ok=True)
            there = api.list_repo_files(repo_id, revision=upload.branch)
            stale = [name for name in there if is_checkpoint_file(name) and name not in upload.files]
            commit = api.create_commit(
                repo_id,
                [
                    *(CommitOperationAdd(name, content) for name, content in upload.files.items()),
                    *(CommitOperationDelete(name) for name in stale),
                ],
                commit_message=commit_message or "Upload with hf-newsmatch",
                revision=upload.branch,
            )
            logger.info("%s, branch %s: %d files, commit %s.", repo_id, upload.branch, len(upload.files), commit.oid)
    return url


def open_repo(repo_id: str, private: bool = True, token: str | None = None) -> str:
    """Make the repository when it is not there, and give its address.

    Raises:
        [`NewsMatchError`]: when it is there and public although `private` is wanted, and on whatever the Hub refuses.
    """
    check_repo_id(repo_id)
    api = HfApi(token=token)
    with explained(repo_id, token):
        url = api.create_repo(repo_id, private=private, exist_ok=True)
        if private and not api.repo_info(repo_id).private:
            raise NewsMatchError(
                f"{repo_id} is there and public: say so with --hub_private_repo false, or name another repository."
            )
    return str(url)


def check_repo_id(repo_id: str | None) -> str:
    """The name of a repository, refused with a [`NewsMatchError`] when it is no `user/name`."""
    if not repo_id:
        raise NewsMatchError("Name the repository with --hub_model_id user/name.")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise NewsMatchError(
            f"--hub_model_id {repo_id} is no name of a repository: {first_sentence(error)}."
        ) from error
    if "/" not in repo_id:
        raise NewsMatchError(f"--hub_model_id {repo_id} lacks the user or organisation: user/{repo_id}.")
    return repo_id
