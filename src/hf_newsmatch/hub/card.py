"""The model card of a published checkpoint, filled from the record of its experiment."""

import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData, constants, hf_hub_download
from huggingface_hub.errors import RemoteEntryNotFoundError
from markupsafe import Markup  # which Jinja2 is made of

from ..configs import CardArguments
from ..errors import NewsMatchError
from ..experiment.record import BaseModel, InterpolatedRecord, Record, TrainRecord
from ..metrics.tables import markdown_table, metric_label
from ..models.architectures import architecture_of
from ..models.loading import DEMO_MODEL, is_local, load_config, load_processor
from ..utils.tables import Cell, Table, number, to_markdown
from .provenance import Checkpoint, file_name, provenance
from .templates import code, escape_markdown, render

# settings of the recipe that the text of the cards has in a sentence
_TOLD = {
    *("num_train_epochs", "gradient_accumulation_steps", "seed", "learning_rate", "lr_scheduler_type"),
    *("weight_decay", "coupled_weight_decay", "optim"),
    *("eval_strategy", "eval_steps", "metric_for_best_model", "greater_is_better", "load_best_model_at_end"),
}
_METRIC = re.compile(r"(mrr|recall)@\d+")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
_LICENSE = ("license", "license_name", "license_link")
# what the demo's checkpoint shares with the package that it is a part of
_DEMO_LICENSE = {"license": "apache-2.0"}


def model_card(
    record: Record,
    checkpoint: Checkpoint,
    repo_id: str,
    card_args: CardArguments,
    license: Mapping[str, str],
    recipe_defaults: Mapping[str, Any],
    revision: str | None = None,
    alphas: Collection[str] = (),
) -> ModelCard:
    """Fill the template of `model_cards/` with what the record says.

    Args:
        record ([`Record`]):
            The record of the experiment.
        checkpoint ([`Checkpoint`]):
            The checkpoint that the card is about.
        repo_id (`str`):
            The repository it will be in, `user/name`.
        card_args ([`CardArguments`]):
            What the record cannot know.
        license (`Mapping[str, str]`):
            From [`find_license`].
        recipe_defaults (`Mapping[str, Any]`):
            The defaults of the training arguments; the card names the settings that differ.
        revision (`str`, *optional*):
            The branch that it will be on, when that is not `main`.
        alphas (`Collection[str]`, *optional*):
            The branches of other alphas, for the card of the main checkpoint.

    Returns:
        `huggingface_hub.ModelCard`

    Raises:
        [`NewsMatchError`]: when the record knows of no training.
    """
    name = repo_id.split("/")[-1]
    base, dataset = _base_model(record.base_model, card_args), _dataset_name(record, card_args)
    evaluations = _evaluations(record, checkpoint)
    config = load_config(checkpoint.folder)
    architecture = architecture_of(config)
    data = ModelCardData(
        language=card_args.language,
        license=license.get("license"),
        license_name=license.get("license_name"),
        license_link=license.get("license_link"),
        library_name="transformers",
        pipeline_tag=architecture.pipeline_tag,
        base_model=base["id"],
        base_model_relation=base["id"] and ("merge" if checkpoint.run == "wise_ft" else "finetune"),
        datasets=card_args.datasets or None,
        tags=[config.model_type, "news", "image-text-retrieval", "hf-newsmatch", *_own_tags(checkpoint)],
        model_name=name,
        eval_results=_eval_results(evaluations, dataset, card_args) or None,
    )
    if not data.eval_results:
        data.model_name = None
    text = render(
        checkpoint.run,
        card_data=data.to_yaml(),
        name=name,
        repo_id=repo_id,
        revision=revision,
        base=base,
        dataset=dataset,
        splits=record.data.split.splits,
        test_list=record.data.test_list,
        text_fields=record.data.arguments.text_fields,
        translation=_translation(record),
        architecture=architecture,
        loss=record.recipe.get("loss") or architecture.loss,
        tokens=load_processor(checkpoint.folder, None, config).tokenizer.model_max_length,
        train=record.training,
        best=_best(record.training),
        unusual=_unusual(record.recipe, recipe_defaults),
        checkpoint=checkpoint,
        wise_ft=record.wise_ft,
        alpha=_alpha(record.wise_ft, checkpoint),
        curve=_curve_table(record, checkpoint),
        figure=checkpoint.figure and checkpoint.figure.name,
        alphas=alphas,
        score_tables=_score_tables(checkpoint),
        evaluations=evaluations,
        provenance=provenance(record, checkpoint),
    )
    return ModelCard(text)


