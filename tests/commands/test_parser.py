import logging
import os
from dataclasses import dataclass, field, fields

import pytest
import torch
import yaml

from hf_newsmatch import ContrastiveTrainingArguments, NewsMatchError
from hf_newsmatch.commands.parser import TRAINING_ARGUMENTS, parse_arguments
from hf_newsmatch.commands.terminal import set_up_logging, use_all_cores
from hf_newsmatch.configs import (
    MAX_RANK,
    PAPER_DATASETS,
    RERANKERS,
    AppArguments,
    CardArguments,
    DataArguments,
    EvaluateArguments,
    FuseArguments,
    InterpolateArguments,
    ModelArguments,
    PredictArguments,
    PushArguments,
    ReportArguments,
    ReproduceArguments,
    StudyArguments,
    TrainArguments,
    TranslateArguments,
    split_files,
)
from hf_newsmatch.retrieval.rerank import METHODS
from hf_newsmatch.studies.reproduction import PAPER

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
        ("learning_rat: 1", "the key 'learning_rat', which no command knows"),
        ("a: [", "is not YAML"),
        ("just text", "lines like"),
        ("seed: 1\nalpha: 0.5\nseed: 2", "is not YAML: 'seed' stands in line 1 and again in line 3"),
        ("a: &a {x: 1}\n<<: *a", "is not YAML: line 2 merges mappings"),
        ("# \n" * 100_000, "has more than 256 KiB"),
    ],
)
def test_bad_recipes(tmp_path, content, message):
    (tmp_path / "bad.yaml").write_text(content)
    with pytest.raises(NewsMatchError, match=message):
        parse("--config", str(tmp_path / "bad.yaml"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_place_of_a_recipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "recipe.yaml")
    with pytest.raises(NewsMatchError, match="is a pipe or a device"):
        parse("--config", str(tmp_path / "recipe.yaml"))


def recipe_of(tmp_path, content):
    (tmp_path / "recipe.yaml").write_text(content)
    return "--config", str(tmp_path / "recipe.yaml")


SCRIPTS = {
    "train": (DataArguments, ModelArguments, TRAINING_ARGUMENTS, TrainArguments),
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


def test_warnings_of_the_hub_appear_once():
    """`huggingface_hub` prints its own: what passed them on to our handler as well would print each twice."""
    set_up_logging()
    assert logging.getLogger("huggingface_hub").handlers, "its own"
    assert not logging.getLogger("huggingface_hub").propagate
    assert logging.getLogger("hf_newsmatch").propagate


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


# Every flag of the first version with a value, and what HfArgumentParser over its dataclasses made of it. Flags may be
# added; none of these may go or change its meaning.
COMPATIBLE = {
    DataArguments: (
        "--demo feed --corpus_seed 3 --articles_file a.tsv --image_dir i --test_articles_file t.tsv --test_images p"
        " --test_image_dir j --gold_file g.tsv --text_fields title caption --holdout_test false --train_fraction .7"
        " --sort_by file --skip_bad_rows --use_english_columns no --translate yes --translation_model demo"
        " --translation_revision main --max_sentences 4",
        {
            "demo": "feed",
            "corpus_seed": 3,
            "articles_file": "a.tsv",
            "image_dir": "i",
            "test_articles_file": "t.tsv",
            "test_images": "p",
            "test_image_dir": "j",
            "gold_file": "g.tsv",
            "text_fields": ["title", "caption"],
            "holdout_test": False,
            "train_fraction": 0.7,
            "sort_by": "file",
            "skip_bad_rows": True,
            "translate": True,
            "use_english_columns": False,
            "translation_model": "demo",
            "translation_revision": "main",
            "max_sentences": 4,
        },
    ),
    ModelArguments: (
        "--model-name-or-path demo --model-revision v1",
        {"model_name_or_path": "demo", "model_revision": "v1"},
    ),
    TrainArguments: ("--overwrite", {"overwrite": True}),
    InterpolateArguments: (
        "--alpha 0.2 0.4 --alpha_rule time_robust --alpha_metric mrr@100 --alpha_slices 3 --per_tower true"
        " --max_evaluations 9 --alpha_vision -0.1 --alpha_text 1 --logit_scale_with text --alphas_file a.yaml"
        " --extrapolate --dtype float16 --max_shard_size 2GB --output_dir o --batch_size 8",
        {
            "alpha": ["0.2", "0.4"],
            "alpha_rule": "time_robust",
            "alpha_metric": "mrr@100",
            "alpha_slices": 3,
            "per_tower": True,
            "max_evaluations": 9,
            "alpha_vision": -0.1,
            "alpha_text": 1.0,
            "logit_scale_with": "text",
            "alphas_file": "a.yaml",
            "extrapolate": True,
            "dtype": "float16",
            "max_shard_size": "2GB",
            "output_dir": "o",
            "batch_size": 8,
        },
    ),
    PredictArguments: (
        "--output_dir o --splits test --runs zero_shot ensemble --ensemble_weight 0.3 --rerank csls sinkhorn --k 10"
        " --batch_size 8 --num_workers 2",
        {
            "output_dir": "o",
            "splits": ["test"],
            "runs": ["zero_shot", "ensemble"],
            "ensemble_weight": 0.3,
            "k": 10,
            "rerank": ["csls", "sinkhorn"],
            "batch_size": 8,
            "num_workers": 2,
        },
    ),
    EvaluateArguments: (
        "--output_dir o --predictions a b --gold g --articles a --candidates c --scores_file s.json --ks 1 3 --seed 7",
        {
            "output_dir": "o",
            "predictions": ["a", "b"],
            "gold": "g",
            "articles": "a",
            "candidates": "c",
            "scores_file": "s.json",
            "ks": [1, 3],
            "seed": 7,
        },
    ),
    FuseArguments: (
        "--predictions a b --method z_score --weights 2 1 --output_file f.tsv --k 9",
        {"predictions": ["a", "b"], "method": "z_score", "weights": [2.0, 1.0], "output_file": "f.tsv", "k": 9},
    ),
    ReportArguments: ("--output_dir o --seed 1", {"output_dir": "o", "seed": 1}),
    AppArguments: (
        "--output_dir o --split validation --hub_model_id u/n --images p --articles_file a --gold_file g --k 3",
        {
            "output_dir": "o",
            "split": "validation",
            "hub_model_id": "u/n",
            "images": "p",
            "articles_file": "a",
            "gold_file": "g",
            "k": 3,
        },
    ),
    CardArguments: (
        "--license mit --base_model b --dataset_name d --datasets x y --language en de",
        {"license": "mit", "base_model": "b", "dataset_name": "d", "datasets": ["x", "y"], "language": ["en", "de"]},
    ),
    PushArguments: (
        "--output_dir o --hub_model_id u/n --no_hub_private_repo --hub_revision r --hub_token t --run wise_ft --family"
        " --dry_run",
        {
            "output_dir": "o",
            "hub_model_id": "u/n",
            "hub_private_repo": False,
            "hub_revision": "r",
            "hub_token": "t",
            "run": "wise_ft",
            "family": True,
            "dry_run": True,
        },
    ),
    TranslateArguments: (
        "--articles_file a --output_file o --format tsv --translation_model demo --translation_revision r"
        " --source_language de --target_language en --language de --columns title --max_sentences 2"
        " --no_use_english_columns --backend ctranslate2 --dtype int8 --device cpu --num_beams 1 --tokens_per_batch 9"
        " --cache_file c --skip_bad_rows true",
        {
            "articles_file": "a",
            "output_file": "o",
            "format": "tsv",
            "translation_model": "demo",
            "translation_revision": "r",
            "source_language": "de",
            "target_language": "en",
            "language": "de",
            "columns": ["title"],
            "max_sentences": 2,
            "use_english_columns": False,
            "backend": "ctranslate2",
            "dtype": "int8",
            "device": "cpu",
            "num_beams": 1,
            "tokens_per_batch": 9,
            "cache_file": "c",
            "skip_bad_rows": True,
        },
    ),
    ReproduceArguments: (
        "--data_root d --demo false --datasets rss --output_dir o --accelerate_config c --overwrite",
        {
            "data_root": "d",
            "demo": False,
            "datasets": ["rss"],
            "output_dir": "o",
            "accelerate_config": "c",
            "overwrite": True,
        },
    ),
    StudyArguments: (
        "--corpus_seeds 6 7 --recipe r.yaml --alpha_metric mrr@100 --alpha_slices 3 --output_dir o",
        {"corpus_seeds": [6, 7], "recipe": "r.yaml", "alpha_metric": "mrr@100", "alpha_slices": 3, "output_dir": "o"},
    ),
    TRAINING_ARGUMENTS: (
        "--output_dir o --per_device_train_batch_size 8 --num_train_epochs 2 --learning_rate 1e-4 --seed 3 --use_cpu"
        " --lr_scheduler_type linear --weight_decay 0.1 --max_grad_norm 1 --logging_strategy steps --eval_strategy no"
        " --per_device_eval_batch_size 4 --save_strategy no --save_total_limit 2 --hub_strategy end"
        " --no_load_best_model_at_end --metric_for_best_model mrr@100 --no-dataloader-drop-last"
        " --dataloader_num_workers 1 --remove_unused_columns no --ddp_find_unused_parameters"
        " --coupled_weight_decay false --decay_biases_and_norms true --train_towers text --unfreeze_last_layers 1"
        " --layerwise_lr_decay 0.9 --logits_factor 0.9 --contrastive_chunk_size 4"
        " --no_distinct_batches --cache_images --max_steps 5 --warmup_steps 0.1 --gradient_accumulation_steps 2"
        " --optim sgd --report_to none --save_steps 7 --eval_steps 3 --logging_steps 0.5 --push_to_hub --hub_model_id"
        " u/n --hub_private_repo false --hub_token t --hub_revision r --resume_from_checkpoint c --run_name n"
        " --activation_checkpointing --lr_scheduler_kwargs {} --label_names a b --data_seed 4 --ddp_timeout 9",
        {
            "output_dir": "o",
            "per_device_train_batch_size": 8,
            "num_train_epochs": 2.0,
            "learning_rate": 1e-4,
            "seed": 3,
            "use_cpu": True,
            "lr_scheduler_type": "linear",
            "weight_decay": 0.1,
            "max_grad_norm": 1.0,
            "logging_strategy": "steps",
            "eval_strategy": "no",
            "per_device_eval_batch_size": 4,
            "save_strategy": "no",
            "save_total_limit": 2,
            "hub_strategy": "end",
            "load_best_model_at_end": False,
            "dataloader_num_workers": 1,
            "metric_for_best_model": "mrr@100",
            "dataloader_drop_last": False,
            "remove_unused_columns": False,
            "ddp_find_unused_parameters": True,
            "coupled_weight_decay": False,
            "decay_biases_and_norms": True,
            "train_towers": "text",
            "unfreeze_last_layers": 1,
            "layerwise_lr_decay": 0.9,
            "logits_factor": 0.9,
            "contrastive_chunk_size": 4,
            "distinct_batches": False,
            "cache_images": True,
            "max_steps": 5,
            "warmup_steps": 0.1,
            "gradient_accumulation_steps": 2,
            "optim": "sgd",
            "report_to": [],
            "save_steps": 7,
            "eval_steps": 3,
            "logging_steps": 0.5,
            "push_to_hub": True,
            "hub_model_id": "u/n",
            "hub_private_repo": False,
            "hub_token": "t",
            "hub_revision": "r",
            "resume_from_checkpoint": "c",
            "run_name": "n",
            "activation_checkpointing": True,
            "lr_scheduler_kwargs": {},
            "label_names": ["a", "b"],
            "data_seed": 4,
            "ddp_timeout": 9,
        },
    ),
}


# flags that the first version did not have, or not with this dataclass
LATER = {"several_pictures", "model_languages", "dtype", "torch_compile", "long_text"}


@pytest.mark.parametrize("dataclass_type", COMPATIBLE, ids=lambda value: getattr(value, "__name__", "training"))
@pytest.mark.parametrize("way", ["flags", "recipe"])
def test_flags_of_the_first_version_parse_to_the_same(dataclass_type, way, tmp_path):
    flags, values = COMPATIBLE[dataclass_type]
    # the arguments turn the word into an empty list
    typed = {"report_to": "none"} if "report_to" in values else {}
    argv = flags.split() if way == "flags" else recipe_of(tmp_path, yaml.safe_dump({**values, **typed}))
    (parsed,) = parse(*argv, types=(dataclass_type,))
    assert {name: getattr(parsed, name) for name in values} == values
    if not isinstance(dataclass_type, str):
        assert set(values) == {item.name for item in fields(dataclass_type)} - (LATER - set(values))
    else:
        assert type(parsed) is ContrastiveTrainingArguments


def test_flags_of_lora():
    argv = ["--lora_rank", "2", "--lora_alpha", "3", "--lora_dropout", "0.1", "--use_cpu", "--output_dir", "o"]
    (parsed,) = parse(*argv, types=(TRAINING_ARGUMENTS,))
    assert (parsed.lora_rank, parsed.lora_alpha, parsed.lora_dropout) == (2, 3.0, 0.1)


def test_names_that_the_configurations_know_are_those_of_the_code():
    assert list(RERANKERS) == list(METHODS)
    assert set(PAPER_DATASETS) == set(PAPER)
    assert MAX_RANK == 100


def test_a_re_ranking_that_there_is_not():
    with pytest.raises(NewsMatchError, match=r"There is no re-ranking 'magic'; the methods are none, dual_softmax"):
        parse("--rerank", "csls", "magic", types=(PredictArguments,))


def test_a_recipe_of_the_package(tmp_path, monkeypatch):
    """Where there is no file of that name, `recipes/NAME.yaml` is the one that came with the package."""
    monkeypatch.chdir(tmp_path)
    data, _ = parse("--config", "recipes/rss.yaml")
    assert data.articles_file == "data/rss/articles.tsv"
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "rss.yaml").write_text("articles_file: mine.tsv\n")
    data, _ = parse("--config", "recipes/rss.yaml")
    assert data.articles_file == "mine.tsv"
    with pytest.raises(NewsMatchError, match=r"recipes/no_such\.yaml cannot be read"):
        parse("--config", "recipes/no_such.yaml")


@pytest.mark.parametrize("flags", [["--articles_file", "a.tsv", "b.tsv"], ["--config", "recipe.yaml"]])
def test_an_edition_of_several_files_is_one_option(flags, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text("articles_file:\n- a.tsv\n- b.tsv\n")
    (data_args,) = parse_arguments(DataArguments, description="Read.", argv=flags)
    assert split_files(data_args.articles_file) == ["a.tsv", "b.tsv"]
    (tmp_path / "recipe.yaml").write_text("articles_file: a.tsv\n")
    (data_args,) = parse_arguments(DataArguments, description="Read.", argv=["--config", "recipe.yaml"])
    assert data_args.articles_file == "a.tsv"
