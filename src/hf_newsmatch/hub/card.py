"""What a published checkpoint says of itself: its card and its provenance, both from the record of its run."""

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import jinja2
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData, constants, hf_hub_download
from huggingface_hub.errors import RemoteEntryNotFoundError

from ..configs import CardArguments
from ..errors import NewsMatchError
from ..experiment.folder import Experiment
from ..metrics import score
from ..metrics.tables import markdown_table, metric_label
from ..models.loading import DEMO_MODEL, is_local, load_config
from ..training.trainer import ContrastiveTrainingArguments
from ..utils.resources import resource_dir
from ..utils.tables import Cell, Table, number, to_markdown

# settings of the recipe that the text of the cards has in a sentence
_TOLD = {
    *("num_train_epochs", "gradient_accumulation_steps", "seed", "learning_rate", "lr_scheduler_type"),
    *("weight_decay", "coupled_weight_decay", "optim"),
    *("eval_strategy", "eval_steps", "metric_for_best_model", "greater_is_better", "load_best_model_at_end"),
}
_METRIC = re.compile(r"(mrr|recall)@\d+")
_LICENSE = ("license", "license_name", "license_link")
# what the demo's checkpoint shares with the package that it is a part of
_DEMO_LICENSE = {"license": "apache-2.0"}
# arguments of the data that say how it was read, not where it is
_READING = (
    *("demo", "corpus_seed", "text_fields", "holdout_test", "train_fraction", "sort_by", "skip_bad_rows"),
    *("use_english_columns", "translate", "translation_model", "translation_revision", "max_sentences"),
)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of a run that can be published.

    Args:
        run (`str`):
            `"fine_tuned"` or `"wise_ft"`.
        folder (`Path`):
            Where it is.
        alpha (`float`, *optional*):
            Of a WiSE-FT model that has one for all weights.
        scored (`bool`, *optional*, defaults to `True`):
            Whether the scores of `run` are this checkpoint's; those of another alpha are not.
    """

    run: str
    folder: Path
    alpha: float | None = None
    scored: bool = True


def model_card(
    experiment: Experiment,
    checkpoint: Checkpoint,
    repo_id: str,
    card_args: CardArguments,
    license: Mapping[str, str],
    revision: str | None = None,
    alphas: Mapping[str, float] | None = None,
) -> ModelCard:
    """Fill the template of `model_cards/` with what the record of the run says.

    Args:
        experiment ([`Experiment`]):
            The run.
        checkpoint ([`Checkpoint`]):
            What the card is about.
        repo_id (`str`):
            Where it will be, `user/name`.
        card_args ([`CardArguments`]):
            What the record cannot know.
        license (`Mapping[str, str]`):
            From [`find_license`].
        revision (`str`, *optional*):
            The branch that it will be on, when that is not `main`.
        alphas (`Mapping[str, float]`, *optional*):
            The branches of the family, for the card of the main one.

    Returns:
        `huggingface_hub.ModelCard`

    Raises:
        [`NewsMatchError`]: when `scores.json` is not of the predictions that are there now.
    """
    record = experiment.record
    scores = read_scores(experiment)
    name = repo_id.split("/")[-1]
    base, dataset = _base_model(experiment, card_args), _dataset_name(experiment, card_args)
    evaluations = _evaluations(experiment, checkpoint, scores)
    data = ModelCardData(
        language=card_args.language,
        **license,
        library_name="transformers",
        pipeline_tag="zero-shot-image-classification",
        base_model=base["id"],
        base_model_relation=base["id"] and ("merge" if checkpoint.run == "wise_ft" else "finetune"),
        datasets=card_args.datasets or None,
        tags=["clip", "news", "image-text-retrieval", "hf-newsmatch", *_own_tags(checkpoint)],
        model_name=name,
        eval_results=_eval_results(evaluations, dataset, card_args) or None,
    )
    if not data.eval_results:
        data.model_name = None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resource_dir("model_cards")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    config, figure = load_config(checkpoint.folder), curve_figure(experiment, checkpoint)
    text = environment.get_template(f"{checkpoint.run}.md").render(
        card_data=data.to_yaml(),
        name=name,
        repo_id=repo_id,
        revision=revision,
        base=base,
        dataset=dataset,
        parts=record["data"]["split"]["parts"],
        test_list=record["data"]["test_list"],
        text_fields=record["data"]["arguments"]["text_fields"],
        translation=_translation(record),
        tokens=config.text_config.max_position_embeddings,
        train=record["train"],
        best=_best(record["train"]),
        unusual=_unusual(record),
        checkpoint=checkpoint,
        wise_ft=record.get("wise_ft"),
        alpha=_alpha(record, checkpoint),
        curve=_curve_table(experiment, checkpoint),
        figure=figure and figure.name,
        alphas=alphas or {},
        score_tables=_score_tables(checkpoint, scores),
        evaluations=evaluations,
        provenance=provenance(experiment, checkpoint),
    )
    return ModelCard(text)


def provenance(experiment: Experiment, checkpoint: Checkpoint) -> dict[str, Any]:
    """The record as it may be published: no path, no account, no picture; of files their names and SHA-256."""
    record, section = experiment.record, experiment.record["data"]
    base = record["base_model"]
    public = {
        "hf_newsmatch": record["hf_newsmatch"],
        "versions": record["versions"],
        "base_model": {**base, "id": _file_name(base["id"])},
        "data": {
            "arguments": {name: section["arguments"].get(name) for name in _READING},
            "files": {
                name: {"name": _file_name(file["path"]), "sha256": file["sha256"]}
                for name, file in section["files"].items()
            },
            "split": section["split"],
            "pairs_without_usable_picture": section["pairs_without_usable_picture"],
            "test_list": section["test_list"] and _without(section["test_list"], "unusable_pictures"),
        },
        # of the arguments, those that the weights depend on: the others are of the machine or the account
        "recipe": record.get("recipe", {}),
        "train": _without(record["train"], "arguments"),
    }
    if checkpoint.run == "wise_ft":
        public["wise_ft"] = (
            record["wise_ft"]
            if checkpoint.scored
            else {"alpha": checkpoint.alpha, "endpoints": experiment.endpoints()}
        )
    public["data"]["arguments"]["translation_model"] = _file_name(section["arguments"]["translation_model"])
    return _without_paths(public)


def find_license(experiment: Experiment, card_args: CardArguments, token: str | None = None) -> dict[str, str]:
    """The licence of the checkpoint: what `--license` says, else that of the base model's card.

    Raises:
        [`NewsMatchError`]: when neither names one, or the card cannot be read.
    """
    if card_args.license:
        return {"license": card_args.license}
    base = experiment.record["base_model"]
    if base["id"] == DEMO_MODEL:
        return _DEMO_LICENSE
    name = _file_name(base["id"])
    try:
        if is_local(base["id"]):
            card = Path(base["id"], constants.REPOCARD_NAME)
        else:
            card = hf_hub_download(base["id"], constants.REPOCARD_NAME, revision=base["revision"], token=token)
        data = ModelCard.load(card, ignore_metadata_errors=True).data if Path(card).is_file() else {}
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


def read_scores(experiment: Experiment) -> dict[str, Any]:
    """What `scripts/evaluate.py` wrote of the run; empty when it was not run.

    Raises:
        [`NewsMatchError`]: when the models or the predictions have changed since.
    """
    file = experiment.output_dir / "scores.json"
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
                    " scripts/evaluate.py again."
                )
    return scores


def _evaluations(experiment: Experiment, checkpoint: Checkpoint, scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The scores of this very checkpoint, by part of the data: those of the evaluation, else what the validation part
    said on the way, of the kept epoch or of the alpha."""
    scored = {split: comparison["runs"].get(checkpoint.run) for split, comparison in scores.items()}
    if checkpoint.scored and any(scored.values()):
        return [
            {"split": split, "values": {name: row[name]["mean"] for name in row if _METRIC.fullmatch(name)}}
            for split, row in scored.items()
            if row
        ]
    if checkpoint.run == "wise_ft":
        points = [point for point in _curve(experiment) if _is_at(point, checkpoint)]
    else:
        train = experiment.record["train"]
        logged = [row for row in train["log_history"] if "eval_mrr@100" in row]
        points = [row for row in logged if row["step"] == train["best_step"]] or logged[-1:]
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
            + (" (chose the epoch or alpha: optimistic)" if part["split"] == "validation" else ""),
            dataset_split=part["split"],
            metric_type=name,
            metric_name=metric_label(name),
            # numbers of numpy would break the YAML
            metric_value=float(value),
        )
        for part in evaluations
        for name, value in part["values"].items()
    ]


