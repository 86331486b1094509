"""The one kind of error that is the user's to mend, and how a script ends on it."""

import functools
import signal
import sys
from collections.abc import Callable


class NewsMatchError(ValueError):
    """Bad input. The message is one sentence that names the file, the row and the remedy."""


def first_sentence(error: Exception) -> str:
    """What another library's long message comes down to: its first sentence on one line, without the full stop."""
    return " ".join(str(error).split()).split(". ")[0].rstrip(".")


def exits_cleanly(main: Callable[..., None]) -> Callable[..., None]:
    """Let a script's `main` end with exit code 2 and one sentence, no traceback, on a [`NewsMatchError`].

    Errors of the operating system (a missing file, a folder without write permission, a full disk) name their file
    and are the user's to mend too. Anything else is a defect of ours and keeps its traceback.
    """

    @functools.wraps(main)
    def wrapper(*args, **kwargs):
        # as after Ctrl-C, temporary files are removed on the way out
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            return main(*args, **kwargs)
        except NewsMatchError as error:
            message = str(error)
        except OSError as error:
            message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        except KeyboardInterrupt:
            sys.exit(128 + signal.SIGINT)
        finally:
            signal.signal(signal.SIGTERM, before)
        print(f"{sys.argv[0]}: error: {message}", file=sys.stderr)
        sys.exit(2)

    return wrapper
