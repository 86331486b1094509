"""The translator of texts: it splits, protects, looks up, generates, checks and joins."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from ..configs import DEFAULT_TRANSLATION_MODEL
from ..errors import NewsMatchError, first_sentence
from .backends import make_backend
from .cache import Generated, TranslationCache
from .checkpoint import MarianCheckpoint
from .guard import find_problem, output_limit
from .processes import Processes
from .protection import cut_at, has_words, lost_spans, peel
from .sentences import cut_long, split_sentences

logger = logging.getLogger(__name__)

# Shorter sentences count as that long in a batch: the memory that each of its beams needs does not shrink with them.
_SHORTEST = 32
# A component of the cache's key: raise it when the rules change by which an output is stopped or refused.
_GUARD_VERSION = 1


@dataclass
class TranslationReport:
    """The counts of a [`Translator`] since it was made.

    Args:
        sentences (`int`):
            The number of sentences that were to be translated, counted each time they occur.
        distinct (`int`):
            The number of different sentences, counted anew in every call.
        from_cache (`int`):
            The number of different sentences that came from the cache.
        in_parts (`int`):
            The number of different sentences that were translated around a number, address or handle that the model
            had lost.
        kept (`list[dict]`):
            The sentences that keep their source text: `sentence`, `reason` and the refused `output`.
    """

    sentences: int = 0
    distinct: int = 0
    from_cache: int = 0
    in_parts: int = 0
    kept: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Document:
    """A translated text.

    Args:
        text (`str`):
            The translation.
        translated (`bool`):
            Whether any of its sentences is translated; `False` when the guard refused them all.
    """

    text: str
    translated: bool


@dataclass(frozen=True)
class _Result:
    text: str
    problem: str | None = None
    refused: str = ""
    in_parts: bool = False
    cached: bool = False


@dataclass(frozen=True)
class _Segment:
    """A stretch of a text: words to translate, between characters that stay."""

    before: str
    words: str
    after: str


class Translator:
    """Translates texts with a Marian checkpoint.

    In float32 the translation of a sentence does not depend on the other sentences: neither on its batch nor on their
    order. It is the output of `model.generate` for the sentence alone, unless that output is refused (empty, repeating
    itself, or many times longer than the source) or has lost an address, a handle or a number.

    Under `accelerate launch` or `torchrun` the processes share the sentences, and each gets all translations.

    Args:
        model_name_or_path (`str` or `Path`, *optional*, defaults to `"Helsinki-NLP/opus-mt-de-en"`):
            A Marian checkpoint: a Hub id, a folder, or `"demo"`, the tiny German-English one inside the package.
        revision (`str`, *optional*):
            Branch, tag or commit of a Hub id.
        source_language (`str`, *optional*):
            The language it translates from, when the checkpoint does not say so.
        target_language (`str`, *optional*):
            The language it translates into, likewise.
        backend (`str`, *optional*, defaults to `"torch"`):
            `"torch"` or `"ctranslate2"`.
        dtype (`str`, *optional*):
            The type that the backend computes in; by default float32 with PyTorch and int8 with CTranslate2.
        device (`str` or `torch.device`, *optional*):
            The device of the model; by default the accelerator when there is one.
        generation (`Mapping[str, Any]`, *optional*):
            Changes of the checkpoint's own generation config, `{"num_beams": 1}` for example.
        tokens_per_batch (`int`, *optional*):
            The number of source tokens a batch, padding included; by default 1024 on a CPU, which gains nothing by
            more, and 4096 elsewhere.
        cache_file (`str` or `Path`, *optional*):
            The sqlite file of the cache of translations; by default one in the cache of `datasets`.
        share (`bool`, *optional*, defaults to `True`):
            Whether several processes share the work. Then all of them have to call [`translate`] with the same texts;
            with `False`, each translates the texts that it is given.
        progress (`bool`, *optional*, defaults to `True`):
            Whether to show a progress bar.

    Raises:
        [`NewsMatchError`]: when there is no such checkpoint or backend, or it does not translate this pair.
    """

    def __init__(
        self,
        model_name_or_path: str | Path = DEFAULT_TRANSLATION_MODEL,
        revision: str | None = None,
        *,
        source_language: str | None = None,
        target_language: str | None = None,
        backend: str = "torch",
        dtype: str | None = None,
        device: str | torch.device | None = None,
        generation: Mapping[str, Any] | None = None,
        tokens_per_batch: int | None = None,
        cache_file: str | Path | None = None,
        share: bool = True,
        progress: bool = True,
    ):
        if tokens_per_batch is not None and tokens_per_batch < 1:
            raise NewsMatchError(f"tokens_per_batch is {tokens_per_batch}; give at least 1.")
        self.checkpoint = MarianCheckpoint(model_name_or_path, revision, source_language, target_language, generation)
        self._processes = Processes(share)
        place = self._processes.device if device is None else _usable(device)
        self.backend = make_backend(backend, self.checkpoint, place, dtype)
        self.tokens_per_batch = tokens_per_batch or (1024 if place.type == "cpu" else 4096)
        self.progress = progress
        self.report = TranslationReport()
        self._cache_file = cache_file

    @cached_property
    def cache(self) -> TranslationCache:
        """The cache of translations by this checkpoint with these settings."""
        generation = self.checkpoint.generation.to_diff_dict()
        generation = {name: value for name, value in generation.items() if not name.startswith(("_", "transformers"))}
        settings = {
            "model": self.checkpoint.identity,
            "target": self.checkpoint.target_language,
            "generation": generation,
            "guard": _GUARD_VERSION,
            **self.backend.settings,
        }
        return TranslationCache(settings, self._cache_file)

    def translate(self, texts: Sequence[str], max_sentences: int | None = None) -> list[str]:
        """Translate texts of any length.

        Args:
            texts (`Sequence[str]`):
                The texts, all in the source language.
            max_sentences (`int`, *optional*):
                The number of sentences of each text to translate; the others are left out, for CLIP reads 77 tokens.
                By default all.

        Returns:
            `list[str]`: The translations, in order.

        Raises:
            [`NewsMatchError`]: when `max_sentences` is below 1, or the cache cannot be used.
        """
        return [document.text for document in self.translate_documents(texts, max_sentences)]

    def translate_documents(self, texts: Sequence[str], max_sentences: int | None = None) -> list[Document]:
        """As [`translate`], with whether any sentence of a text was translated."""
        if max_sentences is not None and max_sentences < 1:
            raise NewsMatchError(f"max_sentences is {max_sentences}; give at least 1.")
        plans = {text: self._plan(text, max_sentences) for text in dict.fromkeys(texts)}
        counts = Counter(segment.words for text in texts for segment in plans[text] if segment.words)
        results = self._processes.translate(list(counts), self._translate_sentences)
        self._count(counts, results)
        documents = {text: _join(plan, results) for text, plan in plans.items()}
        return [documents[text] for text in texts]

    def _plan(self, text: str, max_sentences: int | None) -> list[_Segment]:
        """Cut a text into segments of words to translate and characters that stay."""
        segments, gap = [], ""
        for sentence in split_sentences(text, self.checkpoint.source_language)[:max_sentences]:
            for piece in cut_long(sentence, self._fits):
                before, words, after = peel(piece)
                if has_words(words):
                    segments.append(_Segment(gap + before, words, after))
                else:
                    segments.append(_Segment(gap + piece, "", ""))
                gap = ""
            # paragraphs that were joined without a space get one
            gap = "" if sentence[-1].isspace() else " "
        return segments

    def _fits(self, text: str) -> bool:
        # a token has at least one character; one begins the sentence and one ends it
        longest = self.checkpoint.longest_source
        return len(text) + 2 <= longest or len(self.checkpoint.encode([text.strip()])[0]) <= longest

    def _translate_sentences(self, sentences: Sequence[str]) -> dict[str, _Result]:
        """Translate different sentences; a sentence whose translation loses a span is translated around the span."""
        first, cached = self._generate(sentences)
        lost = {}
        for sentence, made in first.items():
            # a refused output is not used, so it loses nothing
            if made.problem is None and (spans := lost_spans(sentence, made.text)):
                lost[sentence] = cut_at(sentence, spans)
        stretches = {
            stretch: _cut_space(stretch)
            for pieces in lost.values()
            for stretch, protected in pieces
            if not protected and has_words(stretch)
        }
        around = dict.fromkeys(words for _, words, _ in stretches.values())
        second, _ = self._generate(list(around), "Translating around numbers and addresses")

        results = {}
        for sentence, made in first.items():
            if made.problem:
                results[sentence] = _Result(sentence, made.problem, made.text, cached=sentence in cached)
            elif sentence not in lost:
                results[sentence] = _Result(made.text, cached=sentence in cached)
            else:
                text = ""
                for stretch, _ in lost[sentence]:
                    before, words, after = stretches.get(stretch, ("", stretch, ""))
                    own = second.get(words)
                    # a stretch that its own translation would spoil again stays as it is
                    spoilt = own is None or own.problem or lost_spans(words, own.text)
                    piece = before + (words if own is None or spoilt else own.text) + after
                    # the hyphen of "42-jährig", say, has gone with the translation
                    glued = text[-1:].isalnum() and piece[:1].isalnum()
                    text += f" {piece}" if glued else piece
                results[sentence] = _Result(text, in_parts=True, cached=sentence in cached)
        return results

    def _generate(
        self, sentences: Sequence[str], description: str = "Translating"
    ) -> tuple[dict[str, Generated], set[str]]:
        """The model's outputs for different sentences, and the sentences whose outputs were in the cache."""
        done = self.cache.get(sentences)
        cached = set(done)
        pending = [sentence for sentence in sentences if sentence not in done]
        show = self.progress and self._processes.first and bool(pending)
        with tqdm(total=len(pending), desc=description, unit="sentence", disable=not show) as bar:
            for batch in self._batches(pending):
                made = self._generate_batch(batch)
                self.cache.put(made)
                done |= made
                bar.update(len(made))
        return {sentence: done[sentence] for sentence in sentences}, cached

    def _generate_batch(self, batch: Mapping[str, list[int]]) -> dict[str, Generated]:
        limit = self._limit(max(map(len, batch.values())))
        outputs = self.backend.generate(list(batch.values()), limit)
        made = {}
        for sentence, ids in zip(batch, outputs):
            text = self.checkpoint.decode(ids)
            made[sentence] = Generated(text, find_problem(sentence, text, len(ids), limit))
        return made

    def _batches(self, sentences: Sequence[str]) -> Iterator[dict[str, list[int]]]:
        """Sentences with their token ids, longest first so that a batch too large for the memory shows at once."""
        encoded = dict(zip(sentences, self.checkpoint.encode(sentences)))
        batch: dict[str, list[int]] = {}
        longest = 0
        for sentence in sorted(encoded, key=lambda sentence: (-len(encoded[sentence]), sentence)):
            ids = encoded[sentence]
            full = (len(batch) + 1) * max(longest, _SHORTEST) > self.tokens_per_batch
            # of one limit only: where a sentence is stopped must not depend on its neighbours
            if batch and (full or self._limit(len(ids)) != self._limit(longest)):
                yield batch
                batch = {}
            longest = longest if batch else len(ids)
            batch[sentence] = ids
        if batch:
            yield batch

    def _limit(self, source_tokens: int) -> int:
        return min(output_limit(source_tokens), self.checkpoint.longest_output - 1)

    def _count(self, counts: Mapping[str, int], results: Mapping[str, _Result]) -> None:
        report, before = self.report, len(self.report.kept)
        report.sentences += sum(counts.values())
        report.distinct += len(counts)
        for sentence, result in results.items():
            report.from_cache += result.cached
            report.in_parts += result.in_parts
            if result.problem:
                report.kept.append({"sentence": sentence, "reason": result.problem, "output": result.refused})
        kept = report.kept[before:]
        if kept:
            reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(k["reason"] for k in kept).items())
            logger.warning(
                "%d of %d sentences keep their source text, since the output cannot be a translation (%s): %s%s.",
                len(kept),
                len(counts),
                reasons,
                "; ".join(repr(_shortened(item["sentence"])) for item in kept[:5]),
                "; …" if len(kept) > 5 else "",
            )


def _usable(device: str | torch.device) -> torch.device:
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise NewsMatchError(f"There is no device '{device}' here: {first_sentence(error)}.") from error


def _cut_space(stretch: str) -> tuple[str, str, str]:
    """The white space before the words of a stretch, the words, and the white space behind them."""
    words = stretch.strip()
    start = stretch.index(words)
    return stretch[:start], words, stretch[start + len(words) :]


def _join(plan: Sequence[_Segment], results: Mapping[str, _Result]) -> Document:
    text, refused, translated = "", False, False
    for segment in plan:
        words = segment.words
        if words:
            result = results[words]
            refused, translated = refused or bool(result.problem), translated or not result.problem
            words = result.text
        text += segment.before + words + segment.after
    return Document(text.rstrip(), translated or not refused)


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
