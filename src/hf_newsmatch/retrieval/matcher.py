"""Ranking pictures for texts with one checkpoint."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.constants import DEFAULT_REVISION, REPOCARD_NAME
from transformers import PreTrainedModel, ProcessorMixin

from ..errors import NewsMatchError
from ..hub.files import Upload, checkpoint_files, refuse_private
from ..hub.push import check_repo_id, push
from ..hub.templates import render
from ..models.architectures import architecture_of
from ..models.loading import best_device, load_model
from ..models.precision import compile_towers, embedding_dtype, prepare_model
from ..models.weights import check_replaceable, save_checkpoint
from ..utils.files import atomic_path
from .embeddings import embed_images, embed_texts
from .ranking import Ranking, rank


class NewsMatcher:
    """Ranks pictures for news texts with one checkpoint of a dual encoder.

    The scores are those of plain `transformers`: cosine similarities of `model.get_text_features` and
    `model.get_image_features`. The class adds batches, pictures in any form (see [`open_picture`]), and ids.

    Args:
        model (`PreTrainedModel`), processor (`ProcessorMixin`):
            One checkpoint, as [`load_model`] gives it.

    Example:

    ```python
    >>> matcher = NewsMatcher.from_pretrained("demo")
    >>> ranking = matcher.rank(["Storm closes the harbour"], ["harbour.jpg", "stadium.jpg"], k=1)
    >>> ranking.image_ids  # [["harbour.jpg"]]
    ```
    """

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin):
        self.model, self.processor = model.eval(), processor

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        revision: str | None = None,
        device: str | torch.device | None = None,
        *,
        dtype: str | torch.dtype = "float32",
        torch_compile: bool = False,
    ) -> "NewsMatcher":
        """The matcher of a checkpoint.

        Args:
            name_or_path (`str` or `Path`):
                A Hub id, a folder, or `"demo"`, the tiny CLIP inside the package.
            revision (`str`, *optional*):
                Branch, tag or commit of a Hub id, such as the branch `"alpha-0.40"`.
            device (`str` or `torch.device`, *optional*):
                The device to embed on; by default the accelerator, when there is one.
            dtype (`str` or `torch.dtype`, *optional*, defaults to `"float32"`):
                The precision to embed in; `"auto"` takes what the device is fast in, see [`embedding_dtype`]. What
                is saved or pushed then is in this precision, too.
            torch_compile (`bool`, *optional*, defaults to `False`):
                Whether to compile the towers; see [`compile_towers`].

        Raises:
            [`NewsMatchError`]: when there is no such checkpoint, or it is no dual encoder that is known.
        """
        device = torch.device(device or best_device())
        name = embedding_dtype(dtype, device)
        model, processor = load_model(name_or_path, revision)
        model = prepare_model(model, name, device)
        if torch_compile:
            compile_towers(model)
        return cls(model, processor)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Save the model, in safetensors, and its processor as an ordinary checkpoint that `from_pretrained` loads.

        Args:
            folder (`str` or `Path`):
                The folder to write; it appears whole or not at all. An empty folder or another checkpoint is replaced.

        Returns:
            `Path`: the folder.

        Raises:
            [`NewsMatchError`]: when the folder holds something else.
        """
        check_replaceable(folder)
        with atomic_path(folder) as temporary:
            save_checkpoint(self.model, self.processor, temporary)
        return Path(folder)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = True,
        token: str | None = None,
        revision: str = DEFAULT_REVISION,
        card: str | None = None,
        license: str | None = None,
    ) -> str:
        """Publish the model and its processor, with a model card and nothing else.

        `hf-newsmatch push` publishes an experiment with a card that says how it was trained and scored; this is for a
        checkpoint at hand.

        Args:
            repo_id (`str`):
                `user/name`; made when it is not there.
            private (`bool`, *optional*, defaults to `True`):
                Whether the repository is private; one that is public already is refused then.
            token (`str`, *optional*):
                By default `HF_TOKEN`, or that of `hf auth login`.
            revision (`str`, *optional*, defaults to `"main"`):
                The branch.
            card (`str`, *optional*):
                The model card in Markdown. By default the one in the folder that the model was loaded from; without
                one, a card that says that nothing is recorded.
            license (`str`, *optional*):
                The licence that this last card names.

        Returns:
            `str`: the address of the repository.

        Raises:
            [`NewsMatchError`]: on whatever the Hub refuses, and when a text would tell of this machine or hold a
                token.
        """
        check_repo_id(repo_id)
        source = Path(self.model.name_or_path or ".", REPOCARD_NAME)
        if card is None and self.model.name_or_path and source.is_file():
            card = source.read_text(encoding="utf-8")
        branch = None if revision == DEFAULT_REVISION else revision
        architecture = architecture_of(self.model.config)
        card = card or render(
            "plain",
            name=repo_id.split("/")[-1],
            repo_id=repo_id,
            revision=branch,
            license=license,
            architecture=architecture,
            pipeline_tag=architecture.pipeline_tag,
            model_type=self.model.config.model_type,
            tokens=self.processor.tokenizer.model_max_length,
        )
        with tempfile.TemporaryDirectory() as folder:
            save_checkpoint(self.model, self.processor, Path(folder))
            files = {REPOCARD_NAME: card.encode(), **checkpoint_files(Path(folder))}
            refuse_private(files, [folder, source.parent], token)
            return push([Upload(revision, files)], repo_id, private, token)

    def embed_texts(
        self, texts: Sequence[str], batch_size: int = 256, progress: bool = False, long_text: str = "truncate"
    ) -> torch.Tensor:
        """Unit-length embeddings of texts, of shape `(texts, d)`, float32 on the CPU; see [`embed_texts`]."""
        return embed_texts(self.model, self.processor, texts, batch_size, progress, long_text)

    def embed_images(
        self, images: Sequence[Any], batch_size: int = 64, num_workers: int = 0, progress: bool = True
    ) -> torch.Tensor:
        """Unit-length embeddings of pictures, of shape `(pictures, d)`, float32 on the CPU.

        A collection is embedded once and kept; [`rank`] takes the embeddings in place of the pictures.
        """
        return embed_images(self.model, self.processor, images, batch_size, num_workers, progress)

    def rank(
        self,
        texts: Sequence[str] | Mapping[str, str],
        images: Sequence[Any] | Mapping[str, Any] | torch.Tensor,
        k: int = 10,
        image_ids: Sequence[str] | None = None,
        long_text: str = "truncate",
    ) -> Ranking:
        """Rank pictures for each text by cosine similarity, best first.

        Args:
            texts (`Sequence[str]` or `Mapping[str, str]`):
                The texts, or a mapping of ids to them. Without ids, a text's id is its place: `"0"`, `"1"` …
            images (`Sequence`, `Mapping[str, Any]` or `torch.Tensor` of shape `(pictures, d)`):
                The pictures in any form that [`open_picture`] opens, a mapping of ids to them, or the embeddings from
                [`embed_images`]. Without ids, the id of a file is its path and that of anything else its place.
            k (`int`, *optional*, defaults to 10):
                How many pictures to rank for each text, at most as many as there are.
            image_ids (`Sequence[str]`, *optional*):
                The ids of the pictures, one each.
            long_text (`str`, *optional*, defaults to `"truncate"`):
                What becomes of a text that is longer than the context; see [`embed_texts`].

        Returns:
            [`Ranking`]: `article_ids`, and for each of them `image_ids` and `scores`.

        Raises:
            [`NewsMatchError`]: on a single text or path in place of a list, a picture that cannot be opened, ids that
                repeat or are not as many as the pictures, or no pictures.
        """
        if isinstance(texts, str):
            raise NewsMatchError("texts is one string; give a list of them, or a mapping of ids to texts.")
        if isinstance(images, str | os.PathLike):
            raise NewsMatchError("images is one path; give a list of pictures, or a mapping of ids to pictures.")
        if isinstance(texts, Mapping):
            article_ids, texts = list(texts), list(texts.values())
        else:
            article_ids = [str(place) for place in range(len(texts))]
        if isinstance(images, Mapping):
            if image_ids is not None:
                raise NewsMatchError("The mapping of images has their ids already; leave image_ids out.")
            image_ids, images = list(images), list(images.values())
        elif image_ids is None:
            image_ids = [_image_id(image, place) for place, image in enumerate(images)]
        if not isinstance(images, torch.Tensor):
            images = self.embed_images(images, progress=len(images) > 64)
        return rank(self.embed_texts(texts, long_text=long_text), images, article_ids, image_ids, k)


def _image_id(image: Any, place: int) -> str:
    return os.fspath(image) if isinstance(image, str | os.PathLike) else str(place)
