"""The table of a sweep."""

import numpy as np

from hf_newsmatch import AlphaSweep
from hf_newsmatch.merging.tables import curve_table
from hf_newsmatch.utils.tables import to_markdown


def sweep_of(alphas) -> AlphaSweep:
    values = np.random.default_rng(0).random((len(alphas), 30))
    return AlphaSweep(list(alphas), {"mrr@100": values, "recall@1": values / 2}, [f"p{row}" for row in range(30)])


def test_every_alpha_has_a_row_and_the_chosen_one_is_marked():
    sweep = sweep_of([0.0, 0.5, 1.0])
    table = curve_table(sweep, 0.5, "best")
    values = sweep.scores["mrr@100"].mean(axis=1)
    assert table.header == ["alpha", "MRR@100", "Recall@1", ""]
    for row, alpha, value in zip(table.rows, ("0.0", "0.5", "1.0"), values):
        assert [cell.text for cell in row[:3]] == [alpha, f"{value:.3f}", f"{value / 2:.3f}"]
        assert {cell.best for cell in row} == {row[3].text == "◀"} == {alpha == "0.5"}
    assert "rule best" in table.caption
    assert "| alpha | MRR@100 | Recall@1 |  |\n| ---: | ---: | ---: | ---: |" in to_markdown(table)


def test_of_two_towers_the_pairs_with_the_chosen_vision_alpha_are_listed():
    sweep = sweep_of([(vision, text) for vision in (0.0, 0.25, 1.0) for text in (0.0, 1.0)])
    table = curve_table(sweep, (0.25, 1.0), "best")
    assert [[cell.text for cell in row[:2]] for row in table.rows] == [["0.25", "0"], ["0.25", "1"]]
    assert [row[-1].text for row in table.rows] == ["", "◀"]
    assert table.caption.startswith("Of 6 pairs")
