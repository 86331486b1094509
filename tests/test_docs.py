import re
from pathlib import Path

import pytest

from tests.utils.news import make_picture, write_news_folder

README = Path(__file__).parents[1] / "README.md"


def examples(section: str) -> list[str]:
    """The Python of a section."""
    text = README.read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_ranking_with_a_published_model(checkpoints, tmp_path, monkeypatch, capsys):
    """Both ways, as they stand but for the name of the checkpoint; the numbers are the same."""
    for seed, name in enumerate(("harbour.jpg", "stadium.jpg")):
        make_picture(seed).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for example in examples("Publish"):
        assert "user/newsroom" in example
        exec(example.replace("user/newsroom", str(checkpoints / "fine_tuned")), {})
    ranked, plain = capsys.readouterr().out.split("tensor")
    names, scores = eval(ranked.replace("] [", "], ["))
    (expected,) = eval(plain)
    # as many digits as torch prints
    assert dict(zip(names, scores)) == pytest.approx(dict(zip(["harbour.jpg", "stadium.jpg"], expected)), abs=1e-4)


def test_the_python_example_runs(checkpoints, tmp_path, monkeypatch, capsys):
    """As it stands, but for the names of the two checkpoints."""
    (example,) = examples("In Python")
    for name, folder in (("openai/clip-vit-base-patch32", "zero_shot"), ("outputs/mine/fine_tuned", "fine_tuned")):
        assert name in example
        example = example.replace(name, str(checkpoints / folder))
    write_news_folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(README), "exec"), {})
    scores = eval(capsys.readouterr().out.splitlines()[-1])
    assert scores["num_articles"] == 8
    assert 0 < scores["mrr@100"] <= 1


def test_every_file_it_names_is_there():
    names = re.findall(r"`((?:recipes|accelerate_configs|scripts|src)/[\w./-]+)`", README.read_text())
    assert len(names) >= 4
    for name in names:
        assert (README.parent / name).exists(), name
