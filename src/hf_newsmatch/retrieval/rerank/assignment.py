"""One-to-one assignment of pictures to articles."""

import torch

from ..ranking import Ranking


def assignment(text_embeds: torch.Tensor, image_embeds: torch.Tensor) -> torch.Tensor:
    """The one-to-one matching with the highest sum of similarities (Kuhn 1955; scipy's solver is Crouse 2016).

    With more articles than pictures, some articles have none; with more pictures, some pictures have no article.

    Transductive. It holds the matrix of similarities in float64 (800 MB for 10,000 x 10,000), and takes time up to the
    third power of the number of articles.

    Args:
        text_embeds (`torch.Tensor` of shape `(articles, d)`, float32):
            The articles.
        image_embeds (`torch.Tensor` of shape `(pictures, d)`, float32):
            The candidates.

    Returns:
        `torch.Tensor` of shape `(articles,)`, int64: the row of each article's picture, -1 for none.
    """
    from scipy.optimize import linear_sum_assignment

    articles, pictures = linear_sum_assignment((text_embeds @ image_embeds.T).numpy(), maximize=True)
    pairs = torch.full((len(text_embeds),), -1)
    pairs[torch.from_numpy(articles)] = torch.from_numpy(pictures)
    return pairs


def put_first(
    ranking: Ranking,
    pairs: torch.Tensor,
    image_ids: list[str],
    text_embeds: torch.Tensor,
    image_embeds: torch.Tensor,
) -> Ranking:
    """Move the picture that each article was given to the front of its list, in place."""
    assert ranking.scores is not None, "rank gives scores"
    # where an article has none, this is the last picture's similarity, which is not used
    given = (text_embeds * image_embeds[pairs]).sum(1).tolist()
    for row, (pair, score) in enumerate(zip(pairs.tolist(), given)):
        if pair < 0:
            continue
        names, scores = ranking.image_ids[row], ranking.scores[row]
        # a picture that is not listed takes the room of the last one
        place = names.index(image_ids[pair]) if image_ids[pair] in names else len(names) - 1
        names.insert(0, image_ids[pair])
        scores.insert(0, score)
        del names[place + 1], scores[place + 1]
    return ranking
