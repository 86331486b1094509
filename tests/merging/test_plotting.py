import numpy as np
import pytest

from hf_newsmatch import AlphaSweep
from hf_newsmatch.merging.plotting import plot_curve, plot_towers
from hf_newsmatch.metrics import bootstrap_intervals


@pytest.fixture
def sweep() -> AlphaSweep:
    values = np.random.default_rng(0).random((3, 30))
    return AlphaSweep([0.0, 0.5, 1.0], {"mrr@100": values}, [f"p{number % 20}" for number in range(30)])


def test_the_curve_its_band_and_the_lines(sweep):
    fold = AlphaSweep(sweep.alphas, {"mrr@100": sweep.scores["mrr@100"] / 2}, sweep.image_ids)
    (axes,) = plot_curve(sweep, 0.5, "mrr@100", "Validation", [fold]).axes
    values = sweep.scores["mrr@100"]
    lines = {line.get_label().split(" ")[0]: line for line in axes.lines}
    np.testing.assert_allclose(lines["WiSE-FT"].get_ydata(), values.mean(axis=1))
    np.testing.assert_allclose(lines["earlier"].get_ydata(), values.mean(axis=1) / 2)
    assert lines["zero-shot"].get_ydata()[0] == pytest.approx(values[0].mean())
    assert lines["fine-tuned"].get_ydata()[0] == pytest.approx(values[2].mean())
    assert lines["chosen:"].get_xdata()[0] == 0.5
    corners = axes.collections[0].get_paths()[0].vertices
    interval = bootstrap_intervals({"x": values[1]}, sweep.image_ids)["x"]
    drawn = corners[corners[:, 0] == 0.5, 1]
    assert (drawn.min(), drawn.max()) == pytest.approx((interval.low, interval.high))
    assert axes.get_ylabel() == "MRR@100"
    assert axes.figure.get_suptitle() == "Validation"


def test_without_the_ends_there_are_no_lines_of_them(sweep):
    inner = AlphaSweep([0.4, 0.5, 0.6], sweep.scores, sweep.image_ids)
    (axes,) = plot_curve(inner, 0.4, "mrr@100", "Validation").axes
    assert [line.get_label().split(" ")[0] for line in axes.lines] == ["WiSE-FT", "chosen:"]


def test_the_towers(sweep):
    alphas = [(vision, text) for vision in (0.0, 0.4, 1.0) for text in (0.0, 1.0)]
    values = np.arange(6.0)[:, None] / 10
    grid = AlphaSweep(alphas, {"recall@1": values}, ["p0"])
    figure = plot_towers(grid, (0.4, 1.0), "recall@1", "Validation")
    axes = figure.axes[0]
    # rows are the text tower's alphas, columns the vision tower's
    np.testing.assert_allclose(axes.collections[0].get_array(), [[0, 0.2, 0.4], [0.1, 0.3, 0.5]])
    assert "0.4 and 1, 0.300" in axes.lines[0].get_label()
