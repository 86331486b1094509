"""The backends that run the model: PyTorch through transformers, or CTranslate2."""

import copy
import ctypes
import hashlib
import logging
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import datasets
import torch
from transformers import DynamicCache, EncoderDecoderCache, GenerationConfig, LogitsProcessor, LogitsProcessorList

from ..errors import NewsMatchError, first_sentence
from ..utils.files import atomic_path
from .checkpoint import MarianCheckpoint

logger = logging.getLogger(__name__)

# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class Backend(Protocol):
    """Generates translations of batches of sentences. Its model is loaded when the first batch comes.

    `settings` are the settings, beside the checkpoint, that its output depends on.
    """

    settings: dict[str, Any]

    def generate(self, batch: Sequence[Sequence[int]], limit: int) -> list[list[int]]:
        """The token ids of the best translation of each sentence, without those that begin and end it.

        Args:
            batch (`Sequence[Sequence[int]]`):
                The token ids of the sentences.
            limit (`int`):
                The number of tokens after which each output is stopped, the end token included.
        """


class TorchBackend:
    """The backend of PyTorch, `model.generate` of transformers.

    Args:
        checkpoint ([`MarianCheckpoint`]):
            The checkpoint.
        device (`torch.device`):
            The device of the model.
        dtype (`str`):
            `"float32"`, or `"float16"` or `"bfloat16"`, which change about one sentence in a hundred and make such a
            sentence depend on its batch.
    """

    def __init__(self, checkpoint: MarianCheckpoint, device: torch.device, dtype: str = "float32"):
        if dtype not in _DTYPES:
            raise NewsMatchError(f"The PyTorch backend computes in {', '.join(_DTYPES)}, not in '{dtype}'.")
        self.checkpoint, self.device, self.dtype = checkpoint, device, dtype
        self.settings = {"backend": "torch", "dtype": dtype}
        self._model = None

    @property
    def model(self) -> torch.nn.Module:
        """The model, loaded on first use."""
        if self._model is None:
            self._model = self.checkpoint.load_model(_DTYPES[self.dtype]).to(self.device)
            if self.device.type == "cpu":
                _transpose_head(self._model)
                _keep_freed_memory()
        return self._model

    @torch.inference_mode()
    def generate(self, batch: Sequence[Sequence[int]], limit: int) -> list[list[int]]:
        """See [`Backend`]."""
        config = self.model.config
        rows = [torch.tensor(ids) for ids in batch]
        # padded on the right: Marian's positions count from the left, padding there gives other translations
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=config.pad_token_id)
        lengths = torch.tensor([len(row) for row in rows])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        settings = copy.deepcopy(self.checkpoint.generation)
        settings.max_length = limit + 1  # the token that starts the decoder counts
        output = self.model.generate(
            input_ids=ids.to(self.device),
            attention_mask=mask.to(self.device),
            generation_config=settings,
            logits_processor=self._processors(settings),
            past_key_values=EncoderDecoderCache(DynamicCache(), _BeamSharedCache()),
        )
        ends = {config.eos_token_id, config.pad_token_id}
        return [[token for token in row if token not in ends] for row in output[:, 1:].tolist()]

    def _processors(self, settings: GenerationConfig) -> LogitsProcessorList:
        """The logits processors that replace slower ones: the settings, which are for this batch alone, lose those."""
        words = settings.bad_words_ids
        if not words or any(len(word) > 1 for word in words):
            return LogitsProcessorList()
        settings.bad_words_ids = None
        return LogitsProcessorList([_BanTokens([word[0] for word in words])])


def _transpose_head(model: torch.nn.Module) -> None:
    """Store a copy of the output projection by columns, which a CPU multiplies a third faster.

    Most of a step's work is this product. The embedding, whose weight it is, is read by rows and keeps its own.
    """
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().T.contiguous().T, requires_grad=False)


def _keep_freed_memory() -> None:
    """Let glibc keep freed memory, up to a gigabyte, for this process's next use.

    A step makes and frees several tensors of the vocabulary's size; given back to the system each time, their pages
    cost a tenth of the time to get anew.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        # older ones refuse such a threshold; the other alone would do harm
        if libc.mallopt(_M_MMAP_THRESHOLD, 2**30):
            libc.mallopt(_M_TRIM_THRESHOLD, 2**30)


class _BeamSharedCache(DynamicCache):
    """The keys and values of the source: the same for all beams of a sentence, however the beams are reordered."""

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Leave everything as it is; `transformers` would copy it in every step."""


class _BanTokens(LogitsProcessor):
    """Forbid tokens in place; `transformers` would make three more tensors of the vocabulary's size."""

    def __init__(self, tokens: list[int]):
        self.tokens = tokens

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores[:, self.tokens] = -float("inf")
        return scores


