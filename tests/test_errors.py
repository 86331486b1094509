"""The sentence for what is missing, in place of a traceback."""

import os
import re
import signal
import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace

import pytest

from hf_newsmatch import NewsMatchError, __main__
from hf_newsmatch.commands import COMMANDS
from hf_newsmatch.errors import EXTRAS, exits_cleanly, needs_extra, program


@pytest.mark.parametrize("package", EXTRAS)
def test_a_missing_extra_is_one_sentence(monkeypatch, capsys, package):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/hf-newsmatch report"])
    monkeypatch.setitem(sys.modules, package, None)

    @exits_cleanly
    def main():
        __import__(package)

    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        f"hf-newsmatch report: error: This needs {package}, which is not installed: pip install"
        f" 'hf-newsmatch[{EXTRAS[package]}]'.\n"
    )


def test_messages_are_short_and_can_be_printed():
    assert (
        str(NewsMatchError("list.tsv, line 3: 'L\u00f6we\u2026' is bad."))
        == "list.tsv, line 3: 'L\u00f6we\u2026' is bad."
    )
    foreign = str(NewsMatchError("a\tb\nc \x1b[2J \ud800 \u202e."))
    assert foreign == r"a\tb\nc \x1b[2J \ud800 \u202e."
    long = str(NewsMatchError(f"list.tsv holds {'x' * 10_000}; write less."))
    assert len(long) < 500
    assert long.startswith("list.tsv holds xxx")
    assert long.endswith("xxx; write less.")
    assert NewsMatchError("a", 2).args == ("a", 2)


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_ends_every_command_with_130_and_one_line(monkeypatch, capsys, command):
    module = import_module(f"hf_newsmatch.commands.{command}")
    monkeypatch.setattr(sys, "argv", [f"hf-newsmatch {command}"])
    monkeypatch.setattr(module, "parse_arguments", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught:
        module.main([])
    assert caught.value.code == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"hf-newsmatch {command}: stopped by Ctrl-C\. The same command [^\n]+\.\n", err)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_ctrl_c_that_a_library_makes_another_error_of(capsys):
    @exits_cleanly(again="It goes on.")
    def main():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            # a second one ends at once, without what the interpreter would print
            assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
            raise RuntimeError("worker died") from error

    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130
    assert capsys.readouterr().err.endswith(": stopped by Ctrl-C. It goes on.\n")


def test_ctrl_c_that_the_shell_ignores_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        exits_cleanly(lambda: signal.raise_signal(signal.SIGINT))()
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_while_a_command_is_imported(monkeypatch, capsys):
    def import_module(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["hf-newsmatch", "evaluate"])
    monkeypatch.setattr(__main__, "import_module", import_module)
    with pytest.raises(SystemExit) as caught:
        __main__.main()
    assert caught.value.code == 130
    assert capsys.readouterr().err == "hf-newsmatch evaluate: stopped by Ctrl-C. The same command begins again.\n"


