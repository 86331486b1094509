"""The validation scores by alpha as a table."""

from rich.table import Table

from ..metrics.tables import metric_label
from .selection import Alpha
from .sweep import AlphaSweep


def curve_table(sweep: AlphaSweep, chosen: Alpha, rule: str) -> Table:
    """The scores of each alpha, the chosen one marked; of both towers, only those with the chosen vision alpha."""
    caption = f"0 is zero-shot, 1 fine-tuned; ◀ chosen by the rule {rule}."
    if isinstance(chosen, tuple):
        caption = f"Of {len(sweep)} pairs, those with the chosen alpha of the vision tower. {caption}"
    table = Table(title="Validation part by alpha", caption=caption)
    for name in sweep[0]:
        table.add_column(metric_label(name).replace("@", "\n@").replace("_", "\n"), justify="right")
    table.add_column()
    formats = {"alpha": ".1f", "alpha_vision": "g", "alpha_text": "g"}
    for alpha, point in zip(sweep.alphas, sweep):
        if isinstance(chosen, tuple) and alpha[0] != chosen[0]:
            continue
        mark = "◀" if alpha == chosen else ""
        cells = [f"{value:{formats.get(name, '.3f')}}" for name, value in point.items()]
        table.add_row(*cells, mark, style="bold" if mark else None)
    return table
