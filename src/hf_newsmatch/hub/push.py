"""Publishing: which files of a run go to the Hub, and sending exactly these."""

import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id
from transformers import TrainingArguments

from ..configs import CardArguments, PushArguments
from ..errors import NewsMatchError, first_sentence
from ..experiment.folder import ALPHA_FOLDER, RECORD, Experiment
from ..experiment.merging import is_current
from .card import Checkpoint, curve_figure, find_license, local_paths, model_card, provenance

logger = logging.getLogger(__name__)

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
_PUSH_AGAIN = "push again, what arrived is not sent twice"
_FULL = re.compile(r"storage|quota|\blimit|exceed|upgrade", re.IGNORECASE)


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


def collect(
    experiment: Experiment, push_args: PushArguments, card_args: CardArguments, license: dict[str, str]
) -> list[Upload]:
    """Everything that a push sends, and nothing else.

    Args:
        experiment ([`Experiment`]):
            The run.
        push_args ([`PushArguments`]):
            Which of its checkpoints, and where to.
        card_args ([`CardArguments`]):
            What their cards say beside the record.
        license (`dict[str, str]`):
            From [`find_license`].

    Returns:
        `list[Upload]`: the main checkpoint last, so that its card names branches that are there.

    Raises:
        [`NewsMatchError`]: when there is no such checkpoint, it or its scores are stale, or a file would tell of this
            machine or hold a token.
    """
    check_repo_id(push_args.hub_model_id)
    main = _main_checkpoint(experiment, push_args.run)
    family = _family(experiment, main) if push_args.family else {}
    if push_args.hub_revision in family:
        raise NewsMatchError(
            f"--hub_revision {push_args.hub_revision} is also the branch of an alpha; name another one."
        )
    alphas = {branch: checkpoint.alpha for branch, checkpoint in family.items()}
    uploads = []
    for branch, checkpoint in (*family.items(), (push_args.hub_revision, main)):
        card = model_card(
            experiment,
            checkpoint,
            push_args.hub_model_id,
            card_args,
            license,
            revision=None if branch == constants.DEFAULT_REVISION else branch,
            alphas=alphas if checkpoint is main else None,
        )
        record = json.dumps(provenance(experiment, checkpoint), indent=2, ensure_ascii=False, allow_nan=False)
        files = {
            constants.REPOCARD_NAME: card.content.encode(),
            RECORD: (record + "\n").encode(),
            **_checkpoint_files(checkpoint.folder),
        }
        figure = curve_figure(experiment, checkpoint)
        if figure:
            files[figure.name] = figure
        _refuse_private(files, experiment, push_args.hub_token)
        uploads.append(Upload(branch, files))
    return uploads


def publish(experiment: Experiment, push_args: PushArguments, card_args: CardArguments) -> str:
    """[`collect`] the checkpoints and [`push`] them.

    Returns:
        `str`: the address of the repository.
    """
    license = find_license(experiment, card_args, push_args.hub_token)
    uploads = collect(experiment, push_args, card_args, license)
    return push(uploads, push_args.hub_model_id, push_args.hub_private_repo, push_args.hub_token)


