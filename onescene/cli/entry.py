"""The way in and out of a command: every ending is an exit code and, if need be, one sentence on stderr."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Sequence

CALLERS_MISTAKES = (
    ValueError,
    FileNotFoundError,
    FileExistsError,
    NotADirectoryError,
    IsADirectoryError,
    PermissionError,
    ConnectionError,
)
DONE, OURS, CALLERS, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: As on the command line, without the program's name; None = the process's own.

    Returns:
        0 done, 2 the caller's mistake, 1 our failure, 130 interrupted (Ctrl-C or SIGTERM).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [w for w in words if w != "--debug"]
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        from onescene.cli.app import app

        result = app(words, prog_name="onescene", standalone_mode=False, obj=words)
        if result == INTERRUPTED:  # typer turns Ctrl-C into a result
            raise KeyboardInterrupt
        return result if isinstance(result, int) else DONE
    except BrokenPipeError:  # the reader of our output has gone, as in `onescene models list | head -1`
        sys.stdout = None
        return OURS
    except BaseException as error:
        if debug:
            traceback.print_exc()
        if type(error).__name__ == "NoArgsIsHelpError":  # `onescene` alone, `onescene data`
            sys.stderr.write(f"{error.format_message()}\n")
            return CALLERS
        code, sentence = explain(error)
        sys.stderr.write(f"onescene: {sentence}\n")
        return code


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _is_torchs_memory_error(error: BaseException) -> bool:
    """Whether torch could not get memory: on a GPU it has a class for it, on a CPU words."""
    return type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)


def explain(error: BaseException) -> tuple[int, str]:
    """The exit code and the sentence of an exception."""
    text = " ".join(str(error).split())
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        return INTERRUPTED, "interrupted; what was finished is kept, and the same command goes on from there"
    if isinstance(error, SystemExit):
        return (error.code if isinstance(error.code, int) else OURS), text
    if hasattr(error, "format_message"):  # typer's own: an unknown option, a missing argument
        return CALLERS, " ".join(error.format_message().split())
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return CALLERS, f"no such file: {error.filename}"
    if isinstance(error, CALLERS_MISTAKES):
        return CALLERS, text
    if isinstance(error, MemoryError) or _is_torchs_memory_error(error):
        told = text if isinstance(error, MemoryError) else ""
        return OURS, told or "out of memory; a smaller photo or smaller settings need less"
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return OURS, f"{error.strerror}{where}"
    return OURS, f"failed: {type(error).__name__}: {text} (--debug shows where)"
