"""A collection of pictures ranked by the models between zero-shot and fine-tuned, for the page and for notebooks."""

import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset

from ..configs import DEFAULT_OUTPUT_DIR, AppArguments, DataArguments
from ..data.corpus import load_test_split
from ..data.images import check_pictures, drop_unusable, thumbnail, undecoded
from ..data.newsimages import load_images
from ..data.text import DEFAULT_TEXT_FIELDS, article_texts
from ..errors import NewsMatchError
from ..experiment.demo_run import make_demo_run
from ..experiment.folder import Experiment
from ..experiment.layout import Layout
from ..models.weights import weights_sha256
from ..retrieval.matcher import NewsMatcher
from ..retrieval.ranking import check_embeddings, stable_topk
from ..utils.files import atomic_path
from .models import AlphaModels, experiment_models, published_models

LOADED = 3  # models between zero-shot and fine-tuned in memory at a time; a ViT-B/32 takes 0.6 GB
# More than the longest context of a text tower holds; of a text, CLIP reads 77 tokens.
MOST_CHARACTERS = 10_000
THUMBNAIL = 320  # longer side, in pixels


@dataclass(frozen=True)
class Hit:
    """A picture in a ranking.

    Args:
        rank (`int`):
            From 1, the best.
        image_id (`str`):
            Which picture.
        score (`float`):
            Its cosine similarity to the text.
        true (`bool`):
            Whether it was published with the text, as far as that is known.
    """

    rank: int
    image_id: str
    score: float
    true: bool


class Explorer:
    """A collection of pictures, and articles to choose from, ranked by the models of one fine-tuning.

    Safe to use from several threads.

    Args:
        models ([`AlphaModels`]):
            The models.
        images (`datasets.Dataset`):
            The pictures, with `image_id` and `image`, one row a distinct picture, all usable.
        articles (`datasets.Dataset`, *optional*):
            What to choose from, with `article_id`, `title` and the text fields.
        gold (`Mapping[str, str]`, *optional*):
            Article id to the id of its true picture, as far as it is known.
        text_fields (`Sequence[str]`, *optional*, defaults to `("title", "text")`):
            The columns that make up what CLIP reads.
        dtype (`str`, *optional*, defaults to `"float32"`):
            The precision to embed in, one of `DTYPES`.
    """

    def __init__(
        self,
        models: AlphaModels,
        images: Dataset,
        articles: Dataset | None = None,
        gold: Mapping[str, str] | None = None,
        text_fields: Sequence[str] = DEFAULT_TEXT_FIELDS,
        dtype: str = "float32",
    ):
        self.models, self.image_ids, self._dtype = models, images["image_id"][:], dtype
        self._images = undecoded(images)["image"]
        self._places = {image_id: place for place, image_id in enumerate(self.image_ids)}
        self.texts, self.titles = [], []
        self._true: dict[str, set[str]] = {}
        if articles is not None:
            rows = articles.select_columns(["article_id", "title"])[:]
            self.texts = article_texts(articles, text_fields)
            self.titles = [title or text for title, text in zip(rows["title"], self.texts)]
            for article_id, text in zip(rows["article_id"], self.texts):
                true = self._true.setdefault(text, set())
                if gold and article_id in gold:
                    true.add(gold[article_id])
        self._thumbnails = tempfile.TemporaryDirectory(prefix="newsmatch-")
        self._embeds: dict[float, tuple[str | None, torch.Tensor]] = {}
        self._ready: dict[float, tuple[NewsMatcher, torch.Tensor]] = {}
        self._making, self._reading = threading.Lock(), threading.Lock()

    def is_article(self, text: str) -> bool:
        """Whether a text is that of an article, unedited."""
        return text in self._true

    def rank(self, text: str, alpha: float, k: int) -> list[Hit]:
        """The pictures that fit a text best; of an article's text, the true one at the end if it is not among them.

        Args:
            text (`str`):
                What CLIP reads.
            alpha (`float`):
                One of `models.alphas`. Its model is made and embeds all pictures when it is asked for first.
            k (`int`):
                How many pictures.

        Raises:
            [`NewsMatchError`]: when the model cannot be made or loaded.
        """
        matcher, embeds = self._model(alpha)
        # the tokenizer cannot be used by two threads at a time
        with self._reading:
            query = matcher.embed_texts([text[:MOST_CHARACTERS]])
        check_embeddings(query, embeds[:1], ["of this text"], self.image_ids[:1])
        scores = query.numpy(force=True) @ embeds.numpy(force=True).T
        true = self._true.get(text, ())
        hits = [
            Hit(rank, self.image_ids[place], score, self.image_ids[place] in true)
            for rank, (place, score) in enumerate(_best(scores, k), 1)
        ]
        shown = {hit.image_id for hit in hits}
        left = [self._places[image_id] for image_id in true if image_id in self._places and image_id not in shown]
        further = [(_rank(scores[0], place), place) for place in left]
        return hits + [
            Hit(rank, self.image_ids[place], float(scores[0, place]), True) for rank, place in sorted(further)
        ]

    def prepare(self) -> None:
        """Load the models that are shown first, and embed the pictures with them."""
        for alpha in dict.fromkeys((0.0, self.models.start, 1.0)):
            self._model(alpha)

    def thumbnail(self, image_id: str) -> Path:
        """The file of a small copy of a picture, WebP; it is made when it is asked for first."""
        place = self._places[image_id]
        file = Path(self._thumbnails.name) / f"{place}.webp"
        if not file.exists():
            with atomic_path(file) as temporary:
                thumbnail(self._images[place], THUMBNAIL).save(temporary, quality=80, method=1)
        return file

    def _model(self, alpha: float) -> tuple[NewsMatcher, torch.Tensor]:
        ready = self._ready.get(alpha)
        if ready is None:
            with self._making:
                ready = self._ready.get(alpha) or self._load(alpha)
        return ready

    def _load(self, alpha: float) -> tuple[NewsMatcher, torch.Tensor]:
        checkpoint = self.models.checkpoint(alpha)
        matcher = NewsMatcher.from_pretrained(*checkpoint, dtype=self._dtype)
        weights, embeds = self._embeds.get(alpha, (None, None))
        # embeddings outlive their model, which may be another when it is loaded again
        if embeds is None or weights != weights_sha256(*checkpoint):
            embeds = matcher.embed_images(self._images)
            # once, in place of at every answer
            check_embeddings(embeds[:1], embeds, [self.image_ids[0]], self.image_ids)
            self._embeds[alpha] = weights_sha256(*checkpoint), embeds
        between = [other for other in self._ready if other not in (0, 1)]
        if alpha not in (0, 1) and len(between) >= LOADED:
            del self._ready[between[0]]
        self._ready[alpha] = matcher, embeds
        return matcher, embeds


