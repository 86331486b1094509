"""The models between zero-shot and fine-tuned, by alpha: those of an experiment, or published ones."""

import math
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

from ..errors import NewsMatchError, first_sentence
from ..experiment.folder import Experiment
from ..experiment.layout import alpha_folder
from ..experiment.merging import make_alpha
from ..experiment.record import RECORD, Record
from ..hub.errors import explained
from ..hub.push import check_repo_id
from ..merging.interpolation import check_alpha, interpolate
from ..models.loading import is_local
from ..models.weights import weights_sha256

GRID = tuple(step / 10 for step in range(11))
STEPS = (0.1, 0.01, 0.001)  # of a slider; alphas between the last are left out
START = 0.5  # where no alpha was chosen: the paper's on two of its three data sets
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
        self._hashes = {alpha: weights_sha256(name) for alpha, (name, _) in self._there.items() if is_local(name)}
        self.alphas = sorted({*GRID, *self._there})
        self.step = next(step for step in STEPS if all(_is_multiple(alpha, step) for alpha in self.alphas))
        self.start = chosen if chosen is not None and chosen in self._there else START

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
        """The model of one of the `alphas`, made when it is not there.

        Raises:
            [`NewsMatchError`]: when its weights are others than when it was found or made.
        """
        if alpha not in self._there:
            self._there[alpha] = (self._make(alpha), None)
        found = self._there[alpha]
        if is_local(found[0]):
            weights = weights_sha256(found[0])
            if self._hashes.setdefault(alpha, weights) != weights:
                raise NewsMatchError(f"The weights in {found[0]} have changed since the page began; start it again.")
        return found


def _is_multiple(alpha: float, step: float) -> bool:
    return math.isclose(alpha / step, round(alpha / step), abs_tol=1e-6)


def experiment_models(experiment: Experiment) -> AlphaModels:
    """The models of a run; new ones are made in its folder, as `hf-newsmatch interpolate --alpha 0.2 0.4` does.

    Raises:
        [`NewsMatchError`]: when nothing was fine-tuned yet, or the base model has changed since.
    """
    folder = experiment.output_dir
    if not experiment.has_model("fine_tuned"):
        raise NewsMatchError(f"{folder} has no fine-tuned model yet; run `hf-newsmatch train` first.")
    between: dict[float, Checkpoint] = {
        made.alpha: (str(folder / name), None)
        for name, made in experiment.record.alphas.items()
        if made.alpha is not None and experiment.has_alpha(name)
    }
    chosen = experiment.record.interpolated.one_alpha if experiment.has_model("wise_ft") else None
    if chosen is not None:
        between[chosen] = (experiment.checkpoint("wise_ft"), None)

    def make(alpha: float) -> str:
        now = Experiment.open(folder)  # the scripts may have added to the record
        if now.endpoints() != experiment.endpoints() or not now.has_model("fine_tuned"):
            raise NewsMatchError(f"{folder} was trained again since this page started; start it again.")
        return str(make_alpha(now, alpha, progress=False))

    zero_shot = experiment.checkpoint("zero_shot"), experiment.revision("zero_shot")
    return AlphaModels(zero_shot, (experiment.checkpoint("fine_tuned"), None), between, make, chosen)


def published_models(repo_id: str) -> tuple[AlphaModels, Experiment]:
    """The models that `hf-newsmatch push --family` published; others are made in a temporary folder.

    Returns:
        `tuple`: the models, each as it is published now, and the record of their run.

    Raises:
        [`NewsMatchError`]: when the repository cannot be read or holds no models of several alphas.
    """
    check_repo_id(repo_id)
    with explained(repo_id, again="try again"):
        commits = {branch.name: branch.target_commit for branch in HfApi().list_repo_refs(repo_id).branches}
        try:
            file = hf_hub_download(repo_id, RECORD, revision=commits[constants.DEFAULT_REVISION])
        except (EntryNotFoundError, KeyError) as error:
            raise NewsMatchError(
                f"{repo_id} has no {RECORD} of a run; `hf-newsmatch push` publishes one with the model."
            ) from error
        try:
            record = Record.load(file)
        except NewsMatchError as error:
            said = first_sentence(error).removeprefix(f"{file} is ").partition(";")[0]
            raise NewsMatchError(
                f"{repo_id} has no {RECORD} of a run, but one that is {said}; `hf-newsmatch push` publishes one with"
                " the model."
            ) from error
        experiment = Experiment(repo_id, record)
        zero_shot = experiment.checkpoint("zero_shot"), experiment.revision("zero_shot")
    found = {name: _BRANCH.fullmatch(name) for name in commits}
    between: dict[float, Checkpoint] = {
        float(match[1]): (repo_id, commits[name]) for name, match in found.items() if match
    }
    main = repo_id, commits[constants.DEFAULT_REVISION]
    chosen = 1.0 if record.wise_ft is None else record.wise_ft.one_alpha
    if chosen is not None:
        between[chosen] = main
    if 1.0 not in between:
        raise NewsMatchError(
            f"{repo_id} has no branch alpha-1.00, the fine-tuned model; `hf-newsmatch push --family` sends it."
        )
    fine_tuned = between[1.0]
    folder = tempfile.TemporaryDirectory(prefix="newsmatch-")

    def make(alpha: float) -> str:
        target = Path(folder.name) / alpha_folder(alpha)
        made = interpolate(
            zero_shot[0],
            fine_tuned[0],
            alpha,
            target,
            zero_shot_revision=zero_shot[1],
            fine_tuned_revision=fine_tuned[1],
            progress=False,
        )
        return str(made)

    return AlphaModels(zero_shot, fine_tuned, between, make, chosen), experiment