def _score_tables(checkpoint: Checkpoint, scores: Mapping[str, Any]) -> list[str]:
    titles = {"validation": "Validation part (chose the epoch and alpha: optimistic)", "test": "Test part"}
    return [
        markdown_table(comparison, titles.get(split, split))
        for split, comparison in sorted(scores.items())
        if checkpoint.scored and checkpoint.run in comparison["runs"]
    ]


def curve_figure(experiment: Experiment, checkpoint: Checkpoint) -> Path | None:
    """The picture of the curve that chose this checkpoint's alpha, when there is one."""
    chosen = checkpoint.run == "wise_ft" and checkpoint.scored and experiment.record["wise_ft"]["rule"] != "given"
    file = experiment.output_dir / "alpha_curve.png"
    return file if chosen and file.is_file() else None


def _curve(experiment: Experiment) -> list[dict[str, float]]:
    """The points of a sweep over one alpha for all weights."""
    curve = experiment.record.get("wise_ft", {}).get("curve") or []
    return [point for point in curve if "alpha" in point]


def _is_at(point: Mapping[str, float], checkpoint: Checkpoint) -> bool:
    return checkpoint.alpha is not None and math.isclose(point["alpha"], checkpoint.alpha, abs_tol=1e-9)


def _alpha(record: Mapping[str, Any], checkpoint: Checkpoint) -> str | None:
    """The alpha in words: one for all weights, one a tower, or more than fit into a sentence."""
    made = record.get("wise_ft", {})
    if checkpoint.alpha is not None:
        return f"alpha = {checkpoint.alpha:g}"
    if "alpha_vision" in made:
        return f"alpha = {made['alpha_vision']:g} in the vision tower and {made['alpha_text']:g} in the text tower"
    return "several alphas, which newsmatch.json lists"