def _best(scores: np.ndarray, k: int) -> list[tuple[int, float]]:
    """The places and the scores of the k best of one row, equal ones by place."""
    places, values = stable_topk(scores, min(k, scores.shape[1]))
    return list(zip(places[0].tolist(), values[0].tolist()))


def _rank(scores: np.ndarray, place: int) -> int:
    """The rank of a place: from 1, equal scores by place."""
    return 1 + int((scores > scores[place]).sum() + (scores[:place] == scores[place]).sum())


def open_explorer(args: AppArguments) -> Explorer:
    """The models and the collection that the arguments name. The default's demo is made when it is not there.

    Raises:
        [`NewsMatchError`]: on a run, models or data that cannot be used.
    """
    part = None
    if args.hub_model_id:
        if not (args.images or args.articles_file):
            raise NewsMatchError("--hub_model_id names models only; name pictures with --images or --articles_file.")
        models, experiment = published_models(args.hub_model_id)
    else:
        experiment = _run(args.output_dir)
        models = experiment_models(experiment)
        if not (args.images or args.articles_file):
            parts = experiment.data().splits
            if args.split not in parts:
                raise NewsMatchError(f"{args.output_dir} has no {args.split} split, only {', '.join(parts)}.")
            part = parts[args.split]
    if args.articles_file:
        data_args = DataArguments(
            test_articles_file=args.articles_file, test_images=args.images, gold_file=args.gold_file
        )
        part, _ = load_test_split(data_args)
    if part is not None:
        return Explorer(models, part.images, part.articles, part.gold, experiment.text_fields, args.dtype)
    if not args.images:
        raise NewsMatchError("No pictures are named: give --images.")
    images = load_images(args.images)
    images = drop_unusable(images, check_pictures(images))
    if not len(images):
        raise NewsMatchError(f"None of the pictures of {args.images} is usable.")
    return Explorer(models, images, dtype=args.dtype)


def _run(output_dir: str) -> Experiment:
    """The run in a folder; the demo's is made where none is, or one that was interrupted."""
    if output_dir == DEFAULT_OUTPUT_DIR:
        if not Layout(Path(output_dir)).record.is_file():
            return make_demo_run(output_dir)
        experiment = Experiment.open(output_dir)
        if experiment.record.data.arguments.demo and not experiment.has_model("fine_tuned"):
            return make_demo_run(output_dir)
    return Experiment.open(output_dir)
