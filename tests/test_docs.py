"""README and docs are true: their code runs, their commands parse, their links and names lead somewhere."""

import ast
import dataclasses
import importlib
import importlib.util
import inspect
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml
from accelerate.commands.launch import launch_command_parser

import hf_newsmatch
from hf_newsmatch import ContrastiveTrainingArguments, configs, load_pairs

from .utils.architectures import make_tiny
from .utils.news import make_picture, write_news_folder

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "app" / "README.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
CHANGELOG = ROOT / "CHANGELOG.md"
# the files that the examples name, made of tiny models: a folder goes before a Hub id of the same name
CHECKPOINTS = {
    "openai/clip-vit-base-patch32": "zero_shot",
    "outputs/mine/fine_tuned": "fine_tuned",
    "user/newsroom": "fine_tuned",
}
# what may be typed beside our commands
OTHER_PROGRAMS = {"source", "hf", "git", "pre-commit"}
OTHER_MODULES = {"venv", "pytest"}
# flags that are in no dataclass of ours: argparse's, our parser's, and those of accelerate
OTHER_FLAGS = {"--help", "--help_all", "--config", "--quiet", "--strict"}


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def read_blocks(file: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", file.read_text(), re.DOTALL | re.MULTILINE)


def without_blocks(file: Path) -> str:
    """The text of a page, its fenced blocks left out."""
    return re.sub(r"^```.*?^```", "", file.read_text(), flags=re.DOTALL | re.MULTILINE)


def read_code_spans(file: Path) -> list[str]:
    """What stands in backticks within the text."""
    return re.findall(r"`([^`\n]+)`", without_blocks(file))


def pages_with(language: str) -> list[Path]:
    return [file for file in PAGES if read_blocks(file, language)]


# ---- Python ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def news(checkpoints, tmp_path, monkeypatch) -> Path:
    """A working directory with the files that the examples name."""
    write_news_folder(tmp_path)
    for seed, name in enumerate(("harbour.jpg", "stadium.jpg")):
        make_picture(seed).save(tmp_path / name)
    for name, checkpoint in CHECKPOINTS.items():
        shutil.copytree(checkpoints / checkpoint, tmp_path / name)
    towers, processor = make_tiny("vision-text-dual-encoder")
    parts = {
        "google/vit-base-patch16-224-in21k": (towers.vision_model, processor.image_processor),
        "deepset/gbert-base": (towers.text_model, processor.tokenizer),
    }
    for name, savers in parts.items():
        for saver in savers:
            saver.save_pretrained(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_python(file: Path) -> None:
    """Run the Python of a page as it stands, block after block, as in a notebook."""
    scope = {"__name__": "__example__"}
    for block in read_blocks(file, "python"):
        exec(compile(block, str(file), "exec"), scope)


@pytest.mark.slow
@pytest.mark.parametrize("file", pages_with("python"), ids=name_of)
def test_the_python_runs(file, news):
    run_python(file)


def test_pages_have_python():
    assert {README, ROOT / "docs" / "python.md", ROOT / "docs" / "training.md"} <= set(pages_with("python"))


def test_both_ways_of_loading_give_the_same_numbers(news, capsys):
    """The README's `NewsMatcher` and its plain transformers."""
    run_python(README)
    ranked, plain = capsys.readouterr().out.split("tensor")
    names, scores = ast.literal_eval(ranked.strip().replace("] [", "], ["))
    ((expected,),) = (ast.literal_eval(plain.strip()),)
    # as many digits as torch prints
    assert dict(zip(names, scores)) == pytest.approx(dict(zip(["harbour.jpg", "stadium.jpg"], expected)), abs=1e-4)


def test_the_scores_of_the_python_page(news, capsys):
    run_python(ROOT / "docs" / "python.md")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    scores = ast.literal_eval(line)
    assert scores["num_articles"] == 8
    assert 0 < scores["mrr@100"] <= 1


@pytest.mark.parametrize("file", pages_with("tsv"), ids=name_of)
def test_the_lists_are_read(file, tmp_path):
    """A list that an example shows is one that the readers take."""
    for block in read_blocks(file, "tsv"):
        (tmp_path / "articles.tsv").write_text(block)
        rows = [line.split("\t") for line in block.splitlines()[1:]]
        pairs = load_pairs(tmp_path / "articles.tsv")
        assert pairs["article_id"][:] == [row[0] for row in rows]
        assert pairs["title"][:] == [row[1] for row in rows]


# ---- Command lines --------------------------------------------------------------------------------------------------


class Parsed(BaseException):
    """Ends a command when its arguments are parsed."""


def read_commands(file: Path) -> list[list[str]]:
    """The command lines of a page's bash blocks, in words."""
    commands = []
    for block in read_blocks(file, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words:
                end = words.index("&&") if "&&" in words else len(words)
                commands.append(words[:end])
                words = words[end + 1 :]
    return commands


def typed_commands() -> list:
    return [
        pytest.param(file, command, id=f"{name_of(file)}: {' '.join(command)}")
        for file in PAGES
        for command in read_commands(file)
    ]


@pytest.mark.parametrize(("file", "command"), typed_commands())
def test_the_commands_parse(file, command, monkeypatch):
    """Flags and values are those of the command's own dataclasses, targets and extras those of the repository."""
    monkeypatch.chdir(ROOT)
    for word in command:
        if word.startswith(("recipes/", "accelerate_configs/")):
            assert (ROOT / word).is_file(), word
    while "=" in command[0]:  # variables
        command = command[1:]
    program, *rest = Path(command[0]).name, *command[1:]
    if program == "accelerate":
        assert rest[0] == "launch"
        launch = launch_command_parser().parse_args(rest[1:])
        parse(file, launch.training_script, launch.training_script_args, launch.module, monkeypatch)
    elif program == "hf-newsmatch":
        parse(file, "hf_newsmatch", rest, True, monkeypatch)
    elif program in ("python", "python3"):
        if rest[0] == "-m":
            if rest[1] not in OTHER_MODULES:
                parse(file, rest[1], rest[2:], True, monkeypatch)
        else:
            parse(file, rest[0], rest[1:], False, monkeypatch)
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in rest if "=" not in word} <= set(targets)
    elif program == "pip":
        check_installation(rest)
    else:
        assert program in OTHER_PROGRAMS


def parse(file: Path, script: str, argv: list[str], is_module: bool, monkeypatch) -> None:
    """Call a command until it has parsed its arguments."""
    if is_module:
        assert script == "hf_newsmatch"
        name, *argv = argv
        main = importlib.import_module(f"hf_newsmatch.commands.{name}").main
    else:
        (path, *_) = [folder / script for folder in (file.parent, ROOT) if (folder / script).is_file()]
        main = runpy.run_path(str(path))["main"]
    from hf_newsmatch.commands import parser

    real = parser.parse_arguments

    def parse_arguments(*types, **kwargs):
        raise Parsed(real(*types, **kwargs))

    monkeypatch.setattr(parser, "parse_arguments", parse_arguments)
    if "parse_arguments" in (scope := inspect.unwrap(main).__globals__):
        monkeypatch.setitem(scope, "parse_arguments", parse_arguments)
    monkeypatch.setattr(sys, "argv", [script, *argv])
    with pytest.raises(Parsed):
        main(list(argv)) if inspect.signature(main).parameters else main()


def check_installation(words: list[str]) -> None:
    extras = read_extras()
    for before, word in zip(["", *words], words):
        if before == "-c":
            assert (ROOT / word).is_file()
        if match := re.fullmatch(r"(?:\.|hf-newsmatch)\[(.*)\]", word):
            assert set(match[1].split(",")) <= extras


def read_extras() -> set[str]:
    """The package's extras."""
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return set(parser["options.extras_require"])


def test_the_extras_are_listed():
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "installation.md").read_text(), re.MULTILINE)
    assert set(listed) == read_extras()


