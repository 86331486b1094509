"""Tiny Marian translation models, built from parallel sentences for the demo and the tests.

Such a model is a Marian in all respects but size: the same files, the same tokenizer, loaded by the same classes.
"""

import io
import json
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import sentencepiece
import torch
from tqdm.auto import tqdm
from transformers import GenerationConfig, MarianConfig, MarianMTModel, MarianTokenizer

from ..errors import NewsMatchError, first_sentence
from ..utils.files import atomic_path

POSITIONS = 128


def build_tiny_marian(
    pairs: Sequence[tuple[str, str]],
    folder: str | Path,
    *,
    source_language: str = "de",
    target_language: str = "en",
    vocab_size: int = 700,
    d_model: int = 64,
    layers: int = 2,
    epochs: int = 8,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
    num_beams: int = 4,
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Train a tokenizer and a model on parallel sentences, and save them in half precision.

    Args:
        pairs (`Sequence[tuple[str, str]]`):
            Sentences and their translations.
        folder (`str` or `Path`):
            The folder to write; replaced when it exists.
        source_language (`str`, *optional*, defaults to `"de"`):
            The language of the sentences.
        target_language (`str`, *optional*, defaults to `"en"`):
            The language of the translations.
        vocab_size (`int`, *optional*, defaults to 700):
            The number of pieces of the vocabulary, which both languages share.
        d_model (`int`, *optional*, defaults to 64):
            The width of the model.
        layers (`int`, *optional*, defaults to 2):
            The number of layers of the encoder, and of the decoder.
        epochs (`int`, *optional*, defaults to 8):
            The number of times that each pair is seen.
        batch_size (`int`, *optional*, defaults to 64):
            The number of pairs a step.
        learning_rate (`float`, *optional*, defaults to 3e-3):
            The highest learning rate, after a tenth of the steps; it falls to zero along a cosine.
        num_beams (`int`, *optional*, defaults to 4):
            The number of beams in the generation config.
        seed (`int`, *optional*, defaults to 0):
            The seed of the weights and of the order.
        progress (`bool`, *optional*, defaults to `True`):
            Whether to show a progress bar.

    Returns:
        `Path`: The folder.

    Raises:
        [`NewsMatchError`]: when there are too few pairs for such a vocabulary.
    """
    with atomic_path(folder) as temporary, torch.random.fork_rng(devices=[]):
        temporary.mkdir()
        tokenizer = build_tokenizer(pairs, temporary, source_language, target_language, vocab_size)
        torch.manual_seed(seed)
        model = MarianMTModel(_config(tokenizer, d_model, layers))
        _clear_padding(model)
        _train(model, tokenizer, pairs, epochs, batch_size, learning_rate, progress)
        model.generation_config = GenerationConfig(
            max_length=POSITIONS,
            num_beams=num_beams,
            bad_words_ids=[[tokenizer.pad_token_id]],
            decoder_start_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            forced_eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        model.half().save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    return Path(folder)


def build_tokenizer(
    pairs: Sequence[tuple[str, str]], folder: Path, source: str, target: str, vocab_size: int
) -> MarianTokenizer:
    """Make a Marian tokenizer with one vocabulary for both languages, its files in `folder`."""
    pieces = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([text for pair in pairs for text in pair]),
            model_writer=pieces,
            vocab_size=vocab_size,
            model_type="bpe",
            # the normalisation rules of Unicode would add 240 KB to the file
            normalization_rule_name="identity",
            character_coverage=1.0,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise NewsMatchError(f"No vocabulary of {vocab_size} pieces can be made: {first_sentence(error)}.") from error
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(pieces.getvalue())
    model = sentencepiece.SentencePieceProcessor(model_proto=pieces.getvalue())
    own = [model.id_to_piece(number) for number in range(len(model)) if not model.is_control(number)]
    # the order of the published checkpoints: the end token first, the padding last
    vocab = ["</s>", "<unk>", *(piece for piece in own if piece != "<unk>"), "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(vocab)}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it recommends sacremoses, which it does not use
        return MarianTokenizer(
            str(folder / "source.spm"),
            str(folder / "target.spm"),
            str(folder / "vocab.json"),
            source_lang=source,
            target_lang=target,
            model_max_length=POSITIONS,
        )


def _config(tokenizer: MarianTokenizer, d_model: int, layers: int) -> MarianConfig:
    return MarianConfig(
        vocab_size=len(tokenizer),
        d_model=d_model,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=2 * d_model,
        decoder_ffn_dim=2 * d_model,
        max_position_embeddings=POSITIONS,
        activation_function="swish",
        scale_embedding=True,
        dropout=0.0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=None,
        # generation starts the decoder from the padding, so training has to
        decoder_start_token_id=tokenizer.pad_token_id,
    )


def _train(
    model: MarianMTModel,
    tokenizer: MarianTokenizer,
    pairs: Sequence[tuple[str, str]],
    epochs: int,
    batch_size: int,
    learning_rate: float,
    progress: bool,
) -> None:
    encoded = [
        (torch.tensor(source), torch.tensor(target))
        for source, target in zip(
            tokenizer([source for source, _ in pairs])["input_ids"],
            tokenizer(text_target=[target for _, target in pairs])["input_ids"],
        )
    ]
    total = epochs * math.ceil(len(encoded) / batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total, pct_start=0.1)
    model.train()
    with tqdm(total=total, desc="Training the translator", unit="step", disable=not progress) as bar:
        for _ in range(epochs):
            for batch in _batches(encoded, batch_size):
                sources, targets = zip(*batch)
                ids = torch.nn.utils.rnn.pad_sequence(sources, True, tokenizer.pad_token_id)
                labels = torch.nn.utils.rnn.pad_sequence(targets, True, -100)
                loss = model(input_ids=ids, attention_mask=ids != tokenizer.pad_token_id, labels=labels).loss
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                scheduler.step()
                _clear_padding(model)
                bar.update()
                bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    model.eval()


@torch.no_grad()
def _clear_padding(model: MarianMTModel) -> None:
    """Set the padding's embedding to zero, as in published Marians: CTranslate2 starts the decoder from zeros."""
    model.model.shared.weight[model.config.pad_token_id] = 0


def _batches(encoded: Sequence[tuple[torch.Tensor, torch.Tensor]], size: int) -> Iterator[list]:
    """Batches of similar length, in an order that is new in every epoch."""
    order = sorted(torch.randperm(len(encoded)).tolist(), key=lambda i: len(encoded[i][0]))
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    for number in torch.randperm(len(batches)).tolist():
        yield [encoded[i] for i in batches[number]]
