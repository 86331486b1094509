import numpy as np
from PIL import Image

from hf_newsmatch.utils.figures import new_axes, save_figure


def draw():
    figure, panels = new_axes("Noise", 2, width=8)
    for seed, axes in enumerate(panels):
        axes.plot(np.random.default_rng(seed).random(20))
    return figure


def test_panels_stand_side_by_side_under_one_title():
    figure, panels = new_axes("Noise", 2, width=8)
    assert figure.get_suptitle() == "Noise"
    assert figure.axes == panels
    assert panels[0].get_position().x1 < panels[1].get_position().x0
    for axes in panels:
        visible = {name: spine.get_visible() for name, spine in axes.spines.items()}
        assert visible == {"left": True, "bottom": True, "top": False, "right": False}


def test_files_are_whole_and_the_same_again(tmp_path):
    files = [save_figure(draw(), tmp_path / name / "noise.of.2") for name in "ab"]
    assert [file.name for file in files[0]] == ["noise.of.2.png", "noise.of.2.pdf"]
    assert Image.open(files[0][0]).size == (8 * 150, 4.2 * 150)
    assert files[0][1].read_bytes().startswith(b"%PDF")
    for first, second in zip(*files):
        assert first.read_bytes() == second.read_bytes()
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == ["noise.of.2.pdf", "noise.of.2.png"]