def test_wrong_flags_are_noticed(monkeypatch):
    """The check of the command lines checks."""
    for command in ("python scripts/train.py --learning_rat 1", "hf-newsmatch interpolate --batch_size 0"):
        with pytest.raises(SystemExit):
            test_the_commands_parse(README, command.split(), monkeypatch)


@pytest.mark.parametrize("file", PAGES, ids=name_of)
def test_the_flags_exist(file):
    """Flags in the text are fields of some dataclass."""
    types = [value for value in vars(configs).values() if dataclasses.is_dataclass(value)]
    known = {f"--{item.name}" for cls in (*types, ContrastiveTrainingArguments) for item in dataclasses.fields(cls)}
    ours = [span for span in read_code_spans(file) if not span.startswith("pip ")]
    for span in ours:
        for flag in re.findall(r"(?<![\w-])--[a-z]\w*", span):
            assert flag in known | OTHER_FLAGS, span


# ---- Names, links, tables -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", PAGES, ids=name_of)
def test_the_files_it_names_are_there(file):
    """Paths into the repository; a Python file may be named from the package on."""
    folders = {folder.name for folder in ROOT.iterdir() if folder.is_dir()} - {"outputs", "build"}
    for span in read_code_spans(file):
        path = span.split()[-1] if span.startswith(("python ", "accelerate ")) else span
        if "*" in path or not re.fullmatch(r"[\w.-]+(/[\w.-]*)*", path):
            continue
        if ("/" in path and path.split("/")[0] in folders) or path.endswith((".py", ".cff", ".toml", ".cfg")):
            assert (ROOT / path).exists() or (ROOT / "src" / "hf_newsmatch" / path).exists(), span


@pytest.mark.parametrize("file", PAGES, ids=name_of)
def test_the_names_it_gives_exist(file):
    """Dotted names of the package: modules, functions, classes."""
    for span in read_code_spans(file):
        if match := re.match(r"hf_newsmatch(\.\w+)+", span):
            assert find(match[0]) is not None, span