def test_ctrl_c_while_heavy_libraries_are_imported(tmp_path):
    """A real process, stopped as soon as it imports PyTorch."""
    code = """
import importlib.abc, os, signal, sys
class Stop(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torch":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Stop())
sys.argv = ["hf-newsmatch", "interpolate", "--alpha", "0.4", "--output_dir", "none"]
from hf_newsmatch.errors import exits_cleanly
@exits_cleanly
def main():
    from hf_newsmatch.experiment.training import train
main()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr == "hf-newsmatch: stopped by Ctrl-C. The same command begins again.\n"


def test_other_modules_keep_their_traceback():
    with pytest.raises(ModuleNotFoundError, match="no_such_module"), needs_extra():
        import no_such_module  # noqa: F401
    with pytest.raises(ModuleNotFoundError), needs_extra("pysbd"):
        raise ModuleNotFoundError("peft", name="peft")


def test_a_module_of_a_missing_package(monkeypatch):
    for name in ("matplotlib", *(name for name in sys.modules if name.startswith("matplotlib."))):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    with pytest.raises(NewsMatchError, match=r"pip install 'hf-newsmatch\[report\]'"), needs_extra():
        from matplotlib.figure import Figure  # noqa: F401


def test_names_of_the_package_tell_the_extra(monkeypatch):
    import hf_newsmatch

    for name in [name for name in sys.modules if name.startswith("hf_newsmatch.translation")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(vars(hf_newsmatch), "Translator", raising=False)
    monkeypatch.setitem(sys.modules, "pysbd", None)
    with pytest.raises(NewsMatchError, match=r"needs pysbd, .* pip install 'hf-newsmatch\[translation\]'"):
        hf_newsmatch.Translator  # noqa: B018


def test_the_language_detector_tells_its_extra(monkeypatch):
    from hf_newsmatch.translation.languages import LanguageDetector

    for name in [name for name in sys.modules if name.startswith("py3langid")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "py3langid", None)
    with pytest.raises(NewsMatchError, match=r"needs py3langid, .*\[translation\]"):
        LanguageDetector(["de", "en"])


@pytest.mark.parametrize(
    ("typed", "name"), [("scripts/train.py", "train.py"), ("/usr/bin/hf-newsmatch", "hf-newsmatch")]
)
def test_the_program_is_what_was_typed(monkeypatch, typed, name):
    monkeypatch.setattr(sys, "argv", [typed])
    assert program() == name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argv", "package", "extra"),
    [
        (["report", "nowhere"], "matplotlib", "report"),
        (["report", "nowhere"], "imagehash", "report"),
        (["translate", "--articles_file", "a.tsv"], "pysbd", "translation"),
        (["app", "--output_dir", "nowhere"], "gradio", "app"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_commands_without_their_extra(argv, package, extra):
    code = (
        f"import sys; sys.modules[{package!r}] = None; sys.argv = ['hf-newsmatch', *{argv}]\n"
        "from hf_newsmatch.__main__ import main; main()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert re.fullmatch(
        rf"hf-newsmatch {argv[0]}: error: .*pip install 'hf-newsmatch\[{extra}\]'\.", done.stderr.strip()
    )


@pytest.mark.slow
def test_core_commands_need_no_extra(tmp_path):
    """Training, interpolation, ranking, scoring and publishing import with all extras missing."""
    code = (
        "import sys\n"
        f"for name in {sorted(EXTRAS)}: sys.modules[name] = None\n"
        "from hf_newsmatch.experiment import alpha_choice, evaluation, merging, prediction, publishing, training\n"
        "from hf_newsmatch.retrieval import fusion, matcher\n"
        "from hf_newsmatch.studies import reproduction"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_curve_without_matplotlib(monkeypatch, tmp_path, caplog):
    """The table of the curve is written, the picture is not, and one sentence says why."""
    from hf_newsmatch.experiment import alpha_choice

    for name in ("hf_newsmatch.merging.plotting", "hf_newsmatch.utils.figures"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in ("matplotlib", *(name for name in sys.modules if name.startswith("matplotlib."))):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(alpha_choice, "write_curve", lambda sweep, file: file.write_text("alpha\n"))
    layout = SimpleNamespace(alpha_curve=lambda ending: tmp_path / f"alpha_curve.{ending}")
    choice = SimpleNamespace(sweep=SimpleNamespace(image_ids=["p"]), alpha=0.4)
    alpha_choice._write(choice, SimpleNamespace(layout=layout))
    assert [file.name for file in tmp_path.iterdir()] == ["alpha_curve.csv"]
    (record,) = caplog.records
    assert "pip install 'hf-newsmatch[report]'" in record.getMessage()


@pytest.mark.slow
def test_steps_that_need_no_extra_import_without_any():
    """Training, interpolating, ranking, scoring and publishing news in English with the core dependencies alone."""
    steps = [f"hf_newsmatch.experiment.{name}" for name in ("training", "merging", "prediction", "evaluation")]
    modules = [
        *steps,
        "hf_newsmatch.experiment.publishing",
        "hf_newsmatch.retrieval.matcher",
        "hf_newsmatch.data.english",
    ]
    code = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({list(EXTRAS)}))\n"
        f"for name in {modules}: importlib.import_module(name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("raised", [None, ImportError, OSError, NewsMatchError])
def test_ctrl_c_is_one_line_and_130(monkeypatch, capsys, raised):
    """Also where a library has made another error of it, as extension modules do while they are imported."""
    monkeypatch.setattr(sys, "argv", ["/usr/bin/hf-newsmatch fuse"])
    before = signal.getsignal(signal.SIGINT)

    @exits_cleanly
    def main():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            exec("while True: pass")
        except KeyboardInterrupt as error:
            if raised is None:
                raise
            raise raised("numpy did not load") from error

    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130
    err = capsys.readouterr().err
    assert err.startswith("hf-newsmatch fuse: stopped by Ctrl-C. The same command ")
    assert err.count("\n") == 1
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_inside_an_exec_while_a_command_is_imported(tmp_path):
    """As a process: an interrupt that passes an `exec` must not end it by the signal."""
    code = (
        "import os, signal, sys, hf_newsmatch.__main__ as m\n"
        "def importing(name):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    exec('while True: pass')\n"
        "m.import_module, sys.argv = importing, ['hf-newsmatch', 'fuse']\n"
        "m.main()\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr.count("\n")) == (130, 1)
    assert "fuse: stopped by Ctrl-C. The same command" in result.stderr
