"""The YAML files that ship beside the package."""

from pathlib import Path

import pytest
from accelerate import DeepSpeedPlugin
from accelerate.commands.config.config_args import load_config_from_file

from hf_newsmatch import ContrastiveTrainingArguments
from hf_newsmatch.commands.parser import parse_arguments
from hf_newsmatch.configs import DataArguments, ModelArguments

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
ACCELERATE = sorted((ROOT / "accelerate_configs").glob("*.yaml"))


@pytest.mark.parametrize("file", ACCELERATE, ids=lambda file: file.stem)
def test_accelerate_configs(file):
    assert file.read_text().startswith("# "), "it says when to use it"
    config = load_config_from_file(str(file))
    several = {"multi_gpu", "multi_node", "deepspeed_zero2"}
    assert config.num_processes == (2 if file.stem in several else 1)
    assert config.num_machines == (2 if file.stem == "multi_node" else 1)
    assert config.use_cpu == (file.stem == "cpu")


def test_deepspeed_config():
    config = load_config_from_file(str(ROOT / "accelerate_configs" / "deepspeed_zero2.yaml"))
    assert config.distributed_type == "DEEPSPEED"
    plugin = DeepSpeedPlugin(
        zero_stage=config.deepspeed_config["zero_stage"],
        offload_optimizer_device=config.deepspeed_config["offload_optimizer_device"],
        offload_param_device=config.deepspeed_config["offload_param_device"],
    )
    assert plugin.deepspeed_config["zero_optimization"]["stage"] == 2


def test_all_accelerate_configs_are_there():
    assert {"cpu", "single_gpu", "multi_gpu", "multi_node", "deepspeed_zero2"} == {file.stem for file in ACCELERATE}


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_recipes(file):
    types = (DataArguments, ModelArguments, ContrastiveTrainingArguments)
    data, model, training = parse_arguments(
        *types, description="Test.", argv=["--config", str(file), "--use_cpu", "true"]
    )
    assert training.output_dir == f"outputs/{file.stem}"
    if file.stem.startswith("demo"):
        domain = {"demo": "feed", "demo_portal": "portal"}[file.stem]
        assert (data.demo, data.corpus_seed, model.model_name_or_path) == (domain, 0, "demo")
        assert (data.translate, data.translation_model == "demo") == (domain == "portal", domain == "portal")
        return
    assert all([data.articles_file, data.image_dir, data.test_articles_file, data.test_images, data.gold_file])
    assert model.model_name_or_path == "openai/clip-vit-base-patch32"
    recipe = ContrastiveTrainingArguments(output_dir="x", use_cpu=True)
    for name in ("per_device_train_batch_size", "learning_rate", "weight_decay", "num_train_epochs"):
        assert getattr(training, name) == getattr(recipe, name)


def test_the_papers_three_data_sets_have_recipes():
    assert {"rss", "tw", "rt"} <= {file.stem for file in RECIPES}