def push(uploads: Sequence[Upload], repo_id: str, private: bool = True, token: str | None = None) -> str:
    """Send each branch as one commit.

    A push that broke off is repeated as it is: weights that arrived are not sent twice, and what has not changed makes
    no commit. Files of an earlier checkpoint that the new one does not have are removed; whatever else is in the
    repository stays.

    Args:
        uploads (`Sequence[Upload]`):
            From [`collect`].
        repo_id (`str`):
            `user/name`; made when it is not there.
        private (`bool`, *optional*, defaults to `True`):
            See [`open_repo`].
        token (`str`, *optional*):
            That of `HF_TOKEN` or `hf auth login` by default.

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
            stale = [name for name in there if _is_checkpoint_file(name) and name not in upload.files]
            commit = api.create_commit(
                repo_id,
                [
                    *(CommitOperationAdd(name, content) for name, content in upload.files.items()),
                    *(CommitOperationDelete(name) for name in stale),
                ],
                commit_message="Upload with hf-newsmatch",
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


def take_push(training_args: TrainingArguments) -> PushArguments | None:
    """What `--push_to_hub` asks of a training, taken out of the arguments: Trainer's own push would send everything in
    the folder. The token goes, too: every checkpoint holds the arguments in clear.

    Raises:
        [`NewsMatchError`]: when `--hub_model_id` is missing or none.
    """
    token, training_args.hub_token = training_args.hub_token, None
    if not training_args.push_to_hub:
        return None
    training_args.push_to_hub = False
    check_repo_id(training_args.hub_model_id)
    return PushArguments(
        output_dir=training_args.output_dir,
        hub_model_id=training_args.hub_model_id,
        hub_private_repo=training_args.hub_private_repo is not False,
        hub_revision=training_args.hub_revision or constants.DEFAULT_REVISION,
        hub_token=token,
        run="fine_tuned",
    )


def check_repo_id(repo_id: str | None) -> None:
    """Refuse what is no `user/name`, with a [`NewsMatchError`]."""
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


def _main_checkpoint(experiment: Experiment, run: str | None) -> Checkpoint:
    run = run or ("wise_ft" if "wise_ft" in experiment.record else "fine_tuned")
    if not experiment.has_model(run):
        script = {"fine_tuned": "train", "wise_ft": "interpolate"}[run]
        raise NewsMatchError(
            f"{experiment.output_dir} has no {run} model of what is there now; run scripts/{script}.py first."
        )
    alpha = experiment.record["wise_ft"].get("alpha") if run == "wise_ft" else None
    return Checkpoint(run, experiment.output_dir / run, alpha if isinstance(alpha, int | float) else None)


def _family(experiment: Experiment, main: Checkpoint) -> dict[str, Checkpoint]:
    """The other checkpoints by branch: each of several alphas, and the fine-tuned model as alpha 1."""
    family = {}
    for name, made in sorted(experiment.record.get("wise_ft_family", {}).items()):
        folder = experiment.output_dir / name
        if not folder.is_dir():
            continue
        if not is_current(experiment, name):
            raise NewsMatchError(
                f"{folder} is not what was made of the models in {experiment.output_dir}; run scripts/interpolate.py"
                " again, or remove it."
            )
        branch = f"alpha-{name.removeprefix(ALPHA_FOLDER)}"
        family[branch] = Checkpoint("wise_ft", folder, made["alpha"], scored=False)
    if main.run == "wise_ft":
        family["alpha-1.00"] = Checkpoint("fine_tuned", experiment.output_dir / "fine_tuned")
    return family


def _is_checkpoint_file(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in CHECKPOINT_FILES)


def _checkpoint_files(folder: Path) -> dict[str, Path | bytes]:
    return {file.name: _settings(file) for file in sorted(folder.iterdir()) if _is_checkpoint_file(file.name)}


def _settings(file: Path) -> Path | bytes:
    """The file, or its content without what it says of this machine."""
    if file.name not in ("config.json", "tokenizer_config.json"):
        return file
    settings = json.loads(file.read_text(encoding="utf-8"))
    kept = {name: value for name, value in settings.items() if name not in _OF_THIS_MACHINE}
    return file if kept == settings else (json.dumps(kept, indent=2, ensure_ascii=False) + "\n").encode()


def _refuse_private(files: dict[str, Path | bytes], experiment: Experiment, token: str | None) -> None:
    """The last look: whatever way a path of this machine or a token got into a text, it is not sent."""
    folders = {str(folder.absolute()) for folder in (experiment.output_dir, Path.cwd(), Path.home())}
    paths = {*folders, *local_paths(experiment.record)} - {"/"}
    for name, content in files.items():
        if not name.endswith((".json", ".md")) or name in _VOCABULARIES:
            continue
        text = content.decode() if isinstance(content, bytes) else content.read_text(encoding="utf-8")
        if _TOKEN.search(text) or any(secret in text for secret in (token, get_token()) if secret):
            raise NewsMatchError(f"{name} would publish a token; take it out of the run's settings and train again.")
        found = next((path for path in paths if re.search(rf"(?<![\w./-]){re.escape(path)}(?![\w-])", text)), None)
        if found:
            raise NewsMatchError(f"{name} would publish the path {found} of this machine; take it out first.")


@contextmanager
def explained(repo_id: str, token: str | None = None, again: str = _PUSH_AGAIN) -> Iterator[None]:
    """Turn what goes wrong between here and the Hub into one sentence with the remedy, `again` where that is time."""
    try:
        yield
    except NewsMatchError:
        raise
    except (OSError, ValueError, RuntimeError, httpx2.HTTPError) as error:
        message = _explanation(error, repo_id, token, again)
        if message is None:
            raise
        raise NewsMatchError(message) from error


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
