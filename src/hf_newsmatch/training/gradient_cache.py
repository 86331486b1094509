"""Large contrastive batches in the memory of small ones: gradient caching (Gao et al. 2021, "Scaling Deep Contrastive
Learning Batch Size under Memory Limited Setup", section 3.2).

The loss of a contrastive batch needs all its embeddings at once, but not all activations: embed chunk by chunk without
a graph, take the loss's gradient at the embeddings, then embed each chunk again and propagate its gradient.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

import torch
from torch.utils.checkpoint import get_device_states, set_device_states


class DualEncoderOutput(Protocol):
    """The part of a dual encoder's output that the loss reads."""

    image_embeds: torch.Tensor
    text_embeds: torch.Tensor


def backward_in_chunks(
    model: Callable[..., DualEncoderOutput],
    inputs: Mapping[str, torch.Tensor],
    loss_function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    scalars: Sequence[torch.nn.Parameter],
    chunk_size: int,
    backward: Callable[[torch.Tensor], None],
    no_sync: Callable[[], AbstractContextManager] = nullcontext,
) -> torch.Tensor:
    """Accumulate the gradients of a batch's contrastive loss, `chunk_size` pairs at a time.

    Equal to one backward pass over the whole batch, up to the rounding of sums in another order, random layers
    included: each chunk's second pass draws what its first one drew.

    Args:
        model (`Callable`):
            The dual encoder, possibly wrapped for data-parallel training; called with a chunk of `inputs`.
        inputs (`Mapping[str, torch.Tensor]`):
            The batch: tensors with the same first dimension.
        loss_function (`Callable`):
            The scalar loss of `image_embeds` and `text_embeds` of the whole batch; uses `scalars`.
        scalars (`Sequence[torch.nn.Parameter]`):
            The parameters that the loss itself uses: `logit_scale` and, where there is one, `logit_bias`.
        chunk_size (`int`):
            Pairs in memory at a time.
        backward (`Callable`):
            Called with a scalar to run its backward pass (with float16 it scales the scalar before).
        no_sync (`Callable`, *optional*):
            A context in which data-parallel training does not exchange gradients; used for all chunks but the last.

    Returns:
        `torch.Tensor`: the detached loss of the batch.
    """
    size = len(next(iter(inputs.values())))
    chunks = [
        {name: value[at : at + chunk_size] for name, value in inputs.items()} for at in range(0, size, chunk_size)
    ]

    states, embeds = [], []
    with torch.no_grad():
        for chunk in chunks:
            states.append(_RandomState(*chunk.values()))
            embeds.append(_embed(model, chunk))
    image_embeds, text_embeds = (torch.cat(side).requires_grad_() for side in zip(*embeds))

    loss = loss_function(image_embeds, text_embeds)
    scalars = [scalar for scalar in scalars if scalar.requires_grad]
    wanted = [image_embeds, text_embeds, *scalars]
    # of these the softmax does not use a bias
    image_gradient, text_gradient, *scalar_gradients = torch.autograd.grad(loss, wanted, materialize_grads=True)

    gradients = zip(image_gradient.split(chunk_size), text_gradient.split(chunk_size))
    for number, (chunk, state, (for_images, for_texts)) in enumerate(zip(chunks, states, gradients), start=1):
        last = number == len(chunks)
        with nullcontext() if last else no_sync():
            with state.restored():
                image_embeds, text_embeds = _embed(model, chunk)
            # a scalar whose gradient is the cached one
            surrogate = (image_embeds * for_images).sum() + (text_embeds * for_texts).sum()
            if last:
                for scalar, gradient in zip(scalars, scalar_gradients):
                    surrogate = surrogate + (scalar * gradient).sum()
            backward(surrogate)
    return loss.detach()


def _embed(
    model: Callable[..., DualEncoderOutput], chunk: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    outputs = model(**chunk)
    return outputs.image_embeds.float(), outputs.text_embeds.float()


class _RandomState:
    """The state of the random generators of the CPU and of the tensors' devices."""

    def __init__(self, *tensors: torch.Tensor):
        self.cpu = torch.get_rng_state()
        self.devices, self.states = get_device_states(*tensors)

    @contextmanager
    def restored(self) -> Iterator[None]:
        with torch.random.fork_rng(devices=self.devices):
            torch.set_rng_state(self.cpu)
            set_device_states(self.devices, self.states)
            yield
