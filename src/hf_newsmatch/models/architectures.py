"""What differs between dual encoders: one entry an architecture, and nothing else asks for a model's type."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from ..errors import NewsMatchError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

TOWERS = ("vision", "text")
LOSSES = ("softmax", "sigmoid")
# A layer of a tower, of one stage where there are several: `encoder.layers.3.`, `encoder.stages.1.layers.0.`.
_LAYER = re.compile(r"^(.*?\.(?:stages?|layers?|blocks|resblocks|h)\.\d+(?:\.(?:layers?|blocks)\.\d+)?)\.")
# What transformers starts a `logit_scale` at.
_INITIAL = 2.6592
# Text towers that count positions from the token after the padding: so many of their table are never used.
_COUNT_FROM_PADDING = {"altclip_text_model", "camembert", "data2vec-text", "roberta", "xlm-roberta", "xmod"}


@dataclass(frozen=True)
class Temperature:
    """The parameter by which a model scales its cosine similarities to logits.

    Args:
        name (`str`):
            Its name.
        is_logarithm (`bool`):
            Whether it is stored as the logarithm of the factor, as CLIP's `logit_scale`; otherwise as what divides the
            similarities.
        largest (`float`, *optional*):
            The largest factor, which its training kept to; `None` for none.
    """

    name: str = "logit_scale"
    is_logarithm: bool = True
    largest: float | None = None

    def bounds(self) -> tuple[float | None, float | None]:
        """The least and the largest value that is stored."""
        if self.is_logarithm:
            return None, None if self.largest is None else math.log(self.largest)
        # what divides must stay positive
        return (1e-4 if self.largest is None else 1 / self.largest), None

    def logarithm(self, stored: Any) -> Any:
        """The logarithm of the factor, of the stored tensor."""
        return stored if self.is_logarithm else -stored.log()


@dataclass(frozen=True)
class Architecture:
    """A dual encoder of `transformers`.

    Args:
        title (`str`):
            Its name in sentences.
        model (`str`), processor (`str`):
            The classes of `transformers` that load it.
        languages (`tuple[str, ...]`, *optional*):
            The languages that its published checkpoints read, as codes; `("*",)` for those of the world, `None` where
            it depends on the checkpoint.
        towers (`Mapping[str, tuple[str, ...]]`):
            For `"vision"` and `"text"`, the prefixes of the names of the tower's weights, its projection's included,
            in the model and in its published files.
        unused (`tuple[str, ...]`):
            Prefixes of weights that no embedding depends on: they never train.
        loss (`str`):
            The loss that it was trained with, `"softmax"` or `"sigmoid"`.
        temperature ([`Temperature`]):
            What scales its similarities.
        bias (`str`, *optional*):
            The parameter that is added to its logits.
        pads_to_context (`bool`):
            Whether each text is padded to the whole context, because the tower has no attention mask or an empty text
            no token.
        lower_case (`bool`):
            Whether texts are read in lower case.
        text_inputs, image_inputs (`tuple[str, ...]`):
            What the towers take of the tokenizer's and the image processor's outputs.
        context (`int`, *optional*):
            The tokens that its texts had in training, where the positions of its text tower are more.
        keeps_tokenizer_limit (`bool`):
            Whether the tokenizer's own limit counts where it is below the tower's positions.
        reads_at_end (`bool`):
            Whether a text is read at its end-of-text token.
        has_fresh_projections (`bool`):
            Whether checkpoints exist whose projections were never trained, and which cannot rank.
        is_zero_shot_pipeline (`bool`):
            Whether transformers' pipeline for zero-shot image classification loads it.
        image_processor (`str`, *optional*):
            Our class, `module:name`, in place of one that `transformers` has on torchvision alone.
    """

    title: str
    model: str
    processor: str
    languages: tuple[str, ...] | None = ("en",)
    towers: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {
            "vision": ("vision_model.", "visual_projection."),
            "text": ("text_model.", "text_projection."),
        }
    )
    unused: tuple[str, ...] = ()
    loss: str = "softmax"
    temperature: Temperature = Temperature()
    bias: str | None = None
    pads_to_context: bool = False
    lower_case: bool = False
    text_inputs: tuple[str, ...] = ("input_ids", "attention_mask")
    image_inputs: tuple[str, ...] = ("pixel_values",)
    context: int | None = None
    keeps_tokenizer_limit: bool = False
    reads_at_end: bool = False
    has_fresh_projections: bool = False
    is_zero_shot_pipeline: bool = True
    image_processor: str | None = None

    @property
    def pipeline_tag(self) -> str:
        """The task under which the Hub lists it."""
        return "zero-shot-image-classification" if self.is_zero_shot_pipeline else "feature-extraction"

    @property
    def scalars(self) -> tuple[str, ...]:
        """The parameters that belong to the loss, not to a tower."""
        return (self.temperature.name,) if self.bias is None else (self.temperature.name, self.bias)

    def tower(self, name: str) -> str | None:
        """The tower of a weight, told from its name; `None` for one of neither, such as `logit_scale`."""
        return next((tower for tower, prefixes in self.towers.items() if name.startswith(prefixes)), None)

    def patterns(self, tower: str) -> list[str]:
        """The names of a tower's weights as patterns for `fnmatch`."""
        return [f"{prefix}*" for prefix in self.towers[tower]]

    def is_unused(self, name: str) -> bool:
        """Whether no embedding depends on a weight."""
        return name.startswith(self.unused)

    def places(self, names: Iterable[str]) -> dict[str, tuple[str | None, int]]:
        """The tower of each weight, and how many steps it lies below the tower's output.

        Final norms and projections are at the output, 0; the last layer is 1; with `L` layers, embeddings and the norm
        after them are `L + 1`. Layers are counted in the order of the model.

        Args:
            names (`Iterable[str]`):
                The names of a model's parameters, in its order.
        """
        names = list(names)
        layers = self._layers(names)
        places: dict[str, tuple[str | None, int]] = {}
        begun: set[str] = set()
        for name in names:
            tower, layer = self.tower(name), layer_of(name)
            if tower is None:
                places[name] = None, 0
            elif layer is not None:
                begun.add(tower)
                places[name] = tower, len(layers[tower]) - layers[tower][layer]
            else:
                below = layers[tower] and tower not in begun
                places[name] = tower, len(layers[tower]) + 1 if below else 0
        return places

    def count_layers(self, names: Iterable[str]) -> dict[str, int]:
        """The number of layers of each tower, of the names of a model's parameters."""
        return {tower: len(layers) for tower, layers in self._layers(names).items()}

    def _layers(self, names: Iterable[str]) -> dict[str, dict[str, int]]:
        """The layers of each tower with their number, in the order of the names."""
        layers: dict[str, dict[str, int]] = {tower: {} for tower in TOWERS}
        for name in names:
            tower, layer = self.tower(name), layer_of(name)
            if tower is not None and layer is not None:
                layers[tower].setdefault(layer, len(layers[tower]))
        return layers

    def text_length(self, config: "PreTrainedConfig", tokenizer_limit: int) -> int:
        """The tokens at which texts are cut.

        Args:
            config (`PreTrainedConfig`):
                The model's configuration.
            tokenizer_limit (`int`):
                The limit that the tokenizer's own files name.
        """
        text = config.text_config
        limits = [limit for limit in (self.context,) if limit is not None]
        if (positions := getattr(text, "max_position_embeddings", None)) is not None:
            unusable = (text.pad_token_id or 0) + 1 if text.model_type in _COUNT_FROM_PADDING else 0
            limits.append(positions - unusable)
        if self.keeps_tokenizer_limit or not limits:
            limits.append(tokenizer_limit)
        return min(limits)

    def is_fresh(self, stored: float, config: "PreTrainedConfig | Mapping[str, Any]") -> bool:
        """Whether a model's projections were never trained: its temperature is still the initial one.

        Args:
            stored (`float`):
                The temperature of the model, in any precision.
            config (`PreTrainedConfig` or `Mapping[str, Any]`):
                Its configuration.
        """
        name = f"{self.temperature.name}_init_value"
        initial = config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
        initial = _INITIAL if initial is None else initial
        kinds = (np.float32, np.float16, ml_dtypes.bfloat16)
        return self.has_fresh_projections and stored in {initial, *(float(kind(initial)) for kind in kinds)}

    def reads(self, language: str) -> bool | None:
        """Whether texts of a language need no translation; `None` where that depends on the checkpoint."""
        if self.languages is None:
            return None
        return self.languages == ("*",) or language in self.languages