def find_license(base: BaseModel, card_args: CardArguments, token: str | None = None) -> dict[str, str]:
    """The licence of the checkpoint: what `--license` says, else that of the base model's card.

    Raises:
        [`NewsMatchError`]: when neither names one, or the card cannot be read.
    """
    if card_args.license:
        return {"license": card_args.license}
    if base.id == DEMO_MODEL:
        return _DEMO_LICENSE
    name = file_name(base.id) if base.id else "of the trainer"
    try:
        if not base.id:
            card = ""
        elif is_local(base.id):
            card = str(Path(base.id, constants.REPOCARD_NAME))
        else:
            card = hf_hub_download(base.id, constants.REPOCARD_NAME, revision=base.revision, token=token)
        data = ModelCard.load(card, ignore_metadata_errors=True).data if card and Path(card).is_file() else {}
    except (RemoteEntryNotFoundError, ValueError, yaml.YAMLError):  # no card, or one that says nothing
        data = {}
    except OSError as error:
        raise NewsMatchError(
            f"The card of the base model {name} cannot be read to see its licence; name that with --license."
        ) from error
    found = {key: str(data.get(key)) for key in _LICENSE if data.get(key)}
    if "license" not in found:
        raise NewsMatchError(f"The card of the base model {name} names no licence; name it with --license.")
    return found


def _evaluations(record: Record, checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """The scores of this very checkpoint by split: those of the evaluation, else the validation scores of the kept
    epoch or of the alpha."""
    scored = {split: comparison["runs"].get(checkpoint.run) for split, comparison in checkpoint.scores.items()}
    if any(scored.values()):
        return [
            {"split": split, "values": {name: row[name]["mean"] for name in row if _METRIC.fullmatch(name)}}
            for split, row in scored.items()
            if row
        ]
    if checkpoint.run == "wise_ft":
        points = [point for point in _curve(record) if _is_at(point, checkpoint)]
    else:
        train = record.training
        logged = [row for row in train.log_history if "eval_mrr@100" in row]
        points = [row for row in logged if row["step"] == train.best_step] or logged[-1:]
        points = [{name.removeprefix("eval_"): value for name, value in row.items()} for row in points]
    return [
        {"split": "validation", "values": {name: point[name] for name in point if _METRIC.fullmatch(name)}}
        for point in points[:1]
    ]


def _eval_results(evaluations: list[dict[str, Any]], dataset: str, card_args: CardArguments) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="image-text-retrieval",
            task_name="Pictures of news articles",
            dataset_type=(card_args.datasets or [re.sub(r"[^\w.-]+", "-", dataset).strip("-").lower()])[0],
            dataset_name=dataset
            + (" (chose the epoch or alpha: optimistic)" if scored["split"] == "validation" else ""),
            dataset_split=scored["split"],
            metric_type=name,
            metric_name=metric_label(name),
            # numbers of numpy would break the YAML
            metric_value=float(value),
        )
        for scored in evaluations
        for name, value in scored["values"].items()
    ]


def _score_tables(checkpoint: Checkpoint) -> list[str]:
    titles = {"validation": "Validation split (chose the epoch and alpha: optimistic)", "test": "Test split"}
    return [
        Markup(markdown_table(comparison, titles.get(split, split)))
        for split, comparison in sorted(checkpoint.scores.items())
        if checkpoint.run in comparison["runs"]
    ]