class CTranslate2Backend:
    """The backend of CTranslate2; the converted checkpoint is made on first use and kept in the cache of `datasets`.

    CTranslate2 has a beam search of its own: about one sentence in a hundred differs from PyTorch's, more with int8.

    Args:
        checkpoint ([`MarianCheckpoint`]):
            The checkpoint.
        device (`torch.device`):
            A CPU or CUDA device.
        dtype (`str`):
            `"int8"`, `"float32"`, or on CUDA also `"float16"` or `"int8_float16"`.
    """

    def __init__(self, checkpoint: MarianCheckpoint, device: torch.device, dtype: str = "int8"):
        try:
            import ctranslate2
        except ImportError as error:
            raise NewsMatchError(
                "The ctranslate2 backend is not installed: pip install 'hf-newsmatch[ctranslate2]'."
            ) from error
        if device.type not in ("cpu", "cuda"):
            raise NewsMatchError(f"CTranslate2 runs on CPU and CUDA, not on '{device.type}'; use --backend torch.")
        supported = ctranslate2.get_supported_compute_types(device.type)
        if dtype not in supported:
            raise NewsMatchError(
                f"CTranslate2 computes in {', '.join(sorted(supported))} on this {device.type}, not in '{dtype}'."
            )
        self.checkpoint, self.device, self.dtype = checkpoint, device, dtype
        self.settings = {"backend": f"ctranslate2 {ctranslate2.__version__}", "dtype": dtype}
        self._translator = None

    @property
    def translator(self) -> Any:
        """The converted model, loaded on first use."""
        if self._translator is None:
            import ctranslate2

            self._translator = ctranslate2.Translator(
                str(self._converted()),
                device=self.device.type,
                device_index=self.device.index or 0,
                compute_type=self.dtype,
                intra_threads=torch.get_num_threads(),
            )
        return self._translator

    def generate(self, batch: Sequence[Sequence[int]], limit: int) -> list[list[int]]:
        """See [`Backend`]."""
        tokenizer, settings = self.checkpoint.tokenizer, self.checkpoint.generation
        results = self.translator.translate_batch(
            [tokenizer.convert_ids_to_tokens(list(ids)) for ids in batch],
            beam_size=settings.num_beams or 1,
            length_penalty=1.0 if settings.length_penalty is None else settings.length_penalty,
            repetition_penalty=settings.repetition_penalty or 1.0,
            no_repeat_ngram_size=settings.no_repeat_ngram_size or 0,
            max_input_length=0,
            **self._lengths(limit),
        )
        return [tokenizer.convert_tokens_to_ids(result.hypotheses[0]) for result in results]

    def _lengths(self, limit: int) -> dict[str, int]:
        return {"max_decoding_length": limit - 1}

    def _converted(self) -> Path:
        """The folder of the converted checkpoint, made when it is missing."""
        from ctranslate2.converters import TransformersConverter

        key = hashlib.sha256(f"{self.checkpoint.identity} {self.settings}".encode()).hexdigest()[:32]
        folder = Path(datasets.config.HF_DATASETS_CACHE) / "newsmatch" / "ctranslate2" / key
        if not (folder / "model.bin").is_file():
            logger.info("Converting %s to CTranslate2 (%s), once.", self.checkpoint.name, self.dtype)
            with self.checkpoint.explained(), atomic_path(folder) as temporary:
                TransformersConverter(self._local_folder()).convert(str(temporary), quantization=self.dtype)
        return folder

    def _local_folder(self) -> str:
        """The folder of the checkpoint, downloaded if need be.

        The converter cannot be given a Hub id: it reads the configuration of the main branch, whatever the revision.
        """
        if Path(self.checkpoint.source).is_dir():
            return self.checkpoint.source
        from huggingface_hub import snapshot_download

        patterns = ["*.json", "*.spm", "*.safetensors"]
        folder = snapshot_download(self.checkpoint.source, revision=self.checkpoint.revision, allow_patterns=patterns)
        if not list(Path(folder).glob("*.safetensors")):
            snapshot_download(self.checkpoint.source, revision=self.checkpoint.revision, allow_patterns=["*.bin"])
        return folder


def make_backend(name: str, checkpoint: MarianCheckpoint, device: torch.device, dtype: str | None) -> Backend:
    """The backend of a name, `"torch"` or `"ctranslate2"`.

    Args:
        name (`str`):
            The name.
        checkpoint ([`MarianCheckpoint`]):
            The checkpoint.
        device (`torch.device`):
            The device of the model.
        dtype (`str`, *optional*):
            The type that the backend computes in; by default the backend's own choice.

    Raises:
        [`NewsMatchError`]: on another name, or a backend that cannot run here.
    """
    backends: dict[str, Callable[..., Backend]] = {"torch": TorchBackend, "ctranslate2": CTranslate2Backend}
    if name not in backends:
        raise NewsMatchError(f"There is no backend '{name}'; take one of {', '.join(backends)}.")
    try:
        return backends[name](checkpoint, device, **({"dtype": dtype} if dtype else {}))
    except RuntimeError as error:  # a device that is not there
        raise NewsMatchError(f"The backend '{name}' cannot run on {device}: {first_sentence(error)}.") from error
