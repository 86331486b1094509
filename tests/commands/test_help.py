"""What the command line says before it imports anything: the list of commands, help, wrong and renamed flags."""

import argparse
import ast
import dataclasses
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from transformers import HfArgumentParser, TrainingArguments

import hf_newsmatch
from hf_newsmatch import NewsMatchError, configs
from hf_newsmatch.__main__ import main
from hf_newsmatch.commands import ALIASES, COMMANDS
from hf_newsmatch.commands.flags import TRAINING_ARGUMENTS, Unknown, flags_of, resolve, transformers_flags
from hf_newsmatch.commands.help import TRAINING_GROUPS, flag_help
from hf_newsmatch.commands.parser import parse_arguments
from hf_newsmatch.commands.renamed import RENAMED
from hf_newsmatch.configs import CardArguments, DataArguments, ModelArguments, PredictArguments, TrainArguments

ROOT = Path(__file__).parents[2]
TRAIN = (DataArguments, ModelArguments, TRAINING_ARGUMENTS, TrainArguments, CardArguments)
HEAVY = "torch", "transformers", "datasets", "pandas", "numpy", "matplotlib"


def parse(*argv, types=TRAIN, **kwargs):
    return parse_arguments(*types, description="Summary.\n\n    python scripts/train.py\n", argv=argv, **kwargs)


def in_a_process(*argv) -> tuple[int, str, str, float]:
    """Exit code, output, errors and seconds of CPU of `python -m hf_newsmatch`, which names what heavy it imported."""
    code = (
        "import atexit, resource, runpy, sys\n"
        f"heavy = lambda: [name for name in {HEAVY} if name in sys.modules]\n"
        "def tell():\n"
        "    usage = resource.getrusage(resource.RUSAGE_SELF)\n"
        "    print(f'\\n{usage.ru_utime + usage.ru_stime} {heavy()}', file=sys.stderr)\n"
        "atexit.register(tell)\n"
        "sys.argv[0] = 'hf-newsmatch'\n"
        "from hf_newsmatch.__main__ import main\n"
        "main()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *sys.path[1:]])}
    done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, env=environment)
    err, _, last = done.stderr.rstrip().rpartition("\n")
    seconds, _, heavy = last.partition(" ")
    assert heavy == "[]", f"{argv} imports {heavy}"
    return done.returncode, done.stdout, err.strip(), float(seconds)


def test_the_list_of_commands_comes_at_once():
    code, out, _, seconds = in_a_process("--help")
    assert code == 0
    assert seconds < 0.3
    for command in COMMANDS:
        docstring = ast.get_docstring(ast.parse((ROOT / "src/hf_newsmatch/commands" / f"{command}.py").read_text()))
        assert re.search(rf"^  {command} +{re.escape(docstring.splitlines()[0])}$", out, re.MULTILINE)


