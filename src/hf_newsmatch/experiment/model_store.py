"""The models of an experiment: where they are, and whether they are what the record says."""

from collections.abc import Callable, Collection
from pathlib import Path

from ..configs import ModelArguments
from ..errors import NewsMatchError
from ..models.weights import holds_weights, weights_sha256
from ..utils.files import replace
from .inputs import base_model_id
from .record import Endpoints, InterpolatedRecord, Record, TrainRecord
from .store import RecordStore

# the runs that an ensemble joins; it has no checkpoint of its own
ENSEMBLE = ("zero_shot", "fine_tuned")


class ModelStore(RecordStore):
    """The models in a folder, each known by the hash of its weights.

    Args:
        output_dir, record:
            As for [`RecordStore`].
    """

    def check_base_model(self, model_args: ModelArguments) -> None:
        """Refuse a base model that was named and is another than the experiment's, with a [`NewsMatchError`]."""
        base, named = self.record.base_model.id, base_model_id(model_args)
        if named not in (base, ModelArguments.model_name_or_path):
            raise NewsMatchError(
                f"{self.output_dir} started from {base}, not from {named}; another model needs another --output_dir."
            )

    def checkpoint(self, run: str) -> str:
        """The Hub id or folder of a run's model: `zero_shot`, `fine_tuned` or `wise_ft`.

        Raises:
            [`NewsMatchError`]: when the weights are not those that are recorded.
        """
        if run != "zero_shot":
            self._check_weights(run)
            return str(self.layout.model(run))
        base = self.record.base_model
        if base.sha256 is not None and weights_sha256(base.id, base.revision) != base.sha256:
            raise NewsMatchError(
                f"The weights of {base.id} have changed since {self.output_dir} began with them; restore them or"
                " train again with --overwrite."
            )
        return base.id

    def revision(self, run: str) -> str | None:
        """The revision of a run's model, when it comes from the Hub."""
        return self.record.base_model.revision if run == "zero_shot" else None

    def has_model(self, run: str) -> bool:
        """Whether a run's model is there, and for WiSE-FT made from the two that are there now.

        Raises:
            [`NewsMatchError`]: when its weights are not those that are recorded.
        """
        if run == "zero_shot":
            return True
        if run == "ensemble":
            return all(map(self.has_model, ENSEMBLE))
        made = self._made(run)
        if made is None or not holds_weights(self.layout.model(run)):
            return False
        if isinstance(made, InterpolatedRecord) and made.endpoints != self.endpoints():
            return False
        self._check_weights(run)
        return True

    def _made(self, run: str) -> TrainRecord | InterpolatedRecord | None:
        return {"fine_tuned": self.record.train, "wise_ft": self.record.wise_ft}.get(run) or self.record.alphas.get(
            run
        )

    def _check_weights(self, run: str) -> None:
        """Refuse weights in the folder of a model that are not those that are recorded."""
        made, folder = self._made(run), self.layout.model(run)
        if made is not None and made.sha256 is not None and weights_sha256(folder) != made.sha256:
            remedy = "`hf-newsmatch interpolate` again"
            if run == "fine_tuned":
                remedy = "`hf-newsmatch train` with --overwrite"
            raise NewsMatchError(
                f"The weights in {folder} are not those that {self.layout.record.name} records: another process was"
                f" stopped while it wrote them, or they were exchanged; restore them, or run {remedy}."
            )

    def unrecorded_models(self) -> list[str]:
        """The models that are there without a record, as an interrupted step leaves them."""
        names = ("fine_tuned", "wise_ft")
        return [name for name in names if self._made(name) is None and holds_weights(self.layout.model(name))]

    def put_model(self, name: str, made: Path, change: Callable[[Record], None]) -> Path:
        """Move a finished checkpoint to the place of the model `name` and record it, as one step.

        Args:
            name (`str`):
                `fine_tuned`, `wise_ft` or the folder of one of several alphas.
            made (`Path`):
                The checkpoint, in a folder of [`temporary_folder`].
            change (`Callable[[Record], None]`):
                Records it; when it raises, the old model stays.

        Returns:
            `Path`: the folder of the model.
        """
        folder = self.layout.model(name)

        def move(record: Record) -> None:
            change(record)
            replace(made, folder)

        self.update(move)
        return folder

    def has_alpha(self, name: str) -> bool:
        """Whether a model of several alphas matches its recorded hash and the current endpoints."""
        made, folder = self.record.alphas.get(name), self.layout.model(name)
        return (
            made is not None
            and made.endpoints == self.endpoints()
            and folder.is_dir()
            and made.sha256 == weights_sha256(folder)
        )

    def model_sha256(self, run: str) -> str | None:
        """The hash of the weights of a run's model as they are now; `None` when there is no such model.

        A base from the Hub that is not on this machine is known by its commit and counts as unchanged.
        """
        if run == "zero_shot":
            base = self.record.base_model
            return base.sha256 and (weights_sha256(base.id, base.revision, offline=True) or base.sha256)
        if run == "ensemble":
            return " ".join(self.model_sha256(part) or "none" for part in ENSEMBLE)
        folder = self.layout.model(run)
        made = self._made(run)
        if not folder.is_dir() or (made and made.sha256 is None):  # of an older record of pickled weights
            return None
        return weights_sha256(folder)

    def endpoints(self) -> Endpoints:
        """The hashes of the two models that WiSE-FT lies between."""
        train = self.record.train
        return Endpoints(self.record.base_model.sha256, None if train is None else train.sha256)

    def same_models(self, runs: Collection[str]) -> str | None:
        """A sentence when two of the runs have one and the same model, as with alpha 0 or 1; else `None`."""
        made = self.record.wise_ft
        if made is None or "wise_ft" not in runs or made.one_alpha not in (0, 1):
            return None
        end = "fine_tuned" if made.one_alpha else "zero_shot"
        if end not in runs:
            return None
        return f"With alpha {made.one_alpha:g}, wise_ft and {end} are one model: their rankings are the same."
