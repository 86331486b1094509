"""Publish a fine-tuned or WiSE-FT checkpoint, with other alphas as branches, on the Hugging Face Hub.

    python scripts/push_to_hub.py --output_dir outputs/rss --hub_model_id user/name --dry_run    # show, send nothing
    python scripts/push_to_hub.py --output_dir outputs/rss --hub_model_id user/name
    python scripts/push_to_hub.py --output_dir outputs/rss --hub_model_id user/name --family --hub_private_repo false

Sends the files of the checkpoint, a model card and the provenance, and nothing else.
"""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..configs import CardArguments, PushArguments
from ..errors import NewsMatchError, exits_cleanly
from ..utils.tables import Table, plain_table
from .parser import parse_arguments
from .terminal import make_console, set_up_logging

if TYPE_CHECKING:
    from ..hub.files import Upload

logger = logging.getLogger(__name__)


@exits_cleanly(again="The same command goes on; what arrived is not sent twice.")
def main(argv: Sequence[str] | None = None) -> None:
    push_args, card_args = parse_arguments(PushArguments, CardArguments, description=__doc__, argv=argv)
    from ..experiment.folder import Experiment
    from ..experiment.publishing import collect_uploads, push
    from ..hub.card import find_license

    set_up_logging()
    experiment = Experiment.open(push_args.output_dir)
    if not push_args.dry_run:
        logger.info("The model is at %s.", push(experiment, push_args, card_args))
        return
    # without the base model's licence where only the network could tell it
    try:
        license = find_license(experiment.record.base_model, card_args, push_args.hub_token)
    except NewsMatchError as error:
        logger.warning("Pushing would stop here, or look on the Hub first: %s", error)
        license = {}
    console = make_console()
    uploads = collect_uploads(experiment, push_args, card_args, license)
    for upload in uploads:
        console.print(file_table(upload, push_args.hub_model_id))
    console.print(uploads[-1].card, markup=False, highlight=False, soft_wrap=True)
    logger.info("Nothing was sent.")


def file_table(upload: "Upload", repo_id: str) -> Table:
    """The files of a branch and their sizes."""
    rows = [[name, f"{upload.size(name):,}"] for name in sorted(upload.files)]
    return plain_table("files", f"{repo_id}, branch {upload.branch}", ["file", "bytes"], rows)