def _curve_table(experiment: Experiment, checkpoint: Checkpoint) -> str:
    """The validation scores of each alpha as Markdown; empty when alpha was not chosen by them."""
    curve = _curve(experiment)
    if checkpoint.run != "wise_ft" or not curve:
        return ""
    metrics = [name for name in curve[0] if _METRIC.fullmatch(name)]
    rows = []
    for point in curve:
        cells = [f"{point['alpha']:g}", *(number(point[name]) for name in metrics)]
        rows.append([Cell(text, best=_is_at(point, checkpoint)) for text in cells])
    table = Table("alpha-curve", "", ["alpha", *map(metric_label, metrics)], rows, name_columns=0)
    return to_markdown(table).rstrip()


def _base_model(experiment: Experiment, card_args: CardArguments) -> dict[str, Any]:
    """The base model's Hub id, when it has one, and how the text calls it."""
    base = experiment.record["base_model"]
    hub_id = card_args.base_model or (None if is_local(base["id"]) else base["id"])
    if hub_id:
        called = f"[{hub_id}](https://huggingface.co/{hub_id})"
    elif base["id"] == DEMO_MODEL:
        called = "the tiny CLIP inside hf-newsmatch"
    else:
        called = f"`{_file_name(base['id'])}`, a checkpoint that is not on the Hub"
    return {**base, "id": hub_id, "called": called}


def _dataset_name(experiment: Experiment, card_args: CardArguments) -> str:
    arguments = experiment.record["data"]["arguments"]
    if card_args.dataset_name:
        return card_args.dataset_name
    if arguments["demo"]:
        return f"hf-newsmatch demo newsroom, {arguments['demo']}, seed {arguments['corpus_seed']}"
    return _file_name(arguments["articles_file"])


def _translation(record: Mapping[str, Any]) -> str | None:
    arguments = record["data"]["arguments"]
    return _file_name(arguments["translation_model"]) if arguments["translate"] else None


def _best(train: Mapping[str, Any]) -> dict[str, Any] | None:
    """What made an epoch the one that was kept."""
    if not train["arguments"].get("load_best_model_at_end") or train.get("best_step") is None:
        return None
    ((metric, value),) = train["best_metric"].items()
    extreme = "highest" if train["arguments"].get("greater_is_better") else "lowest"
    row = next((row for row in train["log_history"] if row["step"] == train["best_step"] and "epoch" in row), {})
    return {"metric": metric.removeprefix("eval_"), "value": value, "extreme": extreme, "epoch": row.get("epoch")}


def _unusual(record: Mapping[str, Any]) -> dict[str, Any]:
    """What else of the recipe is not the default."""
    defaults = {item.name: item.default for item in dataclasses.fields(ContrastiveTrainingArguments)}
    recipe = record.get("recipe", {})
    return {
        name: value
        for name, value in recipe.items()
        if name in defaults and name not in _TOLD and value is not None and value != defaults[name]
    }


def _own_tags(checkpoint: Checkpoint) -> list[str]:
    return ["wise-ft", "merge"] if checkpoint.run == "wise_ft" else ["contrastive-learning"]


def _is_path(value: str) -> bool:
    return PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()


def _file_name(value: str) -> str:
    """The last part of a local path; a Hub id stays whole."""
    return Path(value).name if _is_path(value) or Path(value).exists() else value


def _without(section: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in section.items() if name not in names}


def local_paths(value: Any) -> set[str]:
    """All absolute paths in a record."""
    if isinstance(value, str):
        return {value} if _is_path(value) else set()
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*map(local_paths, values))


def _without_paths(value: Any) -> Any:
    """The same without any entry that is an absolute path."""
    if isinstance(value, dict):
        return {k: _without_paths(v) for k, v in value.items() if not (isinstance(v, str) and _is_path(v))}
    if isinstance(value, list):
        return [_without_paths(item) for item in value if not (isinstance(item, str) and _is_path(item))]
    return value
