"""The push step: an experiment's checkpoints on the Hub."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from transformers import TrainingArguments

from ..configs import CardArguments, PushArguments
from ..errors import NewsMatchError
from ..hub.card import find_license
from ..hub.files import Upload
from ..hub.provenance import Checkpoint
from ..hub.push import check_repo_id
from ..hub.push import push as send
from ..hub.upload import make_upload
from ..metrics import score
from ..training.arguments import recipe_defaults
from .folder import Experiment
from .layout import ALPHA_FOLDER


def push(experiment: Experiment, push_args: PushArguments, card_args: CardArguments | None = None) -> str:
    """Publish a fine-tuned or WiSE-FT checkpoint, with other alphas as branches when asked for.

    Args:
        experiment ([`Experiment`]):
            The experiment.
        push_args ([`PushArguments`]):
            Which of its checkpoints, and where to.
        card_args ([`CardArguments`], *optional*):
            What their cards say beside the record.

    Returns:
        `str`: the address of the repository.

    Raises:
        [`NewsMatchError`]: as [`collect_uploads`], and on whatever the Hub refuses.
    """
    card_args = card_args or CardArguments()
    license = find_license(experiment.record.base_model, card_args, push_args.hub_token)
    uploads = collect_uploads(experiment, push_args, card_args, license)
    return send(uploads, check_repo_id(push_args.hub_model_id), push_args.hub_private_repo, push_args.hub_token)


def collect_uploads(
    experiment: Experiment, push_args: PushArguments, card_args: CardArguments, license: dict[str, str]
) -> list[Upload]:
    """Everything that [`push`] sends, and nothing else.

    Args:
        experiment ([`Experiment`]), push_args ([`PushArguments`]), card_args ([`CardArguments`]):
            As for [`push`].
        license (`dict[str, str]`):
            From [`find_license`].

    Returns:
        `list[Upload]`: the main checkpoint last, so that its card names branches that are there.

    Raises:
        [`NewsMatchError`]: when there is no such checkpoint, it or its scores are stale, or a file would tell of this
            machine or hold a token.
    """
    repo_id = check_repo_id(push_args.hub_model_id)
    main = _main_checkpoint(experiment, push_args.run)
    others = _other_alphas(experiment, main) if push_args.family else {}
    if push_args.hub_revision in others:
        raise NewsMatchError(
            f"--hub_revision {push_args.hub_revision} is also the branch of an alpha; name another one."
        )
    return [
        make_upload(
            experiment.record,
            checkpoint,
            branch,
            repo_id,
            card_args,
            license,
            recipe_defaults(),
            alphas=list(others) if checkpoint is main else (),
            token=push_args.hub_token,
        )
        for branch, checkpoint in (*others.items(), (push_args.hub_revision, main))
    ]


def take_push(training_args: TrainingArguments) -> PushArguments | None:
    """The push that `--push_to_hub` asks of a training, taken out of its arguments: it comes after the evaluation of
    the experiment's record. The token goes, too, because every checkpoint holds the arguments in clear.

    Raises:
        [`NewsMatchError`]: when `--hub_model_id` is missing or no name of a repository.
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


def read_scores(experiment: Experiment) -> dict[str, Any]:
    """The content of the experiment's `scores.json`; empty when it was not evaluated.

    Raises:
        [`NewsMatchError`]: when the models or the predictions have changed since.
    """
    file = experiment.layout.scores
    if not file.is_file():
        return {}
    scores = json.loads(file.read_text(encoding="utf-8"))
    for split, comparison in scores.items():
        rankings = experiment.rankings(split) if split in experiment.predicted_splits() else {}
        gold = experiment.gold(split)
        for run, row in comparison["runs"].items():
            # the value itself is computed again: that is quick, and whatever changed, it tells
            now = score(rankings[run], gold)["mrr@100"] if gold and run in rankings else math.nan
            if not math.isclose(now, row["mrr@100"]["mean"]):
                raise NewsMatchError(
                    f"{file} is not of the predictions that {experiment.output_dir} holds now; run"
                    " `hf-newsmatch evaluate` again."
                )
    return scores


def _main_checkpoint(experiment: Experiment, run: str | None) -> Checkpoint:
    run = run or ("wise_ft" if experiment.record.wise_ft else "fine_tuned")
    if not experiment.has_model(run):
        step = {"fine_tuned": "train", "wise_ft": "interpolate"}[run]
        raise NewsMatchError(
            f"{experiment.output_dir} has no {run} model of what is there now; run `hf-newsmatch {step}` first."
        )
    checkpoint = Checkpoint(run, experiment.layout.model(run), scores=read_scores(experiment))
    if run == "fine_tuned":
        return checkpoint
    made = experiment.record.interpolated
    return dataclasses.replace(checkpoint, alpha=made.alpha, figure=_curve_figure(experiment))


def _curve_figure(experiment: Experiment) -> Path | None:
    """The picture of the curve that chose the WiSE-FT model's alpha, when there is one."""
    file = experiment.layout.alpha_curve("png")
    return file if experiment.record.interpolated.rule != "given" and file.is_file() else None


def _other_alphas(experiment: Experiment, main: Checkpoint) -> dict[str, Checkpoint]:
    """The other checkpoints by branch: each of several alphas, and the fine-tuned model as alpha 1."""
    found = {}
    for name, made in sorted(experiment.record.alphas.items()):
        folder = experiment.layout.model(name)
        if not folder.is_dir():
            continue
        if not experiment.has_alpha(name):
            raise NewsMatchError(
                f"{folder} is not made from the models in {experiment.output_dir}; run `hf-newsmatch interpolate`"
                " again, or remove it."
            )
        found[f"alpha-{name.removeprefix(ALPHA_FOLDER)}"] = Checkpoint("wise_ft", folder, made.alpha, scored=False)
    if main.run == "wise_ft":
        fine_tuned = Checkpoint("fine_tuned", experiment.layout.model("fine_tuned"), scores=main.scores)
        found["alpha-1.00"] = fine_tuned
    return found
