from dataclasses import dataclass, field

import pytest
import torch

from hf_newsmatch import ContrastiveTrainingArguments, NewsMatchError
from hf_newsmatch.commands.parser import parse_arguments
from hf_newsmatch.commands.terminal import use_all_cores
from hf_newsmatch.configs import (
    DataArguments,
    EvaluateArguments,
    InterpolateArguments,
    ModelArguments,
    PredictArguments,
    TrainArguments,
)

TYPES = (DataArguments, ModelArguments)


def parse(*argv, types=TYPES, **kwargs):
    return parse_arguments(*types, description="Test.", argv=argv, **kwargs)


@pytest.fixture
def recipe(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "articles_file: a.tsv\ntext_fields: [title]\ntrain_fraction: 0.7\nskip_bad_rows: true\n"
        "learning_rate: 1e-4\noutput_dir: outputs/x\nalpha: 0.4\n"
    )
    return str(file)


def test_the_recipe_gives_values_and_flags_override_them(recipe):
    data, _ = parse("--config", recipe, "--train_fraction", "0.5", "--text_fields", "title", "text")
    assert (data.articles_file, data.train_fraction, data.skip_bad_rows) == ("a.tsv", 0.5, True)
    assert data.text_fields == ["title", "text"]


def test_one_recipe_serves_every_script(recipe):
    (interpolate,) = parse("--config", recipe, types=(InterpolateArguments,))
    assert (interpolate.alpha, interpolate.output_dir) == (["0.4"], "outputs/x")
    (evaluate,) = parse("--config", recipe, types=(EvaluateArguments,))
    assert evaluate.output_dir == "outputs/x"


def test_numbers_like_1e_4_are_numbers(recipe):
    """YAML reads `1e-4` as a string."""
    (training,) = parse("--config", recipe, "--use_cpu", "true", types=(ContrastiveTrainingArguments,))
    assert training.learning_rate == 1e-4


def test_the_default_recipe_holds_only_without_other_data(recipe):
    data, model = parse(default_config=recipe)
    assert data.articles_file == "a.tsv"
    data, model = parse("--train_fraction", "0.9", default_config=recipe)
    assert (data.articles_file, data.train_fraction, data.text_fields) == ("a.tsv", 0.9, ["title"])
    for flags in (["--articles_file", "b.tsv"], ["--articles_file=b.tsv"]):
        data, model = parse(*flags, default_config=recipe)
        assert (data.articles_file, data.text_fields) == ("b.tsv", ["title", "text"])
    assert model.model_name_or_path == "openai/clip-vit-base-patch32"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("learning_rat: 1", "the key 'learning_rat', which no script knows"),
        ("a: [", "is not YAML"),
        ("just text", "lines like"),
    ],
)
def test_bad_recipes(tmp_path, content, message):
    (tmp_path / "bad.yaml").write_text(content)
    with pytest.raises(NewsMatchError, match=message):
        parse("--config", str(tmp_path / "bad.yaml"))


def recipe_of(tmp_path, content):
    (tmp_path / "recipe.yaml").write_text(content)
    return "--config", str(tmp_path / "recipe.yaml")


SCRIPTS = {
    "train": (DataArguments, ModelArguments, ContrastiveTrainingArguments, TrainArguments),
    "interpolate": (InterpolateArguments,),
    "predict": (PredictArguments, DataArguments, ModelArguments),
    "evaluate": (EvaluateArguments,),
}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("flags", [["--help"], ["-h"], ["--config", "absent.yaml", "--help"]], ids=" ".join)
def test_help_needs_no_recipe(script, flags, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(*flags, types=SCRIPTS[script], default_config="absent.yaml")
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "--config YAML" in out
    assert "%%" not in out


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("text_fields: title", ["title"]),
        ("text_fields: [text, title]", ["text", "title"]),
        ("text_fields: null", ["title", "text"]),
        ("ks: 5", [5]),
        ("ks: [1, 7]", [1, 7]),
        ("eval_strategy: no", "no"),
        ("bf16: no", False),
        ("bf16: true", True),
        ("overwrite: yes", True),
        ("holdout_test: false", False),
        ("learning_rate: 1e-4", 1e-4),
        ("num_train_epochs: 2", 2.0),
        ("test_articles_file: 2021", "2021"),
        ("model_revision: --main", "--main"),
        ("lr_scheduler_kwargs: {num_cycles: 2}", {"num_cycles": 2}),
    ],
)
def test_values_of_a_recipe_are_what_flags_would_be(tmp_path, line, value):
    types = (EvaluateArguments,) if line.startswith("ks") else SCRIPTS["train"]
    more = "use_cpu: true\nload_best_model_at_end: false\n"
    arguments = parse(*recipe_of(tmp_path, more + line), types=types)
    name = line.split(":")[0]
    (parsed,) = (getattr(item, name) for item in arguments if hasattr(item, name))
    assert parsed == value
    assert isinstance(parsed, type(value))


