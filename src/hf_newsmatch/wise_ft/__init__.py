"""WiSE-FT (Wortsman et al. 2021): weights between the zero-shot and the fine-tuned model."""

from .interpolation import check_alpha, interpolate
from .rules import choose_alpha
from .sweep import DEFAULT_ALPHAS, AlphaSweep, sweep_alpha, sweep_towers

__all__ = ["DEFAULT_ALPHAS", "AlphaSweep", "check_alpha", "choose_alpha", "interpolate", "sweep_alpha", "sweep_towers"]
