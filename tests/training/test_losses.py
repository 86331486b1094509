import math

import numpy as np
import pytest
import torch

from hf_newsmatch import contrastive_loss
from hf_newsmatch.models.architectures import ARCHITECTURES
from hf_newsmatch.models.inputs import image_inputs, text_inputs
from hf_newsmatch.training.losses import MAX_LOGIT_SCALE, sigmoid_loss
from tests.utils.architectures import MAKERS, make_tiny
from tests.utils.news import make_picture


def sigmoid_by_hand(image_embeds, text_embeds, logit_scale, bias, image_ids, text_ids) -> float:
    """Equation 1 of Zhai et al. 2023 in plain numpy, pairs that share a picture or a text left out."""
    logits = math.exp(logit_scale) * text_embeds.numpy().astype(float) @ image_embeds.numpy().astype(float).T + bias
    total = 0.0
    for i in range(len(logits)):
        for j in range(len(logits)):
            if i == j:
                total += np.log1p(np.exp(-logits[i, j]))
            elif image_ids[i] != image_ids[j] and text_ids[i] != text_ids[j]:
                total += np.log1p(np.exp(logits[i, j]))
    return total / len(logits)


def embeds(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pair = torch.randn(2, count, 5, generator=generator)
    return tuple(torch.nn.functional.normalize(pair, dim=-1))


def loss_by_hand(image_embeds, text_embeds, logit_scale, image_ids, text_ids) -> float:
    """The definition in plain numpy: pairs that share a picture or a text are in no denominator but their own."""
    logits = math.exp(logit_scale) * text_embeds.numpy().astype(float) @ image_embeds.numpy().astype(float).T
    count = len(logits)
    terms = []
    for i in range(count):
        others = [j for j in range(count) if j == i or (image_ids[i] != image_ids[j] and text_ids[i] != text_ids[j])]
        for row in (logits[i], logits[:, i]):
            terms.append(np.log(np.exp(row[others]).sum()) - row[i])
    return float(np.mean(terms))


def test_equals_the_loss_of_transformers(model, processor, pairs):
    """Without duplicates, it is what CLIPModel itself computes."""
    inputs = processor(text=pairs["title"][:], images=pairs["image"][:], padding=True, return_tensors="pt")
    with torch.no_grad():
        model.logit_scale.fill_(2.5)
        outputs = model(**inputs, return_loss=True)
    ids = torch.arange(len(pairs))
    ours = contrastive_loss(outputs.image_embeds, outputs.text_embeds, model.logit_scale, ids, ids)
    assert ours.item() == pytest.approx(outputs.loss.item(), abs=1e-6)


@pytest.mark.parametrize("name", MAKERS)
def test_equals_the_loss_of_each_model(name):
    """As transformers computes it, with the temperature and the bias that the model has."""
    model, processor = make_tiny(name)
    architecture = ARCHITECTURES[name]
    texts = [f"text {number}" for number in range(6)]
    pictures = [make_picture(number) for number in range(6)]
    inputs = {**text_inputs(processor, texts, architecture), **image_inputs(processor, pictures, architecture)}
    with torch.no_grad():
        outputs = model(**inputs, return_loss=True)
    logit_scale = architecture.temperature.logarithm(getattr(model, architecture.temperature.name))
    if architecture.loss == "sigmoid":
        ours = sigmoid_loss(outputs.image_embeds, outputs.text_embeds, logit_scale, model.logit_bias)
    else:
        ours = contrastive_loss(outputs.image_embeds, outputs.text_embeds, logit_scale, max_logit_scale=None)
    expected = outputs.loss.item()
    if name == "align":  # its own loss smooths the labels by 0.1 beside
        targets = torch.arange(6)
        both = (torch.nn.functional.cross_entropy(logits, targets) for logits in outputs[1:3])
        expected = sum(loss.item() for loss in both) / 2
    assert ours.item() == pytest.approx(expected, abs=1e-6)


DOUBLES = [
    ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]),
    ([0, 0, 2, 3, 0, 5], [0, 1, 2, 3, 4, 5]),
    ([0, 1, 2, 3, 4, 5], [0, 1, 1, 3, 4, 1]),
    ([0, 0, 2, 2, 4, 5], [0, 1, 1, 3, 0, 5]),
]