@pytest.mark.parametrize(
    "line",
    [
        "seed: 1.5",
        "learning_rate: [1]",
        "learning_rate: {a: 2020-01-01}",
        "num_train_epochs: yes",
        "bf16: 3",
        "ks: [1, null]",
        "ks: [one]",
        "text_fields: []",
    ],
)
def test_values_of_another_type_exit_with_2(tmp_path, line, capsys):
    types = (EvaluateArguments,) if line.startswith("ks") else SCRIPTS["train"]
    with pytest.raises(SystemExit) as caught:
        parse(*recipe_of(tmp_path, line), types=types)
    assert caught.value.code == 2
    assert f"argument --{line.split(':')[0]}" in capsys.readouterr().err


def test_a_stray_word_is_not_taken_into_the_recipes_last_list(tmp_path):
    with pytest.raises(NewsMatchError, match="stray"):
        parse(*recipe_of(tmp_path, "text_fields: [title, text]"), "stray")


def test_keys_that_are_no_words(tmp_path):
    with pytest.raises(NewsMatchError, match="the key '1'"):
        parse(*recipe_of(tmp_path, "1: 2\nno: 3"))


@pytest.mark.parametrize(
    ("dataclass_type", "flags", "message"),
    [
        (DataArguments, "--corpus_seed -1", "--corpus_seed must be at least 0, not -1."),
        (InterpolateArguments, "--batch_size 0", "--batch_size must be at least 1, not 0."),
        (PredictArguments, "--batch_size 0", "--batch_size must be at least 1, not 0."),
        (PredictArguments, "--num_workers -1", "--num_workers must be at least 0, not -1."),
        (PredictArguments, "--k 0", "--k must be at least 1, not 0."),
        (PredictArguments, "--k 101", "--k must be at most 100, what the task accepts of each article, not 101."),
        (EvaluateArguments, "--seed -1", "--seed must be at least 0, not -1."),
        (EvaluateArguments, "--ks 1 0", "--ks must lie between 1 and 100, not 0."),
        (EvaluateArguments, "--ks 101", "--ks must lie between 1 and 100, not 101."),
    ],
)
def test_ranges(dataclass_type, flags, message):
    with pytest.raises(NewsMatchError) as caught:
        parse(*flags.split(), types=(dataclass_type,))
    assert str(caught.value) == message


def test_absent_recipe():
    with pytest.raises(NewsMatchError, match=r"absent\.yaml cannot be read"):
        parse("--config", "absent.yaml")


@pytest.mark.parametrize("argv", [["--no_such_flag", "1"], ["--train_fraction", "much"], ["--confi", "x"]])
def test_bad_flags_exit_with_2(argv, capsys):
    with pytest.raises((SystemExit, NewsMatchError)) as caught:
        parse(*argv)
    if isinstance(caught.value, SystemExit):
        assert caught.value.code == 2
        assert "invalid float value: 'much'" in capsys.readouterr().err
    else:
        assert argv[0] in str(caught.value)


def test_what_a_dataclass_refuses_is_one_sentence():
    @dataclass
    class Picky:
        number: int = field(default=1)

        def __post_init__(self):
            raise ValueError("A first sentence. And then\nmuch more.")

    with pytest.raises(NewsMatchError, match=r"^A first sentence\.$"):
        parse(types=(Picky,))


def test_only_a_launchers_single_thread_is_overridden(monkeypatch):
    threads = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    use_all_cores()
    assert threads == []
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    use_all_cores()
    assert len(threads) == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    use_all_cores()
    assert len(threads) == 1
