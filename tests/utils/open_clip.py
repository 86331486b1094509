"""open_clip's CLIP written out again in torch, from its description, and folders in open_clip's layout."""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from tests.utils.news import CONTEXT, IMAGE_SIZE, make_processor

DIM = 8


class QuickGELU(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    def __init__(self, width: int, heads: int, inner: int, act: nn.Module, eps: float):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=eps)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width, eps=eps)
        layers = [("c_fc", nn.Linear(width, inner)), ("gelu", act), ("c_proj", nn.Linear(inner, width))]
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width: int, heads: int, inner: int, layers: int, act: nn.Module, eps: float):
        super().__init__()
        self.resblocks = nn.ModuleList([Block(width, heads, inner, act, eps) for _ in range(layers)])

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


class Vision(nn.Module):
    def __init__(self, cfg: dict[str, Any], dim: int, act: nn.Module):
        super().__init__()
        width, patch, eps = cfg["width"], cfg["patch_size"], (cfg.get("norm_kwargs") or {}).get("eps", 1e-5)
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty((cfg["image_size"] // patch) ** 2 + 1, width))
        self.ln_pre = nn.LayerNorm(width, eps=eps)
        inner = int(width * cfg["mlp_ratio"])
        self.transformer = Transformer(width, width // cfg["head_width"], inner, cfg["layers"], act, eps)
        self.ln_post = nn.LayerNorm(width, eps=eps)
        self.proj = nn.Parameter(torch.empty(width, dim))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = self.conv1(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1) + self.positional_embedding
        return self.ln_post(self.transformer(self.ln_pre(x)))[:, 0] @ self.proj


class OpenClip(nn.Module):
    """The model of an `open_clip_config.json`, with random weights."""

    def __init__(self, cfg: dict[str, Any], seed: int = 0):
        super().__init__()
        text, dim = cfg["text_cfg"], cfg["embed_dim"]
        tanh = (text.get("act_kwargs") or {}).get("approximate", "none")
        act = QuickGELU() if cfg.get("quick_gelu") else nn.GELU(tanh)
        self.visual = Vision(cfg["vision_cfg"], dim, act)
        width = text["width"]
        self.token_embedding = nn.Embedding(text["vocab_size"], width)
        self.positional_embedding = nn.Parameter(torch.empty(text["context_length"], width))
        self.transformer = Transformer(width, text["heads"], int(width * 4), text["layers"], act, 1e-5)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, dim))
        self.logit_scale = nn.Parameter(torch.empty(()))
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape) * 0.3)
            self.logit_scale.fill_(3.5)
        self.eval()

    @torch.no_grad()
    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.token_embedding(tokens) + self.positional_embedding[: tokens.shape[1]]
        mask = torch.full((tokens.shape[1],) * 2, float("-inf")).triu(1)
        x = self.ln_final(self.transformer(x, mask))
        return x[torch.arange(len(x)), tokens.argmax(-1)] @ self.text_projection

    @torch.no_grad()
    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.visual(pixels)


def make_config(**model_cfg: Any) -> dict[str, Any]:
    """A tiny model's `open_clip_config.json`; `vision_cfg` and `text_cfg` add to those here."""
    vision = {"image_size": IMAGE_SIZE, "layers": 2, "width": 16, "head_width": 4, "patch_size": 8, "mlp_ratio": 3.0}
    vocabulary = len(make_processor().tokenizer)
    text = {"context_length": CONTEXT, "vocab_size": vocabulary, "width": 12, "heads": 3, "layers": 3}
    towers = {
        "vision_cfg": {**vision, **model_cfg.pop("vision_cfg", {})},
        "text_cfg": {**text, **model_cfg.pop("text_cfg", {})},
    }
    pictures = {
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.25, 0.3],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    return {"model_cfg": {"embed_dim": DIM, **towers, **model_cfg}, "preprocess_cfg": pictures}


def write_open_clip(
    folder: Path,
    config: dict[str, Any] | None = None,
    seed: int = 0,
    suffix: str = ".safetensors",
    tokenizer: bool = True,
) -> OpenClip:
    """Write a checkpoint as open_clip has it on the Hub, and give the model."""
    config = config or make_config()
    folder.mkdir(parents=True, exist_ok=True)
    model = OpenClip(config["model_cfg"], seed)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    if suffix == ".safetensors":
        save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    else:
        torch.save(model.state_dict(), folder / f"open_clip_pytorch_model{suffix}")
    if tokenizer:
        make_processor().tokenizer.save_pretrained(folder)
    return model


def open_clip_tokens(texts: list[str]) -> torch.Tensor:
    """Texts as open_clip's tokenizer makes them: cut at the context with the end kept, and padded with 0."""
    tokenizer = make_processor().tokenizer
    rows = torch.zeros(len(texts), CONTEXT, dtype=torch.long)
    for row, text in zip(rows, texts):
        tokens = tokenizer(text, truncation=False).input_ids[:CONTEXT]
        tokens[-1] = tokenizer.eos_token_id
        row[: len(tokens)] = torch.tensor(tokens)
    return rows


def open_clip_pixels(pictures: list[Image.Image], config: dict[str, Any]) -> torch.Tensor:
    """Pictures as open_clip's transform makes them: resized, cut out in the middle, and normalized."""
    settings, size = config["preprocess_cfg"], config["model_cfg"]["vision_cfg"]["image_size"]
    resample = Image.BILINEAR if settings.get("interpolation") == "bilinear" else Image.BICUBIC
    mean, std = (torch.tensor(settings[name]).view(3, 1, 1) for name in ("mean", "std"))
    made = []
    for picture in pictures:
        width, height = picture.size
        if settings.get("resize_mode") == "squash":
            picture = picture.resize((size, size), resample)
        else:
            short = min(width, height)
            width, height = int(size * width / short), int(size * height / short)
            left, top = round((width - size) / 2), round((height - size) / 2)
            picture = picture.resize((width, height), resample).crop((left, top, left + size, top + size))
        pixels = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1) / 255
        made.append((pixels - mean) / std)
    return torch.stack(made)
