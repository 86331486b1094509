"""The precision that a model embeds in, and its compilation."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from ..configs import DTYPES
from ..errors import NewsMatchError, explain, shortened
from ..utils.machine import cpu_flags
from .architectures import TOWERS, architecture_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

# What a processor that multiplies bfloat16 says: Intel's from Cooper Lake on, AMD's from Zen 4 on.
_CPU_BFLOAT16 = {"avx512_bf16", "amx_bf16"}


def embedding_dtype(dtype: "str | torch.dtype", device: "torch.device") -> str:
    """The precision to embed in, by its name.

    Args:
        dtype (`str` or `torch.dtype`):
            One of `DTYPES`; `"auto"` for what the device is fast in.
        device (`torch.device`):
            The device.

    Raises:
        [`NewsMatchError`]: on any other.
    """
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise NewsMatchError(f"There is no dtype '{name}' to embed in; they are {', '.join(DTYPES)}.")
    return fast_dtype(device) if name == "auto" else name


def fast_dtype(device: "torch.device") -> str:
    """The precision that a device is fast in.

    On an accelerator bfloat16 where the hardware has it, else float16. On a processor bfloat16 where it has
    instructions for it, else float32: without them, half precision is slower.
    """
    if device.type == "cpu":
        return "bfloat16" if _CPU_BFLOAT16 & cpu_flags() else "float32"
    import torch

    supported = getattr(torch.get_device_module(device), "is_bf16_supported", None)
    return "bfloat16" if supported is not None and supported(including_emulation=False) else "float16"


def prepare_model(model: "PreTrainedModel", dtype: str, device: "torch.device") -> "PreTrainedModel":
    """A model that was loaded in float32, on a device and in the precision that it shall embed in.

    Raises:
        [`NewsMatchError`]: on weights beyond the range of float16.
    """
    import torch

    model = model.to(device, getattr(torch, dtype))
    if dtype == "float16":
        for name, parameter in model.named_parameters():
            if not parameter.isfinite().all():
                raise NewsMatchError(
                    f"The weight {name} of '{model.name_or_path}' is beyond the range of float16; embed in bfloat16 or"
                    " float32."
                )
    return model


def compile_towers(model: "PreTrainedModel", backend: str = "inductor") -> None:
    """Have the towers of a model compiled when they first embed; its weights and their names stay.

    Args:
        model (`PreTrainedModel`):
            The model, on its device.
        backend (`str`, *optional*, defaults to `"inductor"`):
            Of `torch.compile`.
    """
    towers = architecture_of(model.config).towers
    for tower in TOWERS:
        model.get_submodule(towers[tower][0].rstrip(".")).compile(backend=backend)


def explained_compilation() -> AbstractContextManager[None]:
    """A context that turns a compilation that fails, for want of a compiler for example, into one sentence."""
    return explain(RuntimeError, sentence=_explanation)


def _explanation(error: Exception) -> str | None:
    if not any(kind.__module__.startswith(("torch._dynamo", "torch._inductor")) for kind in type(error).__mro__):
        return None
    said = shortened(str(error).strip().partition("\n")[0])  # advice to developers follows
    return (
        f"The model cannot be compiled here ({said}); install a C++ compiler such as g++, or leave torch_compile out."
    )
