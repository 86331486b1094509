"""Checkpoints in open_clip's layout, written in that of transformers: vision transformers with CLIP's text tower."""

import json
import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import NewsMatchError, first_sentence, shortened
from .checks import PREFIX, find_file
from .inputs import save_processor
from .tensors import as_array, mapped, write_weights

if TYPE_CHECKING:
    from transformers import CLIPConfig, CLIPTokenizer

CONFIG = "open_clip_config.json"
# in the order in which they are looked for
WEIGHTS = (
    *("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
    *("open_clip_model.pt", "open_clip_pytorch_model.pt"),
)
TOKENIZER = (
    *("tokenizer.json", "vocab.json", "merges.txt"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
)
# Settings that change no embedding, or are read below.
_MODEL = {
    *("embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text", "init_logit_scale", "nonscalar_logit_scale"),
    *("cast_dtype", "output_dict"),
}
_READ = {
    "vision_cfg": {
        *("layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size", "norm_kwargs", "act_kwargs"),
        *("patch_dropout", "attn_pooler_queries", "attn_pooler_heads", "output_tokens", "timm_model_pretrained"),
        *("timm_pool", "timm_proj", "timm_proj_bias", "timm_drop", "timm_drop_path"),
    },
    "text_cfg": {
        *("layers", "width", "heads", "mlp_ratio", "context_length", "vocab_size", "norm_kwargs", "act_kwargs"),
        *("pad_id", "eos_id", "output_tokens", "hf_model_pretrained", "hf_proj_type", "hf_pooler_type"),
    },
}
# The values of other settings at which the towers are CLIP's; of those that are not here, none, false or empty.
_CLIP_VALUES: dict[str, dict[str, tuple[Any, ...]]] = {
    "vision_cfg": {
        "pool_type": ("tok",),
        "pos_embed_type": ("learnable", "sin_cos_2d"),
        "block_type": (None, "default"),
    },
    "text_cfg": {
        "pool_type": ("argmax",),
        "proj_type": ("linear",),
        "block_type": (None, "default"),
        "tokenizer_mode": (None, "clip"),
        "tokenizer_kwargs": (None, {}, {"clean": "lower"}),
    },
}
_LARGEST = 2**24  # of any size; of layers, see `_LAYERS`
_LAYERS = 512
# Of OpenAI's pictures, where the configuration names no others.
_MEAN, _STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
# What OpenAI's own files hold among the weights.
_NUMBERS = {"input_resolution", "context_length", "vocab_size", "attn_mask"}
_TEXT_TOWER = re.compile(r"^text\.")  # in models that are built with `custom_text`


class _Unlike(Exception):
    """What a model has that transformers' CLIP has not, as the end of a sentence."""


@dataclass(frozen=True)
class _Tensor:
    """A weight: its name and shape in open_clip, and its name, rows and orientation in transformers."""

    source: str
    shape: tuple[int, ...]
    target: str
    rows: tuple[int | None, int | None] = (None, None)
    transposed: bool = False

    def of(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """Its values for transformers."""
        array = (
            arrays[self.source].reshape(self.shape)[slice(*self.rows)]
            if self.shape
            else arrays[self.source].reshape(())
        )
        return array.T if self.transposed else array


def convert_open_clip(
    checkpoint: str, folder: Path, revision: str | None = None, tokenizer: str | None = None, offline: bool = False
) -> None:
    """Write a checkpoint of open_clip as one of transformers' CLIP.

    Args:
        checkpoint (`str`):
            A folder or Hub id with an `open_clip_config.json`.
        folder (`Path`):
            The folder to write into, which is there and empty.
        revision (`str`, *optional*):
            Branch, tag or commit of a Hub id.
        tokenizer (`str`, *optional*):
            A folder or Hub id with the files of CLIP's tokenizer, in place of those beside the weights.
        offline (`bool`, *optional*, defaults to `False`):
            Whether to look at nothing but this machine for a Hub id.

    Raises:
        [`NewsMatchError`]: saying what cannot be converted.
    """
    from transformers import CLIPProcessor

    model_cfg, pictures = _read_config(checkpoint, revision, offline)
    try:
        config = _clip_config(model_cfg)
        arrays = _read_weights(checkpoint, revision, offline)
        layout = {tensor.target: tensor for tensor in _tensors(config)}
        _check_weights(layout, arrays)
        image_processor = _image_processor(pictures, config.vision_config.image_size)
        tokens = _tokenizer(checkpoint, revision, tokenizer, config, offline)
    except _Unlike as error:
        name = shortened(checkpoint)
        raise NewsMatchError(f"'{name}' is laid out by open_clip and cannot be converted: {error}.") from error
    # the dtype that it is loaded in where none is asked for
    dtypes = {tensor.of(arrays).dtype.name for tensor in layout.values()}
    config.dtype = dtypes.pop() if len(dtypes) == 1 else "float32"
    config.save_pretrained(folder)
    write_weights(
        folder,
        {target: tensor.of(arrays) for target, tensor in layout.items()},
        lambda target: [np.ascontiguousarray(layout[target].of(arrays)).reshape(-1)],
    )
    save_processor(CLIPProcessor(image_processor, tokens), folder)


def _read_config(checkpoint: str, revision: str | None, offline: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of the model and of its pictures in an `open_clip_config.json`.

    Raises:
        [`NewsMatchError`]: when there is none, or it is damaged.
    """
    file = find_file(checkpoint, CONFIG, revision, offline)
    if file is None:
        raise NewsMatchError(f"There is no {CONFIG} in '{shortened(checkpoint)}'.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        model_cfg = content.get("model_cfg", content)
        pictures = content.get("preprocess_cfg") or {}
        if not all(isinstance(model_cfg[tower], dict) for tower in _READ) or not isinstance(pictures, dict):
            raise TypeError("a tower is no object")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else first_sentence(error)
        raise NewsMatchError(f"{file} is no configuration of open_clip ({reason}); download it again.") from error
    return model_cfg, pictures


def _check_towers(model_cfg: Mapping[str, Any]) -> None:
    """Refuse towers that are not CLIP's."""
    vision, text = model_cfg["vision_cfg"], model_cfg["text_cfg"]
    if vision.get("timm_model_name"):
        raise _Unlike(f"its vision tower is timm's {shortened(str(vision['timm_model_name']))}")
    if isinstance(vision.get("layers"), list):
        raise _Unlike("its vision tower is a ResNet")
    if text.get("hf_model_name"):
        raise _Unlike(f"its text tower is {shortened(str(text['hf_model_name']))}, not CLIP's own")
    if text.get("hf_tokenizer_name"):
        raise _Unlike(f"its tokenizer is {shortened(str(text['hf_tokenizer_name']))}, not CLIP's")
    if "multimodal_cfg" in model_cfg:
        raise _Unlike("it is a CoCa, whose decoder transformers' CLIP has not")
    if model_cfg.get("init_logit_bias") is not None:
        raise _Unlike("it has a logit_bias, as SigLIP")
    for name, value in model_cfg.items():
        if name not in _MODEL and value:
            raise _Unlike(
                f"its setting {shortened(name)} is {shortened(str(value))}, which transformers' CLIP has not"
            )
    for tower, read in _READ.items():
        for name, value in model_cfg[tower].items():
            allowed = _CLIP_VALUES[tower].get(name)
            if name not in read and (value not in allowed if allowed else value not in (None, False, 0, "", [], {})):
                said = shortened(str(value))
                raise _Unlike(f"the {name} of its {tower} is {said}, which transformers' CLIP has not")


def _clip_config(model_cfg: Mapping[str, Any]) -> "CLIPConfig":
    """The configuration of the same model in transformers."""
    from transformers import CLIPConfig

    _check_towers(model_cfg)
    vision, text = model_cfg["vision_cfg"], model_cfg["text_cfg"]
    width, head_width = _size(vision, "width", 768), _size(vision, "head_width", 64)
    dim, vocabulary = _size(model_cfg, "embed_dim"), _size(text, "vocab_size", 49408)
    sides = _size(vision, "image_size", 224), _size(vision, "patch_size", 16)
    quick = bool(model_cfg.get("quick_gelu"))
    return CLIPConfig(
        text_config={
            **_tower(text, _size(text, "width", 512), _size(text, "heads", 8), quick),
            "max_position_embeddings": _size(text, "context_length", 77),
            "vocab_size": vocabulary,
            "projection_dim": dim,
            # CLIP's last two tokens; those of the tokenizer follow
            "bos_token_id": vocabulary - 2,
            "eos_token_id": vocabulary - 1,
            "pad_token_id": vocabulary - 1,
        },
        vision_config={
            **_tower(vision, width, max(1, width // head_width), quick),
            "image_size": sides[0],
            "patch_size": sides[1],
            "projection_dim": dim,
        },
        projection_dim=dim,
        architectures=["CLIPModel"],
    )


def _tower(cfg: Mapping[str, Any], width: int, heads: int, quick_gelu: bool) -> dict[str, Any]:
    """What both towers are described by."""
    layers, ratio = _size(cfg, "layers", 12), cfg.get("mlp_ratio", 4.0)
    if layers > _LAYERS or not isinstance(ratio, int | float) or not 0 < ratio <= 64:
        raise _Unlike(f"its {CONFIG} has {layers} layers and an mlp_ratio of {shortened(str(ratio))}")
    norm, act = cfg.get("norm_kwargs") or {}, cfg.get("act_kwargs") or {}
    if set(norm) - {"eps"} or (act and (quick_gelu or act not in ({"approximate": "tanh"}, {"approximate": "none"}))):
        raise _Unlike(
            f"its layers have the settings {shortened(str({**norm, **act}))}, which transformers' CLIP lacks"
        )
    if width % heads:
        raise _Unlike(f"its {CONFIG} divides a width of {width} among {heads} heads")
    tanh = act.get("approximate") == "tanh"
    return {
        "hidden_size": width,
        "intermediate_size": int(width * ratio),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "hidden_act": "quick_gelu" if quick_gelu else "gelu_pytorch_tanh" if tanh else "gelu",
        "layer_norm_eps": float(norm.get("eps", 1e-5)),
    }


def _size(cfg: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = cfg.get(name, default)
    if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
        value = value[0]  # of a square
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST:
        said = "missing" if value is None else shortened(str(value))
        raise _Unlike(f"the {name} in its {CONFIG} is {said}, which transformers' CLIP cannot have")
    return value


def _tensors(config: "CLIPConfig") -> Iterator[_Tensor]:
    """All weights of a model."""
    vision, text = config.vision_config, config.text_config
    width, patch, dim = vision.hidden_size, vision.patch_size, config.projection_dim
    patches = (vision.image_size // patch) ** 2
    embeddings = "vision_model.embeddings"
    yield _Tensor("visual.class_embedding", (width,), f"{embeddings}.class_embedding")
    yield _Tensor("visual.positional_embedding", (patches + 1, width), f"{embeddings}.position_embedding.weight")
    yield _Tensor("visual.conv1.weight", (width, 3, patch, patch), f"{embeddings}.patch_embedding.weight")
    yield from _both("visual.ln_pre", (width,), "vision_model.pre_layrnorm")
    yield from _blocks("visual.transformer", "vision_model.encoder", vision)
    yield from _both("visual.ln_post", (width,), "vision_model.post_layernorm")
    yield _Tensor("visual.proj", (width, dim), "visual_projection.weight", transposed=True)
    width, embeddings = text.hidden_size, "text_model.embeddings"
    positions = text.max_position_embeddings
    yield _Tensor("token_embedding.weight", (text.vocab_size, width), f"{embeddings}.token_embedding.weight")
    yield _Tensor("positional_embedding", (positions, width), f"{embeddings}.position_embedding.weight")
    yield from _blocks("transformer", "text_model.encoder", text)
    yield from _both("ln_final", (width,), "text_model.final_layer_norm")
    yield _Tensor("text_projection", (width, dim), "text_projection.weight", transposed=True)
    yield _Tensor("logit_scale", (), "logit_scale")


def _blocks(source: str, target: str, config: Any) -> Iterator[_Tensor]:
    width, inner = config.hidden_size, config.intermediate_size
    for layer in range(config.num_hidden_layers):
        old, new = f"{source}.resblocks.{layer}", f"{target}.layers.{layer}"
        for number in (1, 2):
            yield from _both(f"{old}.ln_{number}", (width,), f"{new}.layer_norm{number}")
        for place, projection in enumerate(("q_proj", "k_proj", "v_proj")):
            rows = place * width, (place + 1) * width
            joined = f"{old}.attn.in_proj_", f"{new}.self_attn.{projection}."
            yield _Tensor(f"{joined[0]}weight", (3 * width, width), f"{joined[1]}weight", rows)
            yield _Tensor(f"{joined[0]}bias", (3 * width,), f"{joined[1]}bias", rows)
        yield from _both(f"{old}.attn.out_proj", (width, width), f"{new}.self_attn.out_proj")
        yield from _both(f"{old}.mlp.c_fc", (inner, width), f"{new}.mlp.fc1")
        yield from _both(f"{old}.mlp.c_proj", (width, inner), f"{new}.mlp.fc2")


def _both(source: str, shape: tuple[int, ...], target: str) -> Iterator[_Tensor]:
    """A weight and its bias."""
    yield _Tensor(f"{source}.weight", shape, f"{target}.weight")
    yield _Tensor(f"{source}.bias", shape[:1], f"{target}.bias")


def _read_weights(checkpoint: str, revision: str | None, offline: bool) -> dict[str, np.ndarray]:
    """The weights under the names that `CLIP` of open_clip has for them."""
    file = weights_file(checkpoint, revision, offline)
    if file is None:
        raise _Unlike(f"it has none of {', '.join(WEIGHTS)}")
    arrays = mapped(file) if file.suffix == ".safetensors" else _read_pickle(file)
    names = {name: _TEXT_TOWER.sub("", PREFIX.sub("", name)) for name in arrays}
    return {names[name]: array for name, array in arrays.items() if names[name] not in _NUMBERS}


def weights_file(checkpoint: str, revision: str | None = None, offline: bool = False) -> Path | None:
    """The file of open_clip's weights, downloaded when the checkpoint is a Hub id; `None` where there is none."""
    found = (find_file(checkpoint, name, revision, offline) for name in WEIGHTS)
    return next((file for file in found if file is not None), None)


def _read_pickle(file: Path) -> dict[str, np.ndarray]:
    """The tensors of a pickle, by PyTorch's restricted loader, which takes nothing that could run."""
    import torch

    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError, AttributeError, TypeError) as error:
        raise _Unlike(
            f"{file.name} is damaged, or holds more than tensors, which could run foreign code and is not opened; save"
            f" its state_dict as {WEIGHTS[0]}"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]  # of a training
    if not isinstance(content, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in content.values()):
        raise _Unlike(f"{file.name} is no state_dict")
    return {str(name): as_array(tensor.detach()) for name, tensor in content.items()}


def _check_weights(layout: Mapping[str, _Tensor], arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse weights that are not those of the configuration."""
    expected = {tensor.source: tensor.shape for tensor in layout.values()}
    unknown, missing = sorted(set(arrays) - set(expected)), sorted(set(expected) - set(arrays))
    if unknown:
        raise _Unlike(f"transformers' CLIP has no place for {len(unknown)} weights, first {shortened(unknown[0])}")
    if missing:
        raise _Unlike(f"{len(missing)} weights of its {CONFIG} are missing, first {missing[0]}")
    for name, shape in expected.items():
        if arrays[name].shape != shape and not (shape == () and arrays[name].size == 1):
            raise _Unlike(f"its weight {name} is of shape {arrays[name].shape} and its {CONFIG} says {shape}")
        if arrays[name].dtype.kind in "iub":
            raise _Unlike(f"its weight {name} is of whole numbers ({arrays[name].dtype})")


def _image_processor(pictures: Mapping[str, Any], size: int) -> Any:
    """The processor that prepares pictures as open_clip does."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    mode = pictures.get("resize_mode") or "shortest"
    interpolation = pictures.get("interpolation") or "bicubic"
    mean, std = pictures.get("mean") or _MEAN, pictures.get("std") or _STD
    if mode not in ("shortest", "squash"):
        raise _Unlike(f"its pictures are resized by '{shortened(str(mode))}', and CLIP's by shortest or squash")
    if interpolation not in ("bicubic", "bilinear", "random"):
        raise _Unlike(f"its pictures are resized by interpolation '{shortened(str(interpolation))}'")
    if pictures.get("mode", "RGB") != "RGB":
        raise _Unlike(f"its pictures are of mode {shortened(str(pictures['mode']))}, not RGB")
    for name, values in (("mean", mean), ("std", std)):
        if not (isinstance(values, list) and len(values) == 3 and all(isinstance(one, int | float) for one in values)):
            raise _Unlike(f"the {name} of its pictures is {shortened(str(values))}, not three numbers")
    whole = {"height": size, "width": size}
    return CLIPImageProcessorPil(
        size=whole if mode == "squash" else {"shortest_edge": size},
        crop_size=whole,
        do_center_crop=mode == "shortest",
        resample=2 if interpolation == "bilinear" else 3,  # random is of training; else it is bicubic
        image_mean=mean,
        image_std=std,
    )


def _tokenizer(
    checkpoint: str, revision: str | None, other: str | None, config: "CLIPConfig", offline: bool
) -> "CLIPTokenizer":
    """CLIP's tokenizer, and where it ends a text in the configuration."""
    from transformers import CLIPTokenizer

    source, revision = (checkpoint, revision) if other is None else (other, None)
    has = {name for name in TOKENIZER[:3] if find_file(source, name, revision, offline)}
    remedy = "name a folder or Hub id that has them with hf-newsmatch convert --tokenizer"
    if "tokenizer.json" not in has and not has >= {"vocab.json", "merges.txt"}:
        raise _Unlike(f"there are no tokenizer files in '{shortened(source)}'; {remedy}")
    try:
        tokenizer = CLIPTokenizer.from_pretrained(source, revision=revision, local_files_only=offline)
        tokens = tokenizer("a b").input_ids
    except Exception as error:  # whatever transformers trips over in foreign files
        raise _Unlike(f"the tokenizer of '{shortened(source)}' cannot be read ({first_sentence(error)})") from error
    text, end = config.text_config, tokenizer.eos_token_id
    # texts are read at their highest token: that must be the end
    if len(tokenizer) != text.vocab_size or tokens.count(end) != 1 or end != max(tokens) or end != text.vocab_size - 1:
        raise _Unlike(f"the tokenizer of '{shortened(source)}' is not CLIP's of {text.vocab_size} tokens; {remedy}")
    tokenizer.model_max_length = text.max_position_embeddings
    text.bos_token_id, text.eos_token_id, text.pad_token_id = tokenizer.bos_token_id, end, tokenizer.pad_token_id
    return tokenizer
