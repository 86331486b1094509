"""The one kind of error that is the user's to mend, and how a command ends on it."""

import functools
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, overload

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


LONGEST_MESSAGE = 420  # with the command before it, and its path, below 500
# How PyTorch's data loader tells of an error in one of its processes: as a new one of its class with this text.
_FROM_WORKER = re.compile(r"\ACaught \w+ in .*\nOriginal Traceback.*\n[\w.]+: ([^\n]*)\s*\Z", re.DOTALL)


class NewsMatchError(ValueError):
    """Bad input. The message is one sentence that names the file, the row and the remedy."""

    def __init__(self, *args: object):
        super().__init__(*(readable(own_words(arg)) if isinstance(arg, str) else arg for arg in args))


def readable(message: str) -> str:
    """A message as a terminal can show it: foreign signs escaped, and the middle left out where it is too long."""
    # what files hold may be anything, also commands of the terminal and halves of characters
    message = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in message)
    if len(message) <= LONGEST_MESSAGE:
        return message
    # the beginning names the file, the end the remedy
    end = LONGEST_MESSAGE // 3
    return f"{message[: LONGEST_MESSAGE - end - 3]} … {message[-end:]}"


def own_words(message: str) -> str:
    """The message of an error without the traceback that PyTorch's data loader puts around it."""
    found = _FROM_WORKER.match(message) if message.startswith("Caught ") else None
    return found[1] if found else message


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
    """The first sentence of another library's message, on one line, without its full stop and not too long."""
    return shortened(" ".join(str(error).split()).split(". ")[0].rstrip(".") or type(error).__name__)


def shortened(text: str, most: int = 200) -> str:
    """A text of at most so many characters, its end left out."""
    return text if len(text) <= most else text[: most - 1] + "…"


def program() -> str:
    """The command as it was typed: `hf-newsmatch train`, `python -m hf_newsmatch train` or `train.py`."""
    return Path(sys.argv[0]).name


_Main = Callable[..., None]
# What a command says after Ctrl-C when it has nothing better to say.
BEGINS_AGAIN = "The same command begins again."


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
        # where ending takes long, a second Ctrl-C ends at once
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        raise Interrupted

    def end(self) -> None:
        if self.is_ours:
            signal.signal(signal.SIGINT, self.before)


def interrupt(*_: object) -> NoReturn:
    """Answer Ctrl-C before a command has begun."""
    raise Interrupted


def leave_interrupted(again: str = BEGINS_AGAIN) -> NoReturn:
    """End after Ctrl-C with exit code 130 and one line, as a shell expects it."""
    print(f"{program()}: stopped by Ctrl-C. {again}", file=sys.stderr)
    sys.exit(128 + signal.SIGINT)


@overload
def exits_cleanly(main: _Main) -> _Main: ...


@overload
def exits_cleanly(*, again: str) -> Callable[[_Main], _Main]: ...


def exits_cleanly(main: _Main | None = None, *, again: str = BEGINS_AGAIN) -> _Main | Callable[[_Main], _Main]:
    """Let a command's `main` end with exit code 2 and one sentence, no traceback, on a [`NewsMatchError`].

    Errors of the operating system (a missing file, a folder without write permission, a full disk) name their file
    and are the user's to mend too, as is a package of an extra that is not installed. Anything else is a defect of
    ours and keeps its traceback. Ctrl-C ends with exit code 130 and one line.

    Args:
        main (`Callable`):
            The command.
        again (`str`, *optional*):
            The sentence after Ctrl-C that tells what the same command will do.
    """
    if main is None:
        return functools.partial(exits_cleanly, again=again)

    @functools.wraps(main)
    def wrapper(*args, **kwargs):
        # as after Ctrl-C, temporary files are removed on the way out
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        interruption = _Interruption()
        try:
            with needs_extra():
                return main(*args, **kwargs)
        except BaseException as error:
            # a library may make another error of it, as extension modules do while they are imported
            if isinstance(error, KeyboardInterrupt) or (interruption.came and not isinstance(error, SystemExit)):
                leave_interrupted(again)
            message = _message(error)
            if message is None:
                raise
        finally:
            signal.signal(signal.SIGTERM, before)
            interruption.end()
        print(f"{program()}: error: {message}", file=sys.stderr)
        sys.exit(2)

    return wrapper


def _message(error: BaseException) -> str | None:
    """What an error that is the user's to mend says, on one line; `None` for any other."""
    if isinstance(error, NewsMatchError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return None
