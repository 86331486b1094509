import pytest
import torch

from hf_newsmatch import contrastive_loss
from hf_newsmatch.training.gradient_cache import backward_in_chunks
from tests.utils.news import make_model


@pytest.fixture
def batch(processor, pairs):
    return dict(processor(text=pairs["title"][:], images=pairs["image"][:], padding=True, return_tensors="pt"))


def gradients(model) -> dict[str, torch.Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def loss_function(model):
    return lambda image_embeds, text_embeds: contrastive_loss(image_embeds, text_embeds, model.logit_scale)


@pytest.mark.parametrize("chunk_size", [1, 5, 12, 100])
def test_equals_one_backward_pass(processor, batch, chunk_size):
    whole, chunked = make_model(processor), make_model(processor)
    outputs = whole(**batch)
    expected = contrastive_loss(outputs.image_embeds, outputs.text_embeds, whole.logit_scale)
    expected.backward()
    loss = backward_in_chunks(
        chunked, batch, loss_function(chunked), [chunked.logit_scale], chunk_size, backward=torch.Tensor.backward
    )
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    for name, gradient in gradients(whole).items():
        assert torch.allclose(gradients(chunked)[name], gradient, atol=2e-6), name
    assert chunked.logit_scale.grad.abs() > 1e-4


def test_random_layers_draw_the_same_twice(processor, batch):
    """With dropout, the second pass must repeat the first: then a finite difference agrees with the gradient."""
    model = make_model(processor).train()
    for layer in [*model.text_model.encoder.layers, *model.vision_model.encoder.layers]:
        layer.self_attn.dropout = 0.5
    states = []

    def recording(**chunk):
        states.append(torch.get_rng_state())
        return model(**chunk)

    torch.manual_seed(3)
    backward_in_chunks(recording, batch, loss_function(model), [model.logit_scale], 4, backward=torch.Tensor.backward)
    assert len(states) == 6
    assert all(torch.equal(first, second) for first, second in zip(states[:3], states[3:]))
    assert not torch.equal(states[0], states[1])


def test_a_frozen_scale(processor, batch):
    model = make_model(processor)
    model.logit_scale.requires_grad_(False)
    backward_in_chunks(model, batch, loss_function(model), [model.logit_scale], 5, backward=torch.Tensor.backward)
    assert model.logit_scale.grad is None
    assert model.visual_projection.weight.grad.abs().max() > 0


def test_gradients_are_exchanged_with_the_last_chunk_only(processor, batch):
    model = make_model(processor)
    entered = []

    class NoSync:
        def __enter__(self):
            entered.append(True)

        def __exit__(self, *error):
            pass

    backward_in_chunks(
        model, batch, loss_function(model), [model.logit_scale], 5, backward=torch.Tensor.backward, no_sync=NoSync
    )
    assert len(entered) == 2
