from dataclasses import dataclass, field

import pytest
import torch

from hf_newsmatch import ContrastiveTrainingArguments, NewsMatchError
from hf_newsmatch.arguments import (
    DataArguments,
    EvaluateArguments,
    InterpolateArguments,
    ModelArguments,
    parse_arguments,
    use_all_cores,
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
    assert (interpolate.alpha, interpolate.output_dir) == (0.4, "outputs/x")
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
