import pytest
import torch

from hf_newsmatch import NewsMatchError, rank
from hf_newsmatch.embeddings import unit_length
from hf_newsmatch.fusion import ensemble


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_similarities_are_averaged(weight):
    torch.manual_seed(0)
    texts = [unit_length(torch.randn(5, width)) for width in (8, 12)]
    pictures = [unit_length(torch.randn(7, width)) for width in (8, 12)]
    first, second = (text.double() @ picture.double().T for text, picture in zip(texts, pictures))
    expected = (1 - weight) * first + weight * second
    joined = ensemble(*texts, weight), ensemble(*pictures, weight)
    torch.testing.assert_close((joined[0] @ joined[1].T).double(), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(joined[0].norm(dim=1), torch.ones(5))
    names = [f"p{number}" for number in range(7)]
    ranking = rank(*joined, list("abcde"), names)
    order = expected.argsort(dim=1, descending=True)
    assert ranking.image_ids == [[names[index] for index in row] for row in order.tolist()]


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_refuses_weights_outside(weight):
    with pytest.raises(NewsMatchError, match="between 0 and 1"):
        ensemble(torch.ones(1, 1), torch.ones(1, 1), weight)