def find(name: str):
    """The module or object of a dotted name; None where there is none."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part, None)
        return found
    return None


def slugs(file: Path) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", without_blocks(file), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("file", [*PAGES, CHANGELOG], ids=name_of)
def test_the_links_lead_somewhere(file):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(file)):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        page = file.parent / path if path else file
        assert page.exists(), target
        assert not anchor or anchor in slugs(page), target


@pytest.mark.parametrize("file", PAGES, ids=name_of)
def test_tables_of_numbers_name_their_command(file):
    """In their own section, or before the first one."""
    introduction, *sections = re.split(r"^(?=##+ )", file.read_text(), flags=re.MULTILINE)
    command = re.compile(r"\bmake \w+|\bpython (scripts|benchmarks|app)/|\bscripts/\w+\.py|\bhf-newsmatch \w+")
    for section in (introduction, *sections):
        numbers = re.findall(r"^\|.*?\d\.\d{2,3}\b.*\|$", section, re.MULTILINE)
        if len(numbers) > 2:
            assert command.search(introduction + section), section.splitlines()[0]


@pytest.mark.parametrize("file", [*PAGES, CHANGELOG], ids=name_of)
def test_the_lines_are_short(file):
    """As long as those of the code; tables, pictures and headings cannot be folded."""
    assert not [line for line in file.read_text().splitlines() if len(line) > 119 and line[0] not in "|!#"]


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 200


def test_all_commands_are_in_the_readme():
    commands = (ROOT / "src" / "hf_newsmatch" / "commands").glob("*.py")
    listed = set(re.findall(r"^\| `(\w+)` \|", README.read_text(), re.MULTILINE))
    assert listed == {file.stem for file in commands if "\ndef main(" in file.read_text()}


def test_moved_modules_are_where_the_changelog_says():
    rows = re.findall(r"^\| (`hf_newsmatch\..*?) \| (`hf_newsmatch\..*?) \|$", CHANGELOG.read_text(), re.MULTILINE)
    assert len(rows) > 10
    for old, new in rows:
        for name in re.findall(r"`(.*?)`", new):
            assert find(name) is not None, name
        # three of the old modules are packages now, under the same name
        found = find(re.search(r"`(.*?)`", old)[1])
        assert found is None or hasattr(found, "__path__"), old


# ---- The site -------------------------------------------------------------------------------------------------------


def load_extension():
    pytest.importorskip("griffe")
    spec = importlib.util.spec_from_file_location("hf_docstrings", ROOT / "docs" / "hf_docstrings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_docstrings_become_googles_style():
    text = """Rank them.

Args:
    texts, images (`torch.Tensor` of shapes `(n, d)` and `(m, d)`, float32):
        Embeddings, see [`embed`].
    k (`int`, *optional*, defaults to `f(1)`): How many.

Returns:
    [`Ranking`] with scores: one a row.

Raises:
    [`NewsMatchError`]: on no pictures."""
    assert load_extension().rewrite_sections(text).splitlines() == [
        "Rank them.",
        "",
        "Args:",
        "    texts: As `images`.",
        "    images: Shapes `(n, d)` and `(m, d)`.",
        "        Embeddings, see [`embed`].",
        "    k: How many.",
        "",
        "**Returns:**",
        "",
        "[`Ranking`] with scores: one a row.",
        "",
        "Raises:",
        "    NewsMatchError: on no pictures.",
    ]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built as `make docs` does; a warning is an error."""
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    result = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.mark.slow
def test_the_site_has_all_pages_and_the_reference(site):
    for file in sorted((ROOT / "docs").rglob("*.md")):
        assert (site / file.relative_to(ROOT / "docs").with_suffix(".html")).is_file()
    for page, name in {
        "merging": "merging.interpolation.interpolate",
        "retrieval": "retrieval.ranking.rank",
        "training": "training.losses.contrastive_loss",
        "data": "data.newsimages.load_pairs",
    }.items():
        text = (site / "api" / f"{page}.html").read_text()
        assert f'id="hf_newsmatch.{name}"' in text
        assert "[<code>" not in text, "references to other objects are code or links"
    assert (site / "index.html").read_text().count("<h2") == len(re.findall(r"^## ", README.read_text(), re.MULTILINE))


@pytest.mark.slow
def test_the_site_asks_no_other_machine(site):
    loads = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
    for page in site.rglob("*.html"):
        assert not loads.findall(page.read_text()), page
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"(?:url\([\"']?|@import [\"'])(?:https?:)?//", sheet.read_text()), sheet


def test_the_version_to_cite():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == hf_newsmatch.__version__
    assert citation["license"] == "Apache-2.0"


@pytest.mark.parametrize("file", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda file: file.stem)
def test_the_workflows_call_make(file):
    (job,) = yaml.safe_load(file.read_text())["jobs"].values()
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    called = [target for step in job["steps"] for target in re.findall(r"make (\w+)", step.get("run", ""))]
    assert called
    assert set(called) <= set(targets)