@pytest.mark.parametrize(("image_ids", "text_ids"), DOUBLES)
def test_duplicates_are_no_negatives_of_the_sigmoid_loss(image_ids, text_ids):
    image_embeds, text_embeds = embeds(6)
    scale, bias = torch.tensor([1.7]), torch.tensor([-0.8])
    ours = sigmoid_loss(image_embeds, text_embeds, scale, bias, torch.tensor(image_ids), torch.tensor(text_ids))
    assert ours.shape == ()
    expected = sigmoid_by_hand(image_embeds, text_embeds, 1.7, -0.8, image_ids, text_ids)
    assert ours.item() == pytest.approx(expected, abs=1e-6)


def test_the_scale_of_the_sigmoid_loss_has_no_limit_of_its_own():
    image_embeds, text_embeds = embeds(6)
    ids, scale, bias = torch.arange(6), torch.tensor(math.log(150)), torch.tensor(-10.0)
    free = sigmoid_loss(image_embeds, text_embeds, scale, bias, ids, ids)
    assert free.item() == pytest.approx(
        sigmoid_by_hand(image_embeds, text_embeds, math.log(150), -10.0, ids.tolist(), ids.tolist()), rel=1e-5
    )
    limited = sigmoid_loss(image_embeds, text_embeds, scale, bias, ids, ids, max_logit_scale=MAX_LOGIT_SCALE)
    assert limited.item() != pytest.approx(free.item(), rel=1e-3)


@pytest.mark.parametrize(
    ("image_ids", "text_ids"),
    [
        ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]),
        ([0, 0, 2, 3, 0, 5], [0, 1, 2, 3, 4, 5]),
        ([0, 1, 2, 3, 4, 5], [0, 1, 1, 3, 4, 1]),
        ([0, 0, 2, 2, 4, 5], [0, 1, 1, 3, 0, 5]),
        ([7, 7, 7, 7, 7, 7], [0, 1, 2, 3, 4, 5]),
    ],
)
def test_duplicates_leave_both_denominators(image_ids, text_ids):
    image_embeds, text_embeds = embeds(6)
    ours = contrastive_loss(
        image_embeds, text_embeds, torch.tensor(1.7), torch.tensor(image_ids), torch.tensor(text_ids)
    )
    assert ours.item() == pytest.approx(loss_by_hand(image_embeds, text_embeds, 1.7, image_ids, text_ids), abs=1e-6)


def test_masked_pairs_get_no_gradient():
    """With every picture the same, nothing is a negative and nothing moves, and no NaN comes of it."""
    image_embeds, text_embeds = (tensor.requires_grad_() for tensor in embeds(4))
    contrastive_loss(image_embeds, text_embeds, torch.tensor(1.0), torch.zeros(4, dtype=torch.int64)).backward()
    assert torch.equal(image_embeds.grad, torch.zeros_like(image_embeds))


def test_scale_is_at_most_one_hundred():
    image_embeds, text_embeds = embeds(5)
    at_limit = contrastive_loss(image_embeds, text_embeds, torch.tensor(MAX_LOGIT_SCALE))
    assert torch.equal(contrastive_loss(image_embeds, text_embeds, torch.tensor(9.0)), at_limit)
    below = contrastive_loss(image_embeds, text_embeds, torch.tensor(MAX_LOGIT_SCALE - 0.1))
    assert not torch.equal(below, at_limit)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_computed_in_float32(dtype):
    """Half-precision embeddings, and an autocast around the loss, do not make its arithmetic half precision."""
    image_embeds, text_embeds = (tensor.to(dtype) for tensor in embeds(8))
    scale = torch.tensor(4.0)
    expected = contrastive_loss(image_embeds.float(), text_embeds.float(), scale)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = contrastive_loss(image_embeds, text_embeds, scale)
    assert ours.dtype == torch.float32
    assert torch.equal(ours, expected)
