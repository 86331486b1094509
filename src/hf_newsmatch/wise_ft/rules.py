"""Rules that choose an alpha from what the validation part says of each."""

from collections.abc import Sequence

from ..errors import NewsMatchError


def choose_alpha(curve: Sequence[dict[str, float]]) -> float:
    """The paper's rule (section 3.3): the alpha with the highest validation Recall@1.

    Ties go to the higher MRR@100, then to the smaller alpha, which stays closer to the zero-shot model.

    Raises:
        [`NewsMatchError`]: when there is no alpha to choose from.
    """
    if not curve:
        raise NewsMatchError("There is no alpha to choose from; sweep at least one.")
    best = max(curve, key=lambda point: (point["recall@1"], point["mrr@100"], -point["alpha"]))
    return best["alpha"]
