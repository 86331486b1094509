"""The wheel: all that a user without the repository needs."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from setuptools import find_packages

from hf_newsmatch import errors

ROOT = Path(__file__).parents[1]
FOLDERS = "accelerate_configs", "model_cards", "recipes"
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")


def lines(section: str, key: str) -> list[str]:
    return [line for line in SETUP[section][key].splitlines() if line and not line.startswith("#")]


def requirements(text: list[str]) -> set[str]:
    return {re.split(r"[<>=\[ ]", line)[0] for line in text}


def test_every_package_is_named():
    packages = {*find_packages(ROOT / "src"), *(f"hf_newsmatch.{name}" for name in FOLDERS)}
    assert set(lines("options", "packages")) == packages


def test_core_dependencies():
    core = requirements(lines("options", "install_requires"))
    asked = {"transformers", "datasets", "accelerate", "torch", "evaluate", "sentencepiece", "safetensors"}
    assert core >= {*asked, "huggingface_hub"}
    extras = {
        extra: requirements(lines("options.extras_require", extra))
        for extra in ("app", "ctranslate2", "peft", "report", "translation")
    }
    for extra, packages in extras.items():
        assert packages, extra
        assert not packages & core, extra
    # the extra that a sentence names is the one that brings the package
    for package, extra in errors.EXTRAS.items():
        assert package in {name.lower() for name in extras[extra]}
    assert lines("options.extras_require", "all") == ["hf-newsmatch[app,ctranslate2,peft,report,translation]"]
    assert "hf-newsmatch[all]" in lines("options.extras_require", "dev")


def test_every_requirement_is_pinned():
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().split()}
    sections = [lines("options", "install_requires")]
    sections += [lines("options.extras_require", extra) for extra in SETUP["options.extras_require"]]
    for section in sections:
        assert {name.lower() for name in requirements(section)} <= {*pinned, "hf-newsmatch"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of a copy of the tree, so that nothing is left in it."""
    folder = tmp_path_factory.mktemp("wheel")
    left_out = shutil.ignore_patterns(".*", "outputs", "build", "*.egg-info", "__pycache__", "node_modules")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("src", *FOLDERS):
        shutil.copytree(ROOT / name, folder / name, ignore=left_out)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", folder]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = (folder / "dist").glob("*.whl")
    return file


@pytest.mark.slow
def test_contents_of_the_wheel(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "src" / "hf_newsmatch"
    expected = {
        f"hf_newsmatch/{file.relative_to(package)}"
        for file in package.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    expected |= {f"hf_newsmatch/{file.relative_to(ROOT)}" for name in FOLDERS for file in (ROOT / name).iterdir()}
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert {
        *("hf_newsmatch/py.typed", "hf_newsmatch/metrics/newsimages/newsimages.py", "hf_newsmatch/recipes/demo.yaml"),
        *("hf_newsmatch/demo/clip/model.safetensors", "hf_newsmatch/report/assets/style.css"),
        *("hf_newsmatch/accelerate_configs/cpu.yaml", "hf_newsmatch/model_cards/wise_ft.md"),
    } <= expected


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Runs Python from another folder with the installed wheel and no repository on its path."""
    target, elsewhere = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("elsewhere")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    environment = {**os.environ, "PYTHONPATH": str(target), "HF_HOME": str(elsewhere / "cache")}

    def run(*argv) -> subprocess.CompletedProcess:
        command = [sys.executable, *map(str, argv)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=elsewhere)

    run.target, run.folder = target, elsewhere
    return run


@pytest.mark.slow
def test_the_command_runs_from_the_wheel(installed):
    done = installed("-m", "hf_newsmatch", "--help")
    assert done.returncode == 0, done.stderr
    assert "  evaluate" in done.stdout
    where = installed("-c", "import hf_newsmatch; print(hf_newsmatch.__file__)").stdout.strip()
    assert where == str(installed.target / "hf_newsmatch" / "__init__.py")
    script = installed.target / "bin" / "hf-newsmatch"
    done = installed(script, "--version")
    assert done.stdout.startswith("hf-newsmatch ")


@pytest.mark.slow
def test_resources_of_the_wheel(installed):
    code = (
        "from hf_newsmatch.utils.resources import resource_dir\n"
        "from hf_newsmatch.configs import StudyArguments\n"
        f"print([sorted(file.name for file in resource_dir(name).iterdir()) for name in {FOLDERS}])\n"
        "print(resource_dir('recipes'), StudyArguments().recipe)"
    )
    done = installed("-c", code)
    assert done.returncode == 0, done.stderr
    names, places = done.stdout.splitlines()
    assert eval(names) == [sorted(file.name for file in (ROOT / name).iterdir()) for name in FOLDERS]
    recipes = installed.target / "hf_newsmatch" / "recipes"
    assert places == f"{recipes} {recipes / 'demo.yaml'}"
    # a recipe of the package by the name that the documentation has; the experiment that it names is not there
    done = installed("-m", "hf_newsmatch", "interpolate", "--config", "recipes/rss.yaml")
    assert done.returncode == 2
    assert "outputs/rss" in done.stderr


@pytest.mark.slow
def test_the_metric_of_the_wheel_computes(installed):
    code = (
        "import evaluate, hf_newsmatch.metrics\n"
        "metric = evaluate.load(hf_newsmatch.metrics.__path__[0] + '/newsimages')\n"
        "print(metric.compute(predictions=[['a', 'b'], ['a', 'b']], references=['a', 'b'], ks=[1]))"
    )
    done = installed("-c", code)
    assert done.returncode == 0, done.stderr
    assert eval(done.stdout) == {"mrr@100": 0.75, "recall@1": 0.5}


@pytest.mark.slow
def test_files_are_scored_with_the_wheel(installed):
    """Two articles, their pictures at rank 1 and 2: the mean reciprocal rank is 0.75."""
    (installed.folder / "run.tsv").write_text("x\ta\tb\ny\ta\tb\n")
    (installed.folder / "gold.tsv").write_text("article_id\timage_id\nx\ta\ny\tb\n")
    argv = ("--predictions", "run.tsv", "--gold", "gold.tsv", "--scores_file", "scores.json")
    done = installed("-m", "hf_newsmatch", "evaluate", *argv)
    assert done.returncode == 0, done.stderr
    assert '"mrr@100"' in (installed.folder / "scores.json").read_text()
    assert "0.750" in done.stdout