def layer_of(name: str) -> str | None:
    """The layer that a weight belongs to, as the beginning of its name; `None` for one of no layer."""
    found = _LAYER.match(name)
    return found[1] if found else None


_SIGLIP: dict[str, Any] = {
    "loss": "sigmoid",
    "bias": "logit_bias",
    "pads_to_context": True,
    "lower_case": True,
    "text_inputs": ("input_ids",),
}
_BY_100 = Temperature(largest=100)

# By `model_type`. Sources: the papers of the models, and their code in transformers 5.23.
ARCHITECTURES: dict[str, Architecture] = {
    # Radford et al. 2021; LAION's, DFN's, MetaCLIP's and Long-CLIP's are of this type as well
    "clip": Architecture("CLIP", "CLIPModel", "CLIPProcessor", temperature=_BY_100, reads_at_end=True),
    # Zhai et al. 2023; the fixed sizes of SigLIP 2 are of this type or the next
    "siglip": Architecture("SigLIP", "SiglipModel", "SiglipProcessor", **_SIGLIP),
    # Tschannen et al. 2025, with pictures of their own aspect ratio (NaFlex)
    "siglip2": Architecture(
        "SigLIP 2",
        "Siglip2Model",
        "Siglip2Processor",
        languages=("*",),
        image_inputs=("pixel_values", "pixel_attention_mask", "spatial_shapes"),
        **_SIGLIP,
    ),
    # Chuang et al. 2025
    "metaclip_2": Architecture(
        "MetaCLIP 2", "MetaClip2Model", "CLIPProcessor", languages=("*",), temperature=_BY_100, reads_at_end=True
    ),
    # Yang et al. 2022
    "chinese_clip": Architecture(
        "Chinese CLIP", "ChineseCLIPModel", "ChineseCLIPProcessor", languages=("zh",), temperature=_BY_100
    ),
    # Chen et al. 2022
    "altclip": Architecture(
        "AltCLIP", "AltCLIPModel", "AltCLIPProcessor", languages=("en", "zh"), temperature=_BY_100
    ),
    # Jia et al. 2021; it reads the first token, not what its pooler makes of it
    "align": Architecture(
        "ALIGN",
        "AlignModel",
        "AlignProcessor",
        unused=("text_model.pooler.",),
        temperature=Temperature("temperature", is_logarithm=False),
        context=64,
    ),
    # Google 2026
    "tipsv2": Architecture(
        "TIPSv2",
        "Tipsv2Model",
        "Tipsv2Processor",
        towers={"vision": ("vision_model.", "vision_encoder."), "text": ("text_model.", "text_encoder.")},
        unused=("vision_model.embeddings.mask_token", "vision_encoder.mask_token"),
        temperature=Temperature("temperature", is_logarithm=False),
        lower_case=True,
        pads_to_context=True,
        image_processor="hf_newsmatch.models.tipsv2:Tipsv2ImageProcessorPil",
    ),
    # LiT (Zhai et al. 2022) and any other pair of towers
    "vision-text-dual-encoder": Architecture(
        "vision-text dual encoder",
        "VisionTextDualEncoderModel",
        "VisionTextDualEncoderProcessor",
        languages=None,
        temperature=_BY_100,
        keeps_tokenizer_limit=True,
        has_fresh_projections=True,
        is_zero_shot_pipeline=False,
    ),
}
CLIP = ARCHITECTURES["clip"]


def architecture_of(config: "PreTrainedConfig | Mapping[str, Any]", source: object = "The model") -> Architecture:
    """The entry of a model, by its configuration or the content of its config.json.

    Args:
        config (`PreTrainedConfig` or `Mapping[str, Any]`):
            The configuration.
        source (`str`, *optional*):
            The checkpoint, for the message.

    Raises:
        [`NewsMatchError`]: on a model of another kind, with the list of those that are known.
    """
    kind = config.get("model_type", "clip") if isinstance(config, Mapping) else config.model_type
    if kind not in ARCHITECTURES:
        raise NewsMatchError(
            f"'{source}' is a '{kind}' checkpoint, not a dual encoder that is known here; these are"
            f" {', '.join(ARCHITECTURES)}."
        )
    return ARCHITECTURES[kind]
