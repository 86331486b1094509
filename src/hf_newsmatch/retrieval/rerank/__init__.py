"""Re-ranking by more than each article alone: by the other articles to be ranked, or by earlier news."""

from .methods import METHODS, Reranker, check_method, rerank
from .neighbours import Bank

__all__ = ["METHODS", "Bank", "Reranker", "check_method", "rerank"]
