"""Publishing from a trainer: private by default, the checkpoint with its card and its provenance, and nothing else."""

import platform
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from huggingface_hub.constants import DEFAULT_REVISION, REPOCARD_NAME
from transformers import PreTrainedModel, ProcessorMixin, Trainer

from ..configs import CardArguments, DataArguments
from ..data.splits import split_report
from ..errors import NewsMatchError
from ..experiment.record import BaseModel, DataRecord, Record, TrainRecord
from ..hub.card import find_license
from ..hub.files import Upload
from ..hub.provenance import Checkpoint
from ..hub.push import check_repo_id, open_repo, push
from ..hub.upload import make_upload
from ..models.loading import is_local
from ..models.weights import save_checkpoint, weights_sha256
from ..utils.files import atomic_path
from .arguments import recipe_defaults

_LIBRARIES = ("accelerate", "datasets", "torch", "transformers")


class PublishingMixin(Trainer):
    """The publishing of [`ContrastiveTrainer`] in place of `Trainer`'s own, which sends all of `args.output_dir`.

    Attributes:
        base_model ([`BaseModel`]): The model that the training began with.
        text_fields (`list[str]`): The columns that the text tower reads.
        processing_class (`ProcessorMixin`, *optional*): The processor that is published with the model.
        finished_model (`Callable`): Gives the model as trained, an ordinary checkpoint's.
    """

    base_model: BaseModel
    finished_model: Callable[[], PreTrainedModel]
    text_fields: list[str]
    processing_class: ProcessorMixin | None
    _hub_token: str | None

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Make the repository `args.hub_model_id`, private unless `args.hub_private_repo` is false.

        With `push_to_hub=True` this happens when the trainer is made, so that a name or a token that would stop the
        push stops it before the training.

        Raises:
            [`NewsMatchError`]: without a processor or a name like `user/name`, on a repository that is public although
                a private one is wanted, and on whatever the Hub refuses.
        """
        if self.is_world_process_zero():
            private = self.args.hub_private_repo if private is None else private
            _own_processor(self)
            open_repo(check_repo_id(self.args.hub_model_id), private is not False, token or self._hub_token)
        self.hub_model_id, self.push_in_progress = self.args.hub_model_id, None

    def create_model_card(self, model_name: str | None = None, **kwargs: Any) -> None:
        """Write our model card of the model as it is now to `args.output_dir/README.md`.

        Args:
            model_name (`str`, *optional*):
                The repository that the card is for, `user/name`; `args.hub_model_id` by default.
            kwargs:
                `language`, `license`, `finetuned_from`, `dataset` (its name) and `dataset_tags` (Hub ids), as for
                `Trainer`.

        Raises:
            [`NewsMatchError`]: without a processor, and when neither `license` nor the base model's card names a
                licence.
        """
        if self.is_world_process_zero():
            repo_id = model_name or self.args.hub_model_id or Path(self.args.output_dir).absolute().name
            with tempfile.TemporaryDirectory() as folder:
                upload = make_trainer_upload(
                    self, Path(folder), repo_id, DEFAULT_REVISION, card_arguments(**kwargs), self._hub_token
                )
            with atomic_path(Path(self.args.output_dir) / REPOCARD_NAME) as temporary:
                temporary.write_text(upload.card, encoding="utf-8")

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> str | None:
        """Publish the model as it is now: the checkpoint's files, its card and its provenance, and nothing else.

        `Trainer` would send all that lies in `args.output_dir`, the arguments with the token among it.

        Args:
            commit_message (`str`, *optional*, defaults to `"End of training"`):
                The message of the commit.
            blocking (`bool`, *optional*, defaults to `True`):
                As for `Trainer`; the push always waits for its end.
            token (`str`, *optional*):
                By default `args.hub_token`, `HF_TOKEN`, or that of `hf auth login`.
            revision (`str`, *optional*):
                The branch; `args.hub_revision` or `main` by default.
            private (`bool`, *optional*):
                Whether a new repository is private; by default unless `args.hub_private_repo` is false.
            kwargs:
                As for [`create_model_card`].

        Returns:
            `str`: the address of the repository; `None` in every process but the first.

        Raises:
            [`NewsMatchError`]: as [`init_hf_repo`], and when a file would tell of this machine or hold a token.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        url, token = None, token or self._hub_token
        if self.is_world_process_zero():
            repo_id = check_repo_id(self.args.hub_model_id)
            kwargs.pop("model_name", None)
            branch = revision or self.args.hub_revision or DEFAULT_REVISION
            private = self.args.hub_private_repo if private is None else private
            with tempfile.TemporaryDirectory() as folder:
                upload = make_trainer_upload(self, Path(folder), repo_id, branch, card_arguments(**kwargs), token)
                url = push([upload], repo_id, private is not False, token, commit_message)
        self.accelerator.wait_for_everyone()
        return url

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Publish no checkpoint: only the model that a training ends with is published."""


def make_trainer_upload(
    trainer: "PublishingMixin",
    folder: Path,
    repo_id: str,
    branch: str,
    card_args: CardArguments,
    token: str | None = None,
) -> Upload:
    """The files that a push of a trainer's model sends: the checkpoint, its card and its provenance, nothing else.

    Args:
        trainer ([`PublishingMixin`]):
            The trainer; its model is saved as it is now.
        folder (`Path`):
            An empty folder for the checkpoint.
        repo_id (`str`), branch (`str`):
            Where they will be.
        card_args ([`CardArguments`]):
            What the card says beside what the trainer knows.
        token (`str`, *optional*):
            The token of the push.

    Raises:
        [`NewsMatchError`]: when the trainer has no processor, no licence is known, or a file would tell of this
            machine or hold a token.
    """
    save_checkpoint(trainer.finished_model(), _own_processor(trainer), folder)
    record = trainer_record(trainer, folder)
    license = find_license(record.base_model, card_args, token)
    checkpoint = Checkpoint("fine_tuned", folder)
    return make_upload(record, checkpoint, branch, repo_id, card_args, license, recipe_defaults(), token=token)


def _own_processor(trainer: "PublishingMixin") -> ProcessorMixin:
    """The trainer's processor, without which a checkpoint cannot be loaded.

    Raises:
        [`NewsMatchError`]: when the trainer was made with a collator alone.
    """
    if trainer.processing_class is None:
        raise NewsMatchError("A checkpoint is published with its processor; give the trainer a processing_class.")
    return trainer.processing_class


def trainer_record(trainer: "PublishingMixin", folder: Path) -> Record:
    """The record of a training without an experiment, as far as the trainer knows it.

    Args:
        trainer ([`PublishingMixin`]):
            The trainer.
        folder (`Path`):
            The checkpoint of its model.
    """
    args, state = trainer.args, trainer.state
    data = {"train": trainer.train_dataset, "validation": trainer.eval_dataset}
    splits = {name: split for name, split in data.items() if isinstance(split, Dataset)}
    report = {"split": split_report(DatasetDict(splits)), "test_list": None}
    return Record(
        base_model=trainer.base_model,
        data=DataRecord.of(DataArguments(text_fields=list(trainer.text_fields)), {}, report),
        hf_newsmatch=version("hf-newsmatch"),
        versions={"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
        recipe=args.recipe(),
        train=TrainRecord(
            sha256=weights_sha256(folder),
            arguments=args.to_dict(),
            processes=args.world_size,
            metrics={"epoch": state.epoch or 0.0},
            best_metric={args.metric_for_best_model: state.best_metric} if args.metric_for_best_model else {},
            best_step=state.best_global_step,
            log_history=state.log_history,
        ),
    )


def named_base_model(name: str, commit: str | None) -> BaseModel:
    """The base model of a trainer: its name, and the hash of its weights where they are on this machine.

    Args:
        name (`str`):
            The folder or Hub id that the model was loaded from; empty for one that was not.
        commit (`str`, *optional*):
            The commit of a Hub id.
    """
    return BaseModel(id=name, revision=commit, sha256=weights_sha256(name) if name and is_local(name) else None)


def card_arguments(
    language: str | list[str] | None = None,
    license: str | None = None,
    finetuned_from: str | None = None,
    dataset: str | None = None,
    dataset_tags: str | list[str] | None = None,
    **others: Any,
) -> CardArguments:
    """The arguments of `Trainer.create_model_card` as those of our cards.

    Raises:
        `TypeError`: on an argument that our cards have no place for.
    """
    if others:
        raise TypeError(f"The model card takes no '{next(iter(others))}'.")
    return CardArguments(
        license=license,
        base_model=finetuned_from,
        dataset_name=dataset,
        datasets=[dataset_tags] if isinstance(dataset_tags, str) else dataset_tags,
        **({"language": [language] if isinstance(language, str) else language} if language else {}),
    )
