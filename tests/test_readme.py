import re
from pathlib import Path

from conftest import write_news_folder

README = Path(__file__).parents[1] / "README.md"


def test_the_python_example_runs(checkpoints, tmp_path, monkeypatch, capsys):
    """As it stands, but for the names of the two checkpoints."""
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
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
