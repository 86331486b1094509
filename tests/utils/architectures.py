"""Tiny random models of every architecture, with the processors that belong to them."""

import string
from collections.abc import Callable
from typing import Any

import torch
import transformers
from transformers import CLIPProcessor, PreTrainedModel, ProcessorMixin
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from hf_newsmatch.models.tipsv2 import Tipsv2ImageProcessorPil
from tests.utils.news import CONTEXT, IMAGE_SIZE, make_model, make_processor

DIM = 8
TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {**TOWER, "image_size": IMAGE_SIZE, "patch_size": 8}
LETTERS = string.ascii_letters + string.digits + ".,-äöüß"


def bert_tokenizer(lower: bool = True, **kwargs: Any):
    """Spells words letter by letter."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    vocab = {token: number for number, token in enumerate(tokens)}
    return transformers.BertTokenizer(vocab=vocab, do_lower_case=lower, model_max_length=CONTEXT, **kwargs)


def roberta_tokenizer():
    """XLM-R's kind: sentence pieces of one letter."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *LETTERS, "<mask>"]
    vocab = [(piece, 0.0 if number < 4 else -2.0) for number, piece in enumerate(pieces)]
    return transformers.XLMRobertaTokenizer(vocab=vocab, model_max_length=CONTEXT)


def bpe_vocab(*special: str) -> dict[str, int]:
    """A vocabulary of letters for byte pair encodings of the sentencepiece kind."""
    tokens = [*special, "▁", *LETTERS, *(f"<0x{byte:02X}>" for byte in range(256))]
    return {token: number for number, token in enumerate(tokens)}


def siglip_tokenizer():
    """The tokenizer of SigLIP 2, which reads lower case."""
    vocab = bpe_vocab("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
    return transformers.Siglip2Tokenizer(vocab=vocab, merges=[], model_max_length=CONTEXT, padding_side="right")


def siglip_text() -> dict[str, Any]:
    return {
        **TOWER,
        "vocab_size": len(siglip_tokenizer()),
        "max_position_embeddings": CONTEXT,
        "projection_size": TOWER["hidden_size"],
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 2,
    }


def pictures(**kwargs: Any):
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    return transformers.ViTImageProcessorPil(size=size, **kwargs)


def make_siglip() -> tuple[PreTrainedModel, ProcessorMixin]:
    config = transformers.SiglipConfig(text_config=siglip_text(), vision_config=VISION)
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    images = transformers.SiglipImageProcessorPil(size=size)
    return transformers.SiglipModel(config), transformers.SiglipProcessor(images, siglip_tokenizer())


def make_siglip2(naflex: bool = True) -> tuple[PreTrainedModel, ProcessorMixin]:
    if not naflex:  # the fixed ones are published as SigLIP's type with SigLIP 2's tokenizer
        return make_siglip()
    vision = {**TOWER, "num_patches": 16, "patch_size": 4}
    config = transformers.Siglip2Config(text_config=siglip_text(), vision_config=vision)
    images = transformers.Siglip2ImageProcessorPil(patch_size=4, max_num_patches=16)
    return transformers.Siglip2Model(config), transformers.Siglip2Processor(images, siglip_tokenizer())


def make_metaclip_2() -> tuple[PreTrainedModel, ProcessorMixin]:
    tokenizer = roberta_tokenizer()
    text = {
        **TOWER,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": CONTEXT,
        "projection_dim": DIM,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = transformers.MetaClip2Config(text_config=text, vision_config=VISION, projection_dim=DIM)
    return transformers.MetaClip2Model(config), CLIPProcessor(clip_pictures(), tokenizer)


def clip_pictures():
    return CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE}, crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    )


def bert_text(tokenizer) -> dict[str, Any]:
    return {**TOWER, "vocab_size": len(tokenizer), "max_position_embeddings": CONTEXT, "pad_token_id": 0}


def make_chinese_clip() -> tuple[PreTrainedModel, ProcessorMixin]:
    tokenizer = bert_tokenizer()
    config = transformers.ChineseCLIPConfig(text_config=bert_text(tokenizer), vision_config=VISION, projection_dim=DIM)
    images = transformers.ChineseCLIPImageProcessorPil(
        size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}, do_center_crop=False
    )
    return transformers.ChineseCLIPModel(config), transformers.ChineseCLIPProcessor(images, tokenizer)