def test_every_command_has_a_module_and_a_script():
    folder = ROOT / "src/hf_newsmatch/commands"
    modules = {file.stem for file in folder.glob("*.py") if "def main(" in file.read_text()}
    assert modules == set(COMMANDS)
    assert set(ALIASES.values()) <= modules
    for command in set(COMMANDS) - {"app"}:
        alias = {value: key for key, value in ALIASES.items()}.get(command, command)
        script = (ROOT / "scripts" / f"{alias}.py").read_text()
        assert f"from hf_newsmatch.commands.{command} import main" in script
        # the two are read in different places and must say the same
        module = (folder / f"{command}.py").read_text()
        assert ast.get_docstring(ast.parse(script)) == ast.get_docstring(ast.parse(module))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy(command):
    code, out, err, seconds = in_a_process(command, "--help")
    assert (code, err) == (0, "")
    assert seconds < 1.5
    assert out.startswith(f"usage: hf-newsmatch {command} [--config YAML] [flags]\n")
    # an example, written as one can type it, before the flags
    examples, _, _ = out.partition("\noptions:")
    assert re.search(rf"^    (hf-newsmatch {command}|accelerate launch .*-m hf_newsmatch {command})\b", examples, re.M)
    assert not re.search(r"(scripts|app)/\w+\.py", examples)
    assert "%%" not in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["train", "--learning_rat", "1"], "There is no flag --learning_rat; did you mean --learning_rate?"),
        (["fuse", "a.tsv", "--wieghts", "1"], "fuse: error: There is no flag --wieghts; did you mean --weights?"),
        (["train", "--seed", "1.5"], "train: error: argument --seed: invalid int value: '1.5'"),
        (["train", "--qqqq"], "train: error: There is no flag --qqqq."),
        (["push_to_hub", "--dry_ran"], "push: error: There is no flag --dry_ran; did you mean --dry_run?"),
        (["trian"], "There is no command 'trian'; did you mean 'train'?"),
        (["--wrong"], "study, app."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_answered_as_fast(argv, message):
    code, out, err, seconds = in_a_process(*argv)
    assert (code, out) == (2, "")
    assert seconds < 1.5
    assert err.startswith("hf-newsmatch")
    assert err.endswith(message)
    assert "\n" not in err


def test_the_version(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["hf-newsmatch", "--version"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    assert capsys.readouterr().out == f"hf-newsmatch {hf_newsmatch.__version__}\n"


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("/usr/bin/hf-newsmatch", "hf-newsmatch fuse"),
        ("/lib/hf_newsmatch/__main__.py", "python -m hf_newsmatch fuse"),
    ],
)
def test_errors_begin_with_the_command_as_typed(monkeypatch, capsys, typed, name):
    monkeypatch.setattr(sys, "argv", [typed, "fuse", "--output_file", "fused.tsv"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(f"{name}: error: ")


def test_errors_of_a_script_begin_with_its_name(run):
    code, _, err = run("fuse", "--no_such_flag")
    assert code == 2
    assert err == "fuse.py: error: There is no flag --no_such_flag.\n"


def test_fields_read_from_the_source_are_those_of_the_class():
    """Names, types, lists, switches, choices and literal defaults, as `dataclasses` and `typing` give them."""
    read, real = transformers_flags(), flags_of(TrainingArguments)
    assert list(read) == list(real)
    for name, flag in read.items():
        expected = real[name]
        if flag.default is Unknown:
            assert name == "optim"
            expected = dataclasses.replace(expected, default=Unknown)
        if name.startswith("log_level"):
            # made by a call; the real parser checks them
            assert flag.choices is None
            expected = dataclasses.replace(expected, choices=None)
        assert flag == expected


def test_our_options_are_the_fields_of_the_real_arguments():
    real = flags_of(resolve(TRAINING_ARGUMENTS))
    known = flags_of(TRAINING_ARGUMENTS)
    assert set(known) == set(real)
    for name, flag in known.items():
        assert (flag.kind, flag.nargs) == (real[name].kind, real[name].nargs), name
        assert flag.default in (real[name].default, Unknown), name


ALL = [value for value in vars(configs).values() if dataclasses.is_dataclass(value)]


@pytest.mark.parametrize("dataclass_type", [*ALL, TrainingArguments], ids=lambda value: value.__name__)
def test_flags_are_those_that_hf_argument_parser_makes(dataclass_type):
    ours = parse_options(dataclass_type)
    theirs = HfArgumentParser(dataclass_type)._actions[1:]
    assert [action.option_strings for action in ours] == [action.option_strings for action in theirs]
    for mine, their in zip(ours, theirs):
        assert (mine.dest, mine.nargs, mine.const) == (their.dest, their.nargs, their.const)
        if their.type in (int, float):
            assert mine.type is their.type


def parse_options(dataclass_type):
    parser = argparse.ArgumentParser(add_help=False)
    for flag in flags_of(dataclass_type).values():
        flag.add_to(parser, flag.help)
    return parser._actions


@pytest.mark.parametrize("columns", [60, 80, 119, 300])
def test_help_of_a_training(monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit):
        parse("--help")
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert len(lines) <= (210 if columns <= 80 else 155), "two or three screens"
    assert max(map(len, lines[lines.index("options:") :])) <= max(80, min(columns, 119))
    headings = [line.rstrip(":") for line in lines if re.fullmatch(r"[A-Za-z][A-Za-z, -]*:", line)]
    assert headings == ["options", "data", "model", *TRAINING_GROUPS, "output", "model card"]
    assert "--alpha" not in out
    # a default, and a switch that is on
    assert re.search(r"--train_fraction X .*\(default: 0\.8\)", re.sub(r"\s+", " ", out))
    assert re.search(r"--distinct_batches .*\(default: on\)", re.sub(r"\s+", " ", out))
    assert "--no_distinct_batches" not in out
    assert "--ddp_backend" not in out
    assert "--fsdp" not in out


def test_help_all_has_every_flag(capsys):
    with pytest.raises(SystemExit) as caught:
        parse("--help_all")
    assert caught.value.code == 0
    shown = set(re.findall(r"^  --(\w+)", capsys.readouterr().out, re.MULTILINE))
    assert shown == {"config", *(name for item in TRAIN for name in flags_of(item))}


def test_every_flag_says_what_it_is():
    for dataclass_type in ALL:
        for flag in flags_of(dataclass_type).values():
            assert flag.help, flag.name
            assert not re.search(r"\b(part|parts|road|showcase|scripts/)\b", flag.help), flag.name
            assert "(default: /" not in flag_help(flag), "a path of this machine"


def test_the_flags_that_help_shows_are_there():
    flags = flags_of(TRAINING_ARGUMENTS)
    for names in TRAINING_GROUPS.values():
        assert set(names) <= set(flags)


@pytest.mark.parametrize("name", RENAMED)
def test_flags_of_older_transformers(name, tmp_path):
    fields = {item.name for item in dataclasses.fields(TrainingArguments)}
    assert name not in fields, "it is still there"
    flags = {flag for item in TRAIN for flag in flags_of(item)} | {"num_processes"}
    today = re.findall(r"--(?:no_)?(\w+)", RENAMED[name])
    assert set(today) <= flags
    for flag in (f"--{name}", f"--{name.replace('_', '-')}", f"--{name}=1"):
        with pytest.raises(NewsMatchError) as caught:
            parse(flag)
        assert str(caught.value) == f"Transformers 5 has no {flag.partition('=')[0]} any more: {RENAMED[name]}."
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"{name}: 1\n")
    # one recipe serves every command, and all of them tell
    for types in (TRAIN, (PredictArguments,)):
        with pytest.raises(NewsMatchError, match=f"recipe.yaml has '{name}', which transformers 5 no longer has: "):
            parse("--config", str(recipe), types=types)


@pytest.mark.parametrize(
    ("flag", "today"),
    [
        ("warmup_ratio", "--warmup_steps"),
        ("group_by_length", "--train_sampling_strategy group_by_length"),
        ("logging_dir", "TENSORBOARD_LOGGING_DIR"),
        ("evaluation_strategy", "--eval_strategy"),
        ("no_cuda", "--use_cpu"),
        ("overwrite_output_dir", "--overwrite"),
    ],
)
def test_todays_flag_is_named(flag, today):
    assert today in RENAMED[flag]


def test_the_variable_for_logs_is_read_by_transformers():
    from transformers.integrations import integration_utils

    assert "TENSORBOARD_LOGGING_DIR" in Path(integration_utils.__file__).read_text()


def test_a_key_is_answered_with_the_nearest(tmp_path):
    (tmp_path / "recipe.yaml").write_text("articles_fil: a.tsv\n")
    with pytest.raises(NewsMatchError, match=r"'articles_fil', which no command knows; did you mean articles_file\?"):
        parse("--config", str(tmp_path / "recipe.yaml"))


def test_transformers_whose_source_reads_otherwise(monkeypatch):
    from hf_newsmatch.commands import flags

    monkeypatch.setattr(flags, "transformers_flags", dict)
    assert set(flags.flags_of(TRAINING_ARGUMENTS)) == set(flags.flags_of(resolve(TRAINING_ARGUMENTS)))


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse_what_they_are_given(command):
    assert callable(import_module(f"hf_newsmatch.commands.{command}").main)
