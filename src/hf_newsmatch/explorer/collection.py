"""What the page in `app/` shows: pictures ranked by the models between zero-shot and fine-tuned."""

import math
import re
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import Dataset
from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

from ..configs import DEFAULT_OUTPUT_DIR, AppArguments, DataArguments
from ..data.corpus import load_test_split
from ..data.images import check_pictures, drop_unusable, thumbnail, undecoded
from ..data.newsimages import load_images
from ..data.text import DEFAULT_TEXT_FIELDS, article_texts
from ..errors import NewsMatchError
from ..experiment.demo_run import make_demo_run
from ..experiment.folder import Experiment
from ..experiment.layout import alpha_folder
from ..experiment.merging import make_alpha
from ..experiment.record import RECORD, Record
from ..hub.errors import explained
from ..hub.push import check_repo_id
from ..merging.interpolation import check_alpha, interpolate
from ..models.weights import weights_sha256
from ..retrieval.matcher import NewsMatcher
from ..utils.files import atomic_path

GRID = tuple(step / 10 for step in range(11))
STEPS = (0.1, 0.01, 0.001)  # of a slider; alphas between the last are left out
START = 0.5  # where no alpha was chosen: the paper's on two of its three data sets
LOADED = 3  # models between zero-shot and fine-tuned in memory at a time; a ViT-B/32 takes 0.6 GB
THUMBNAIL = 320  # longer side, in pixels
_BRANCH = re.compile(r"alpha-(\d\.\d+)")

Checkpoint = tuple[str, str | None]  # a folder or Hub id, and its revision


class AlphaModels:
    """The models of one fine-tuning by alpha: those that are there, and those that can be made.

    Args:
        zero_shot, fine_tuned (`tuple[str, str | None]`):
            The checkpoints at alpha 0 and 1, each a folder or Hub id and its revision.
        between (`Mapping[float, tuple[str, str | None]]`):
            Those that are there, by alpha.
        make (`Callable[[float], str]`):
            Makes the model of an alpha and gives its folder.
        chosen (`float`, *optional*):
            The alpha that was chosen, when its model is there.

    Attributes:
        alphas (`list[float]`):
            Those that have a model or get one when asked for: 0, 0.1 … 1, and all that are there.
        step (`float`):
            Of a slider that can stand at each of them.
        start (`float`):
            Where it stands at first: the chosen alpha, if there is one.
    """

    def __init__(
        self,
        zero_shot: Checkpoint,
        fine_tuned: Checkpoint,
        between: Mapping[float, Checkpoint],
        make: Callable[[float], str],
        chosen: float | None = None,
    ):
        inside = {alpha: found for alpha, found in between.items() if 0 < alpha < 1 and _is_multiple(alpha, STEPS[-1])}
        self._there, self._make = {0.0: zero_shot, **inside, 1.0: fine_tuned}, make
        self.alphas = sorted({*GRID, *self._there})
        self.step = next(step for step in STEPS if all(_is_multiple(alpha, step) for alpha in self.alphas))
        self.start = START if chosen not in self._there else chosen

    def snap(self, alpha: float, before: float | None = None) -> float:
        """The nearest of the `alphas`; where that is the one `before`, the next in the direction of the move.

        So a slider of small steps gets from each to the next.

        Raises:
            [`NewsMatchError`]: on what is no alpha.
        """
        check_alpha(alpha)
        others = [stop for stop in self.alphas if before is None or (stop - before) * (alpha - before) > 0]
        return min(others or self.alphas, key=lambda stop: abs(stop - alpha))

    def checkpoint(self, alpha: float) -> Checkpoint:
        """The model of one of the `alphas`, made when it is not there."""
        if alpha not in self._there:
            self._there[alpha] = (self._make(alpha), None)
        return self._there[alpha]


def _is_multiple(alpha: float, step: float) -> bool:
    return math.isclose(alpha / step, round(alpha / step), abs_tol=1e-6)


def models_of_run(experiment: Experiment) -> AlphaModels:
    """The models of a run; new ones are made in its folder, as `scripts/interpolate.py --alpha 0.2 0.4` does.

    Raises:
        [`NewsMatchError`]: when nothing was fine-tuned yet, or the base model has changed since.
    """
    folder = experiment.output_dir
    if not experiment.has_model("fine_tuned"):
        raise NewsMatchError(f"{folder} has no fine-tuned model yet; run scripts/train.py first.")
    between = {
        made.alpha: (str(folder / name), None)
        for name, made in experiment.record.alphas.items()
        if experiment.has_alpha(name)
    }
    chosen = experiment.record.wise_ft.one_alpha if experiment.has_model("wise_ft") else None
    if chosen is not None:
        between[chosen] = (experiment.checkpoint("wise_ft"), None)

    def make(alpha: float) -> str:
        now = Experiment.open(folder)  # the scripts may have added to the record
        if not now.has_model("fine_tuned") or now.endpoints() != experiment.endpoints():
            raise NewsMatchError(f"{folder} was trained again since this page started; start it again.")
        return str(make_alpha(now, alpha, progress=False))

    zero_shot = experiment.checkpoint("zero_shot"), experiment.revision("zero_shot")
    return AlphaModels(zero_shot, (experiment.checkpoint("fine_tuned"), None), between, make, chosen)


