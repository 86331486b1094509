"""The precision that models embed in: what a machine is fast in, and what half precision and compiling change."""

import pytest
import torch
from torch._inductor import config as inductor

from hf_newsmatch import NewsMatcher, NewsMatchError, embed_images, embed_texts
from hf_newsmatch.models import precision
from hf_newsmatch.models.precision import compile_towers, embedding_dtype, fast_dtype, prepare_model
from tests.utils.architectures import MAKERS, make_tiny
from tests.utils.news import make_picture

CPU = torch.device("cpu")
TEXTS = ["a", "Storm closes the harbour", "Überraschung", "word " * 60]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"avx2", "avx512f", "avx512_bf16"}, "bfloat16"),
        ({"amx_tile", "amx_bf16"}, "bfloat16"),
        ({"avx2", "avx512f", "avx512_vnni"}, "float32"),
        (set(), "float32"),
    ],
)
def test_auto_on_a_processor_asks_its_flags(monkeypatch, flags, expected):
    monkeypatch.setattr(precision, "cpu_flags", lambda: frozenset(flags))
    assert fast_dtype(CPU) == embedding_dtype("auto", CPU) == expected
    assert embedding_dtype("float16", CPU) == "float16", "what is named is taken"
    assert embedding_dtype(torch.bfloat16, CPU) == "bfloat16"


@pytest.mark.parametrize(("hardware", "expected"), [(True, "bfloat16"), (False, "float16"), (None, "float16")])
def test_auto_on_an_accelerator_asks_its_hardware(monkeypatch, hardware, expected):
    class Accelerator:
        @staticmethod
        def is_bf16_supported(including_emulation=True):
            return including_emulation or hardware

    module = Accelerator if hardware is not None else object()  # as of "mps", which cannot be asked
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    assert fast_dtype(torch.device("cuda")) == expected


def test_another_dtype_is_refused(checkpoints):
    with pytest.raises(NewsMatchError, match=r"no dtype 'float64'.* auto, bfloat16, float16, float32"):
        NewsMatcher.from_pretrained(checkpoints / "zero_shot", dtype=torch.float64)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_close_in_every_architecture(name, dtype):
    """On a CPU, too: float16 works there."""
    model, processor = make_tiny(name)
    pictures = [make_picture(seed, size=(17 + seed, 20)) for seed in range(3)]
    whole = [embed_texts(model, processor, TEXTS, progress=False), embed_images(model, processor, pictures)]
    model = prepare_model(model, dtype, CPU)
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}
    half = [embed_texts(model, processor, TEXTS, progress=False), embed_images(model, processor, pictures)]
    for expected, found in zip(whole, half):
        assert found.dtype == torch.float32
        assert (expected * found).sum(dim=1).min() > 0.999
        assert (expected - found).abs().max() > 0, "it was computed in half precision"


@pytest.mark.parametrize("name", sorted(set(MAKERS) - {"align"}))
def test_attention_is_scaled_dot_product_attention(name):
    """transformers' default wherever its classes have it; ALIGN's text tower has its own alone."""
    model, _ = make_tiny(name)
    assert model.text_model.config._attn_implementation == "sdpa"
    assert model.vision_model.config._attn_implementation == "sdpa"


def test_weights_beyond_float16_are_refused(model):
    with torch.no_grad():
        model.text_projection.weight[0, 0] = 1e5
    with pytest.raises(NewsMatchError, match=r"text_projection\.weight .* beyond the range of float16; embed in bfl"):
        prepare_model(model, "float16", CPU)


def test_both_towers_are_compiled_and_keep_their_names(model, processor):
    pictures = [make_picture(1)]
    texts, images = embed_texts(model, processor, TEXTS, progress=False), embed_images(model, processor, pictures)
    names = list(model.state_dict())
    compile_towers(model, backend="eager")
    torch._dynamo.utils.counters.clear()
    seen = []
    for embed, inputs, expected in ((embed_texts, TEXTS, texts), (embed_images, pictures, images)):
        torch.testing.assert_close(embed(model, processor, inputs, progress=False), expected)
        seen.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert 0 < seen[0] < seen[1]
    assert list(model.state_dict()) == names


def test_without_a_compiler_one_sentence(model, processor, monkeypatch):
    monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
    compile_towers(model)
    sentence = r"^The model cannot be compiled here \(.*compiler.*\); install a C\+\+ compiler.*torch_compile out\.$"
    with pytest.raises(NewsMatchError, match=sentence) as caught:
        embed_texts(model, processor, ["not compiled before"], progress=False)
    assert "TORCHDYNAMO" not in str(caught.value)
