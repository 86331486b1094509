"""The one kind of error that is the user's to mend, and how a command ends on it."""

import functools
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

# What an extra of the package brings, by the name that is imported.
EXTRAS = {
    "ctranslate2": "ctranslate2",
    "gradio": "app",
    "imagehash": "report",
    "matplotlib": "report",
    "peft": "peft",
    "py3langid": "translation",
    "pysbd": "translation",
}


class NewsMatchError(ValueError):
    """Bad input. The message is one sentence that names the file, the row and the remedy."""


@contextmanager
def needs_extra(*packages: str) -> Iterator[None]:
    """Say which extra to install where one of these packages is missing.

    Args:
        packages (`str`): The names that are imported, all of them in `EXTRAS`; all of `EXTRAS` by default.

    Raises:
        [`NewsMatchError`]: in place of a `ModuleNotFoundError` of such a package.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in (packages or EXTRAS):
            raise
        raise NewsMatchError(
            f"This needs {package}, which is not installed: pip install 'hf-newsmatch[{EXTRAS[package]}]'."
        ) from error


@contextmanager
def explain(*kinds: type[Exception], sentence: Callable[[Exception], str | None]) -> Iterator[None]:
    """Raise a [`NewsMatchError`] in place of another library's error.

    Args:
        kinds (`type[Exception]`):
            The errors; a [`NewsMatchError`] among them stays as it is.
        sentence (`Callable`):
            Makes the message of an error, or `None` for one that is raised as it is.
    """
    try:
        yield
    except NewsMatchError:
        raise
    except kinds as error:
        message = sentence(error)
        if message is None:
            raise
        raise NewsMatchError(message) from error


def first_sentence(error: BaseException) -> str:
    """The first sentence of another library's message, on one line and without its full stop."""
    return " ".join(str(error).split()).split(". ")[0].rstrip(".")


def program() -> str:
    """The command as it was typed: `hf-newsmatch train`, `python -m hf_newsmatch train` or `train.py`."""
    return Path(sys.argv[0]).name


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a command: an interpreter that saw a plain `KeyboardInterrupt` may end by the signal, not by 130."""


class _Interruption:
    """Takes Ctrl-C over from Python, and remembers that it came."""

    def __init__(self) -> None:
        self.came = False
        self.before = signal.getsignal(signal.SIGINT)
        if self.is_ours:
            signal.signal(signal.SIGINT, self._come)

    @property
    def is_ours(self) -> bool:
        # a shell has background jobs ignore it, and a test or a notebook may have a handler of its own
        return self.before in (signal.default_int_handler, interrupt)

    def _come(self, *_: object) -> None:
        self.came = True
        raise Interrupted

    def end(self) -> None:
        if self.is_ours:
            signal.signal(signal.SIGINT, self.before)


def interrupt(*_: object) -> NoReturn:
    """Answer Ctrl-C before a command has begun."""
    raise Interrupted


def leave_interrupted() -> NoReturn:
    """End after Ctrl-C with exit code 130 and one line, as a shell expects it."""
    print(f"{program()}: interrupted; the same command goes on from what is saved, or starts again.", file=sys.stderr)
    sys.exit(128 + signal.SIGINT)


def exits_cleanly(main: Callable[..., None]) -> Callable[..., None]:
    """Let a command's `main` end with exit code 2 and one sentence, no traceback, on a [`NewsMatchError`].

    Errors of the operating system (a missing file, a folder without write permission, a full disk) name their file
    and are the user's to mend too, as is a package of an extra that is not installed. Anything else is a defect of
    ours and keeps its traceback.
    """

    @functools.wraps(main)
    def wrapper(*args, **kwargs):
        # as after Ctrl-C, temporary files are removed on the way out
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        interruption = _Interruption()
        try:
            with needs_extra():
                return main(*args, **kwargs)
        except (NewsMatchError, OSError) as error:
            if interruption.came:
                leave_interrupted()
            message = str(error)
            if isinstance(error, OSError) and error.filename:
                message = f"{error.filename}: {error.strerror}"
        except KeyboardInterrupt:
            leave_interrupted()
        except Exception:
            if (
                interruption.came
            ):  # a library made another error of it, as extension modules do while they are imported
                leave_interrupted()
            raise
        finally:
            signal.signal(signal.SIGTERM, before)
            interruption.end()
        print(f"{program()}: error: {message}", file=sys.stderr)
        sys.exit(2)

    return wrapper