def models_of_family(repo_id: str) -> tuple[AlphaModels, Experiment]:
    """The models that `scripts/push_to_hub.py --family` published; others are made in a temporary folder.

    Returns:
        `tuple`: the models, each as it is published now, and the record of their run.

    Raises:
        [`NewsMatchError`]: when the repository cannot be read or holds no family.
    """
    check_repo_id(repo_id)
    with explained(repo_id, again="try again"):
        commits = {branch.name: branch.target_commit for branch in HfApi().list_repo_refs(repo_id).branches}
        try:
            file = hf_hub_download(repo_id, RECORD, revision=commits[constants.DEFAULT_REVISION])
            record = Record.load(file)
            experiment = Experiment(repo_id, record)
            zero_shot = experiment.checkpoint("zero_shot"), experiment.revision("zero_shot")
        except (EntryNotFoundError, KeyError, NewsMatchError) as error:
            raise NewsMatchError(
                f"{repo_id} has no {RECORD} of a run; scripts/push_to_hub.py publishes one with the model."
            ) from error
    found = {name: _BRANCH.fullmatch(name) for name in commits}
    between = {float(match[1]): (repo_id, commits[name]) for name, match in found.items() if match}
    main, chosen = (repo_id, commits[constants.DEFAULT_REVISION]), 1.0
    if record.wise_ft is not None:
        chosen = record.wise_ft.one_alpha
    if chosen is not None:
        between[chosen] = main
    if 1.0 not in between:
        raise NewsMatchError(
            f"{repo_id} has no branch alpha-1.00, the fine-tuned model; scripts/push_to_hub.py --family sends it."
        )
    fine_tuned = between[1.0]
    folder = tempfile.TemporaryDirectory(prefix="newsmatch-")

    def make(alpha: float) -> str:
        target = Path(folder.name) / alpha_folder(alpha)
        revisions = {"zero_shot_revision": zero_shot[1], "fine_tuned_revision": fine_tuned[1]}
        return str(interpolate(zero_shot[0], fine_tuned[0], alpha, target, **revisions, progress=False))

    return AlphaModels(zero_shot, fine_tuned, between, make, chosen), experiment


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


class Showcase:
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
    """

    def __init__(
        self,
        models: AlphaModels,
        images: Dataset,
        articles: Dataset | None = None,
        gold: Mapping[str, str] | None = None,
        text_fields: Sequence[str] = DEFAULT_TEXT_FIELDS,
    ):
        self.models, self.image_ids = models, images["image_id"][:]
        self._images = undecoded(images)["image"]
        self._places = {image_id: place for place, image_id in enumerate(self.image_ids)}
        self.texts, self.titles = [], []
        self._true: dict[str, set[str]] = {}
        if articles is not None:
            rows = articles.select_columns(["article_id", "title"])[:]
            self.texts = article_texts(articles, text_fields)
            self.titles = [title or text for title, text in zip(rows["title"], self.texts)]
            for article_id, text in zip(rows["article_id"], self.texts):
                self._true.setdefault(text, set()).add((gold or {}).get(article_id))
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
            ranking = matcher.rank([text], embeds, k=len(self.image_ids), image_ids=self.image_ids)
        true, places = self._true.get(text, ()), zip(ranking.image_ids[0], ranking.scores[0])
        hits = [Hit(rank, image_id, score, image_id in true) for rank, (image_id, score) in enumerate(places, 1)]
        return hits[:k] + [hit for hit in hits[k:] if hit.true]

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
        matcher = NewsMatcher.from_pretrained(*checkpoint)
        weights, embeds = self._embeds.get(alpha, (None, None))
        # embeddings outlive their model, which may be another when it is loaded again
        if embeds is None or weights != weights_sha256(*checkpoint):
            embeds = matcher.embed_images(self._images)
            self._embeds[alpha] = weights_sha256(*checkpoint), embeds
        between = [other for other in self._ready if other not in (0, 1)]
        if alpha not in (0, 1) and len(between) >= LOADED:
            del self._ready[between[0]]
        self._ready[alpha] = matcher, embeds
        return matcher, embeds


def open_showcase(args: AppArguments) -> Showcase:
    """The models and the collection that the arguments name. The default's demo is made when it is not there.

    Raises:
        [`NewsMatchError`]: on a run, models or data that cannot be used.
    """
    part = None
    if args.hub_model_id:
        if not (args.images or args.articles_file):
            raise NewsMatchError("--hub_model_id names models only; name pictures with --images or --articles_file.")
        models, experiment = models_of_family(args.hub_model_id)
    else:
        experiment = _run(args.output_dir)
        models = models_of_run(experiment)
        if not (args.images or args.articles_file):
            parts = experiment.data().splits
            if args.split not in parts:
                raise NewsMatchError(f"{args.output_dir} has no {args.split} part, only {', '.join(parts)}.")
            part = parts[args.split]
    if args.articles_file:
        data_args = DataArguments(
            test_articles_file=args.articles_file, test_images=args.images, gold_file=args.gold_file
        )
        part, _ = load_test_split(data_args)
    if part is not None:
        return Showcase(models, part.images, part.articles, part.gold, experiment.text_fields)
    images = load_images(args.images)
    images = drop_unusable(images, check_pictures(images))
    if not len(images):
        raise NewsMatchError(f"None of the pictures of {args.images} is usable.")
    return Showcase(models, images)


def _run(output_dir: str) -> Experiment:
    """The run in a folder; the demo's is made where none is, or one that was interrupted."""
    if output_dir == DEFAULT_OUTPUT_DIR:
        if not (Path(output_dir) / RECORD).is_file():
            return make_demo_run(output_dir)
        experiment = Experiment.open(output_dir)
        if experiment.record.data.arguments.demo and not experiment.has_model("fine_tuned"):
            return make_demo_run(output_dir)
    return Experiment.open(output_dir)
