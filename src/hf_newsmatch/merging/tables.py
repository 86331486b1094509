"""The validation scores by alpha as a table."""

from ..metrics.tables import metric_label
from ..utils.tables import Cell, Table
from .curve import Alpha, AlphaSweep


def curve_table(sweep: AlphaSweep, chosen: Alpha, rule: str) -> Table:
    """A table of the scores of each alpha, the chosen one marked.

    Of a sweep over both towers, only the pairs with the chosen alpha of the vision tower are listed.
    """
    caption = f"0 is zero-shot, 1 fine-tuned; ◀ chosen by the rule {rule}."
    if isinstance(chosen, tuple):
        caption = f"Of {len(sweep)} pairs, those with the chosen alpha of the vision tower. {caption}"
    header = [metric_label(name).replace("_", "\n") for name in sweep[0]]
    formats = {"alpha": ".1f", "alpha_vision": "g", "alpha_text": "g"}
    rows = []
    for alpha, point in zip(sweep.alphas, sweep):
        if isinstance(chosen, tuple) and isinstance(alpha, tuple) and alpha[0] != chosen[0]:
            continue
        cells = [f"{value:{formats.get(name, '.3f')}}" for name, value in point.items()]
        rows.append([Cell(text, best=alpha == chosen) for text in (*cells, "◀" if alpha == chosen else "")])
    return Table("alpha-curve", "Validation split by alpha", [*header, ""], rows, caption, name_columns=0)
