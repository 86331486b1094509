"""Rankings that use more than each article alone: that pictures are given away once, and what was published before."""

from .methods import METHODS, TRANSDUCTIVE, check_method, rerank
from .neighbours import Bank

__all__ = ["METHODS", "TRANSDUCTIVE", "Bank", "check_method", "rerank"]
