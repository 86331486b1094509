"""Errors between here and the Hub, each as one sentence with its remedy."""

import re
from contextlib import AbstractContextManager

import httpx2
from huggingface_hub import constants, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ..errors import explain, first_sentence

_PUSH_AGAIN = "push again, what arrived is not sent twice"
_FULL = re.compile(r"storage|quota|\blimit|exceed|upgrade", re.IGNORECASE)


def explained(repo_id: str, token: str | None = None, again: str = _PUSH_AGAIN) -> AbstractContextManager[None]:
    """A context that turns the errors of the Hub into one sentence with the remedy, `again` where waiting is one."""
    kinds = (OSError, ValueError, RuntimeError, httpx2.HTTPError)
    return explain(*kinds, sentence=lambda error: _explanation(error, repo_id, token, again))


def _explanation(error: BaseException, repo_id: str, token: str | None, again: str) -> str | None:
    if isinstance(error, RuntimeError) and error.__cause__ is not None:  # one file of several, in a thread
        return _explanation(error.__cause__, repo_id, token, again)
    if isinstance(error, OfflineModeIsEnabled):
        return f"The offline mode is on; unset HF_HUB_OFFLINE (and TRANSFORMERS_OFFLINE), then {again}."
    if not isinstance(error, HfHubHTTPError):
        if isinstance(error, httpx2.HTTPError):
            return f"{constants.ENDPOINT} cannot be reached ({type(error).__name__}); check the network and {again}."
        said = " ".join(str(error).split())
        if said.startswith("LFS batch API returned errors") and _FULL.search(said):
            return f"The Hub has no room for {repo_id} ({said}); make some, or push elsewhere, then {again}."
        if said.startswith(("LFS batch API returned errors", "Invalid metadata in README.md")):
            return f"The Hub refuses {repo_id}: {said}"
        return None
    status = error.response.status_code
    said = f" ({first_sentence(ValueError(error.server_message))})" if error.server_message else ""
    if status == 401 or (isinstance(error, RepositoryNotFoundError) and not (token or get_token())):
        if token or get_token():
            return f"The Hub does not know the token{said}; log in anew with `hf auth login`, or set HF_TOKEN."
        return "There is no token for the Hub; log in with `hf auth login`, or set HF_TOKEN."
    if status in (402, 413, 507) or (status == 403 and _FULL.search(said)):
        return f"The Hub has no room for {repo_id}{said}; make some, or push elsewhere, then {again}."
    if status == 403:
        return f"The token may not write to {repo_id}{said}; use one that may, or another --hub_model_id."
    if isinstance(error, RevisionNotFoundError):
        return f"{repo_id} has no such branch{said}; see --hub_revision."
    if status == 404:
        return f"{repo_id} is not on the Hub, or the token may not see it{said}; check --hub_model_id."
    if status == 429 or status >= 500:
        return f"The Hub had a problem of its own, status {status}{said}; wait a little and {again}."
    return f"The Hub refuses {repo_id}, status {status}{said}."
