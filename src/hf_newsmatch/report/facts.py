"""What was read, refused, split and chosen, and where everything came from, as tables."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.corpus import Corpus
from ..data.sources import bad_rows
from ..data.text import article_texts
from ..experiment.folder import Experiment
from ..experiment.record import InterpolatedRecord
from ..models.loading import load_config, load_processor
from ..utils import tables
from ..utils.tables import Table


def facts_tables(experiment: Experiment, data: Corpus) -> list[Table]:
    """What was read, what was refused, how it was split, and where everything came from."""
    record = experiment.record
    section = record.data
    arguments = section.arguments
    parts = {name: part.articles for name, part in data.splits.items()}
    if len(data.train):
        parts = {"train": data.train, **parts}
    limit, truncated = _truncated(experiment, parts)
    rows = []
    for name, articles in parts.items():
        dates = sorted(value for value in articles["published"][:] if value is not None)
        pictures = len(data.splits[name].images) if name in data.splits else len(set(articles["image_id"][:]))
        cut = f"{truncated[name]} ({truncated[name] / len(articles):.0%})"
        days = [f"{dates[0]:%Y-%m-%d}", f"{dates[-1]:%Y-%m-%d}"] if dates else [None, None]
        split = section.split.splits.get(name)
        shared = split and split.shared_pictures
        if shared is None and name == "test" and section.test_list:
            shared = section.test_list.shared_pictures
        rows.append([name, len(articles), pictures, *days, shared, cut])
    header = ["split", "articles", "pictures", "first", "last", "pictures of earlier splits", f"cut at {limit} tokens"]
    order = f"Order in time by: {section.split.order}."
    found = [tables.plain_table("data", "The data", header, rows, order)]

    refused = Counter(section.unusable_pictures.counts)
    if section.test_list:
        refused.update(section.test_list.unusable_pictures.counts)
    linked = sum(len(articles) for name, articles in parts.items() if name != "test" or not section.test_list)
    without = section.pairs_without_usable_picture
    read: list[list[object]] = [["articles read with the picture that they were published with", linked + without]]
    if section.test_list:
        read.append(["articles read of the test list", len(parts["test"])])
    read.append(["articles left out for want of a usable picture", without])
    read += [[f"pictures refused: {reason}", count] for reason, count in sorted(refused.items())]
    if arguments.skip_bad_rows:
        reading: dict[str, Any] = {
            "translated": arguments.use_english_columns,
            "several_pictures": arguments.several_pictures,
        }
        wrong = bad_rows(arguments.articles_file, **reading) if arguments.articles_file else []
        if arguments.test_articles_file:
            wrong += bad_rows(arguments.test_articles_file, "articles", **reading)
        read.append(["rows that could not be read and were skipped", len(wrong)])
        read += [[f"skipped: {line}", ""] for line in wrong[:10]]
    translation = section.translation
    if translation:
        read += [
            ["sentences translated", translation.sentences],
            ["of these, translated around a number or an address that the model had lost", translation.in_parts],
            ["different ones kept in the original because no translation was sound", len(translation.kept)],
        ]
    found.append(tables.plain_table("refused", "Read and refused", ["what", "count"], read))

    base = record.base_model
    source: list[list[object]] = [
        ["base model", _shown(base.id)],
        ["revision", base.revision],
        ["SHA-256 of the base", base.sha256],
    ]
    for name, file in section.files.items():
        source.append([f"{name}: {_shown(file.source)}", file.sha256])
    source.append(["read by the model", ", ".join(arguments.text_fields)])
    source.append(["WiSE-FT", describe_choice(record.wise_ft)])
    recipe = record.recipe
    source += [
        [name, recipe[name]]
        for name in ("num_train_epochs", "learning_rate", "train_batch_size", "seed")
        if name in recipe
    ]
    source.append(["hf-newsmatch", record.hf_newsmatch])
    source += [[name, version] for name, version in record.versions.items()]
    found.append(tables.plain_table("provenance", "Provenance", ["what", "value"], source))
    return found


def describe_choice(made: InterpolatedRecord | None) -> str:
    """The alpha and why, in a sentence."""
    if made is None:
        return "No WiSE-FT model was made."
    names = {
        "alpha": "alpha {:g}",
        "alpha_vision": "{:g} for the vision tower",
        "alpha_text": "{:g} for the text tower",
    }
    alphas = [text.format(getattr(made, name)) for name, text in names.items() if getattr(made, name) is not None]
    if made.alphas:
        alphas.append("alphas by weight")
    return f"WiSE-FT uses {', '.join(alphas)} (rule: {made.rule})."


def _shown(name: str) -> str:
    """A path's last part: a report goes to others, whom the folders of this machine do not concern."""
    return Path(name).name if Path(name).is_absolute() else name


def _truncated(experiment: Experiment, parts: Mapping[str, Any]) -> tuple[int, dict[str, int]]:
    """The tokens that the model reads, and how many articles of each split have more."""
    # the fine-tuned folder has the same tokenizer and needs no Hub
    run = "fine_tuned" if experiment.has_model("fine_tuned") else "zero_shot"
    checkpoint, revision = experiment.checkpoint(run), experiment.revision(run)
    config = load_config(checkpoint, revision)
    tokenizer = load_processor(checkpoint, revision, config).tokenizer
    limit, counts = tokenizer.model_max_length, {}
    for name, articles in parts.items():
        texts = article_texts(articles, experiment.text_fields)
        counts[name] = sum(len(ids) > limit for ids in tokenizer(texts, verbose=False)["input_ids"])
    return limit, counts
