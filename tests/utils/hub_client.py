"""A process with a real Hub client, which reads where the Hub is only once, when it is imported.

Each line of the standard input is a JSON request, `{"script", "argv", "env"}` or `{"code", "env"}`; each line of the
standard output the answer, `{"code", "out", "err"}`.
"""

import contextlib
import io
import json
import logging
import os
import runpy
import sys
import traceback
from pathlib import Path

import torch

import hf_newsmatch.hub.push  # noqa: F401  # takes seconds, while the tests do something else

SCRIPTS = Path(__file__).parents[2] / "scripts"


def answer(request: dict) -> dict:
    out, err, code, before = io.StringIO(), io.StringIO(), 0, dict(os.environ)
    os.environ.update(request["env"])
    # the log of an earlier request wrote to its own standard error
    for handler in list(logging.getLogger().handlers):
        logging.getLogger().removeHandler(handler)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            if "script" in request:
                sys.argv = [request["script"], *request["argv"]]
                runpy.run_path(str(SCRIPTS / f"{request['script']}.py"), run_name="__main__")
            else:
                exec(compile(request["code"], "request", "exec"), {})
    except SystemExit as exit:
        code = exit.code or 0
    except BaseException:
        code, _ = 1, err.write(traceback.format_exc())
    finally:
        os.environ.clear()
        os.environ.update(before)
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed does not get between the answers
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