def _curve(record: Record) -> list[dict[str, float]]:
    """The points of a sweep over one alpha for all weights."""
    curve = (record.wise_ft and record.wise_ft.curve) or []
    return [point for point in curve if "alpha" in point]


def _is_at(point: Mapping[str, float], checkpoint: Checkpoint) -> bool:
    return checkpoint.alpha is not None and math.isclose(point["alpha"], checkpoint.alpha, abs_tol=1e-9)


def _alpha(made: InterpolatedRecord | None, checkpoint: Checkpoint) -> str:
    """The alpha in words: one for all weights, one a tower, or more than fit into a sentence."""
    if checkpoint.alpha is not None:
        return f"alpha = {checkpoint.alpha:g}"
    if made and made.alpha_vision is not None and made.alpha_text is not None:
        return f"alpha = {made.alpha_vision:g} in the vision tower and {made.alpha_text:g} in the text tower"
    return "several alphas, which newsmatch.json lists"


def _curve_table(record: Record, checkpoint: Checkpoint) -> str:
    """The validation scores of each alpha, as Markdown; empty when none was swept."""
    curve = _curve(record)
    if checkpoint.run != "wise_ft" or not curve:
        return ""
    metrics = [name for name in curve[0] if _METRIC.fullmatch(name)]
    rows = []
    for point in curve:
        cells = [f"{point['alpha']:g}", *(number(point[name]) for name in metrics)]
        rows.append([Cell(text, best=_is_at(point, checkpoint)) for text in cells])
    table = Table("alpha-curve", "", ["alpha", *map(metric_label, metrics)], rows, name_columns=0)
    return Markup(to_markdown(table).rstrip())


def _base_model(base: BaseModel, card_args: CardArguments) -> dict[str, Any]:
    """The base model for the template: its Hub id, when it has one, and what the text calls it."""
    hub_id = card_args.base_model or (base.id if base.id and not is_local(base.id) else None)
    called: str
    if hub_id and _HUB_ID.fullmatch(hub_id):
        called = Markup(f"[{escape_markdown(hub_id)}](https://huggingface.co/{hub_id})")
    elif hub_id:
        called = hub_id
    elif base.id == DEMO_MODEL:
        called = "the tiny CLIP inside hf-newsmatch"
    elif not base.id:
        called = "a model that was not loaded from anywhere"
    else:
        called = code(file_name(base.id)) + ", a checkpoint that is not on the Hub"
    return {"id": hub_id, "revision": base.revision, "sha256": base.sha256, "called": called}


def _dataset_name(record: Record, card_args: CardArguments) -> str:
    arguments = record.data.arguments
    if card_args.dataset_name:
        return card_args.dataset_name
    if arguments.demo:
        return f"hf-newsmatch demo newsroom, {arguments.demo}, seed {arguments.corpus_seed}"
    return file_name(arguments.articles_file) if arguments.articles_file else "a data set without a name"


def _translation(record: Record) -> str | None:
    arguments = record.data.arguments
    return file_name(arguments.translation_model) if arguments.translate else None


def _best(train: TrainRecord) -> dict[str, Any] | None:
    """The metric by which the kept epoch was chosen; `None` when the last one was kept."""
    if not train.arguments.get("load_best_model_at_end") or train.best_step is None:
        return None
    ((metric, value),) = train.best_metric.items()
    extreme = "highest" if train.arguments.get("greater_is_better") else "lowest"
    row = next((row for row in train.log_history if row["step"] == train.best_step and "epoch" in row), {})
    return {"metric": metric.removeprefix("eval_"), "value": value, "extreme": extreme, "epoch": row.get("epoch")}


def _unusual(recipe: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the recipe that are not the defaults and that no sentence of the card tells."""
    return {
        name: value
        for name, value in recipe.items()
        if name in defaults and name not in _TOLD and value is not None and value != defaults[name]
    }


def _own_tags(checkpoint: Checkpoint) -> list[str]:
    return ["wise-ft", "merge"] if checkpoint.run == "wise_ft" else ["contrastive-learning"]
