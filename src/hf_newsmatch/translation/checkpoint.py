"""A Marian checkpoint without its weights: its languages, generation settings, tokenizer and identity."""

import hashlib
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, GenerationConfig, MarianMTModel, MarianTokenizer

from ..errors import NewsMatchError, explain, first_sentence
from ..models.loading import DEMO_MODEL
from ..utils.files import sha256
from .languages import base_language

# Marian models are trained on sentences; far longer input is cut or invented upon, whatever positions there are.
_LONGEST_SOURCE = 128
# Sentences are cut before they are encoded; the tokenizer need not warn while their length is found out.
_NO_LIMIT = 10**9
_PAIR_IN_NAME = re.compile(r"-([a-z]{2,3})-([a-z]{2,3})$", re.IGNORECASE)


class MarianCheckpoint:
    """Configuration, tokenizer, generation settings and languages of a Marian checkpoint.

    Args:
        name_or_path (`str` or `Path`):
            A Hub id, a folder, or `"demo"`, the tiny German-English one inside the package.
        revision (`str`, *optional*):
            Branch, tag or commit of a Hub id.
        source_language (`str`, *optional*):
            The language it translates from, when the checkpoint does not say so, or says a group of them.
        target_language (`str`, *optional*):
            The language it translates into, likewise.
        generation (`Mapping[str, Any]`, *optional*):
            Changes of the checkpoint's own generation config, `{"num_beams": 1}` for example.

    Raises:
        [`NewsMatchError`]: when there is no such checkpoint, it is no Marian, or it does not translate this pair.
    """

    def __init__(
        self,
        name_or_path: str | Path,
        revision: str | None = None,
        source_language: str | None = None,
        target_language: str | None = None,
        generation: Mapping[str, Any] | None = None,
    ):
        self.name = str(name_or_path)
        self.source = str(files("hf_newsmatch") / "demo" / "marian_de_en") if self.name == DEMO_MODEL else self.name
        with self.explained():
            self.config = AutoConfig.from_pretrained(self.source, revision=revision)
        if self.config.model_type != "marian":
            raise NewsMatchError(
                f"'{name_or_path}' is a '{self.config.model_type}' checkpoint, not Marian; name one like"
                " Helsinki-NLP/opus-mt-de-en."
            )
        self.revision = getattr(self.config, "_commit_hash", None) or revision
        with self.explained(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it recommends sacremoses, which it does not use
            self.tokenizer = MarianTokenizer.from_pretrained(self.source, revision=self.revision)
        self.tokenizer.model_max_length = _NO_LIMIT
        self.generation = self._generation(generation or {})
        self.source_language, self.target_language, self._prefix = self._languages(source_language, target_language)
        self.longest_output = min(
            self.generation.max_length or self.config.max_position_embeddings, self.config.max_position_embeddings
        )
        self.longest_source = min(_LONGEST_SOURCE, self.longest_output // 2)

    @property
    def identity(self) -> str:
        """The commit of a Hub id, or a hash of the weights and the tokenizer: translations depend on nothing else."""
        folder = Path(self.source)
        if not folder.is_dir():
            return f"{self.name}@{self.revision}"
        weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
        tokenizer = [file for name in ("source.spm", "target.spm", "vocab.json") if (file := folder / name).is_file()]
        return hashlib.sha256("".join(map(sha256, [*weights, *tokenizer])).encode()).hexdigest()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of sentences, each with the end token."""
        # the tokenizer takes a leading >> for a language code, but in news it opens a quotation
        cleaned = [self._prefix + text.replace(">>", "»").replace("<<", "«") for text in texts]
        return self.tokenizer(cleaned, truncation=False)["input_ids"] if cleaned else []

    def decode(self, ids: Sequence[int]) -> str:
        """The text of generated token ids."""
        return self.tokenizer.decode(ids, skip_special_tokens=True).strip()

    def load_model(self, dtype: torch.dtype) -> MarianMTModel:
        """Load the weights, in evaluation mode on the CPU."""
        with self.explained():
            model, report = MarianMTModel.from_pretrained(
                self.source, config=self.config, revision=self.revision, dtype=dtype, output_loading_info=True
            )
        if report["missing_keys"]:
            raise NewsMatchError(
                f"The checkpoint '{self.name}' lacks {len(report['missing_keys'])} weights of its own configuration,"
                f" first {min(report['missing_keys'])}; download or save it again."
            )
        return model.eval()

    def explained(self) -> AbstractContextManager[None]:
        """A context that turns the errors of loading into a [`NewsMatchError`] of one sentence."""
        # the tokenizer raises a TypeError on a folder without its files, and an AssertionError on a missing one
        kinds = (OSError, ValueError, TypeError, KeyError, AssertionError, RuntimeError, SafetensorError)
        return explain(
            *kinds, sentence=lambda error: f"No Marian checkpoint in '{self.name}': {first_sentence(error)}."
        )

    def _generation(self, changes: Mapping[str, Any]) -> GenerationConfig:
        try:
            generation = GenerationConfig.from_pretrained(self.source, revision=self.revision)
        except OSError:  # older checkpoints keep these settings among the model's
            generation = GenerationConfig.from_model_config(self.config)
        unknown = generation.update(**changes)
        if unknown:
            raise NewsMatchError(f"'{next(iter(unknown))}' is no setting of generation; num_beams is one.")
        if generation.num_beams is not None and generation.num_beams < 1:
            raise NewsMatchError(f"num_beams is {generation.num_beams}; give at least 1.")
        if generation.do_sample:
            raise NewsMatchError(f"'{self.name}' samples its output; pass generation={{'do_sample': False}}.")
        return generation

    def _languages(self, source: str | None, target: str | None) -> tuple[str, str, str]:
        """The source, the target, and the prefix of each sentence, which a model with several targets needs."""
        named = _PAIR_IN_NAME.search(self.name.rstrip("/"))
        known = {
            "source": self.tokenizer.source_lang or (named and named[1]),
            "target": self.tokenizer.target_lang or (named and named[2]),
        }
        pair: dict[str, str] = {}
        for side, wanted in (("source", source), ("target", target)):
            own = base_language(known[side]) if known[side] else None
            language = base_language(wanted) if wanted else own
            if language is None:
                raise NewsMatchError(
                    f"'{self.name}' does not say its {side} language; name it with {side}_language=…"
                    f" (--{side}_language)."
                )
            pair[side] = language
            # a code of three letters may stand for a group of languages that the wanted one belongs to
            if wanted and own and len(own) == 2 and own != pair[side]:
                direction = "from" if side == "source" else "into"
                raise NewsMatchError(
                    f"'{self.name}' translates {direction} '{own}', not '{pair[side]}'; name a checkpoint of that"
                    " pair, as Helsinki-NLP/opus-mt-de-en is for German to English."
                )
        codes = self.tokenizer.supported_language_codes
        if not codes:
            return pair["source"], pair["target"], ""
        prefix = next((code for code in codes if base_language(code.strip("<>")) == pair["target"]), None)
        if prefix is None:
            raise NewsMatchError(
                f"'{self.name}' does not translate into '{pair['target']}'; it knows {' '.join(codes[:10])}."
            )
        return pair["source"], pair["target"], f"{prefix} "
