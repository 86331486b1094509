"""Rank pictures for a headline, with zero-shot, WiSE-FT and fine-tuned CLIP side by side, in the browser.

    python app/app.py                                                      # the demo, trained first if need be
    python app/app.py --output_dir outputs/rss                             # a run of yours
    python app/app.py --hub_model_id user/newsroom --images archive        # published models

Every flag is also an environment variable, for a Space: NEWSMATCH_HUB_MODEL_ID and so on.
"""

import dataclasses
import os
import sys
from collections.abc import Sequence

from ..configs import AppArguments
from ..errors import exits_cleanly
from .parser import parse_arguments
from .terminal import set_up_logging

PREFIX = "NEWSMATCH_"


@exits_cleanly(again="The same command opens the page again.")
def main(argv: Sequence[str] | None = None) -> None:
    variables = {item.name: PREFIX + item.name.upper() for item in dataclasses.fields(AppArguments)}
    flags = [f"--{name}={os.environ[variable]}" for name, variable in variables.items() if variable in os.environ]
    given = sys.argv[1:] if argv is None else argv
    (args,) = parse_arguments(AppArguments, description=__doc__, argv=[*flags, *given])
    set_up_logging()
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported
    from ..explorer.page import launch

    launch(args)
