"""MRR@100 and Recall@k, with confidence intervals, tests of significance and diagnostics."""

from .bootstrap import Interval, bootstrap_intervals
from .comparison import chance_level, compare_runs
from .scoring import DEFAULT_KS, gold_ranks, score

__all__ = ["DEFAULT_KS", "Interval", "bootstrap_intervals", "chance_level", "compare_runs", "gold_ranks", "score"]