def make_altclip() -> tuple[PreTrainedModel, ProcessorMixin]:
    tokenizer = roberta_tokenizer()
    text = {
        **bert_text(tokenizer),
        "max_position_embeddings": CONTEXT + 2,  # two more than can be used, as RoBERTa's
        "pad_token_id": 1,
        "project_dim": 12,
    }
    config = transformers.AltCLIPConfig(text_config=text, vision_config=VISION, projection_dim=DIM)
    return transformers.AltCLIPModel(config), transformers.AltCLIPProcessor(clip_pictures(), tokenizer)


def efficientnet() -> dict[str, Any]:
    return {
        "image_size": 32,
        "width_coefficient": 0.25,
        "depth_coefficient": 0.25,
        "hidden_dim": 8,
        "in_channels": [8, 8],
        "out_channels": [8, 16],
        "kernel_sizes": [3, 3],
        "strides": [1, 2],
        "num_block_repeats": [1, 1],
        "expand_ratios": [1, 2],
        "depthwise_padding": [],
    }


def make_align() -> tuple[PreTrainedModel, ProcessorMixin]:
    tokenizer = bert_tokenizer()
    config = transformers.AlignConfig(
        text_config=bert_text(tokenizer), vision_config=efficientnet(), projection_dim=DIM, temperature_init_value=0.5
    )
    images = transformers.EfficientNetImageProcessorPil(size={"height": 32, "width": 32})
    return transformers.AlignModel(config), transformers.AlignProcessor(images, tokenizer)


def make_tipsv2() -> tuple[PreTrainedModel, ProcessorMixin]:
    tokenizer = transformers.Tipsv2Tokenizer(vocab=bpe_vocab("<pad>", "<unk>"), merges=[], model_max_length=CONTEXT)
    text = {**TOWER, "vocab_size": len(tokenizer), "max_position_embeddings": CONTEXT}
    vision = {**TOWER, "image_size": IMAGE_SIZE, "patch_size": 8, "num_register_tokens": 1}
    vision.pop("intermediate_size")
    config = transformers.Tipsv2Config(text_config=text, vision_config=vision, temperature_init_value=0.2)
    images = Tipsv2ImageProcessorPil(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE})
    return transformers.Tipsv2Model(config), transformers.Tipsv2Processor(images, tokenizer)


def make_dual_encoder() -> tuple[PreTrainedModel, ProcessorMixin]:
    tokenizer = bert_tokenizer(lower=False)
    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(
        transformers.ViTConfig(**VISION), transformers.BertConfig(**bert_text(tokenizer)), projection_dim=DIM
    )
    processor = transformers.VisionTextDualEncoderProcessor(pictures(), tokenizer)
    return transformers.VisionTextDualEncoderModel(config), processor


def make_clip() -> tuple[PreTrainedModel, ProcessorMixin]:
    processor = make_processor()
    return make_model(processor), processor


MAKERS: dict[str, Callable[[], tuple[PreTrainedModel, ProcessorMixin]]] = {
    "clip": make_clip,
    "siglip": make_siglip,
    "siglip2": make_siglip2,
    "metaclip_2": make_metaclip_2,
    "chinese_clip": make_chinese_clip,
    "altclip": make_altclip,
    "align": make_align,
    "tipsv2": make_tipsv2,
    "vision-text-dual-encoder": make_dual_encoder,
}


def make_tiny(name: str, seed: int = 0) -> tuple[PreTrainedModel, ProcessorMixin]:
    """A model of an architecture, of a few thousand weights, and its processor."""
    torch.manual_seed(seed)
    model, processor = MAKERS[name]()
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn_like(parameter) * 0.3)
        for module in model.modules():  # as transformers does when it loads a model
            if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
                module.weight[module.padding_idx] = 0
        if hasattr(model, "logit_bias"):
            model.logit_scale.fill_(1.5)
            model.logit_bias.fill_(-1.0)
        if name == "vision-text-dual-encoder":  # which counts as never trained with the initial one
            model.logit_scale.fill_(2.5)
    return model.eval(), processor
