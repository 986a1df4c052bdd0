"""The command line: one verb, one function. `--help` and `check` start fast because every verb imports what it needs.

People's text goes to stderr; `--json` prints one JSON object on stdout and nothing else, also on failure. Exit codes:
0 done, whatever the verdict; 1 the submission is at fault; 2 wrong usage; 3 the machine is at fault.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys

import typer

# isort: off
from harness.cli import submissions, runs, results, core, generate, machine, data, bot  # noqa: F401  (in this order)

# isort: on
from harness.cli.surface import Said, app, say
from harness.errors import Fault, HarnessError

# newer versions of typer carry a click of their own, so its base class is taken from what typer itself raises
ClickException: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

# No space, quota, inodes, descriptors, processes or memory left, a read-only or failing disk, a forbidden folder
EXHAUSTED = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EMFILE,
    errno.ENFILE,
    errno.EAGAIN,
    errno.ENOMEM,
    errno.EROFS,
    errno.EIO,
    errno.EACCES,
    errno.EPERM,
}


def _faulted(faults: tuple[Fault, ...], exit_code: int) -> Said:
    text = "\n".join(str(fault) for fault in faults)
    return Said(text, {"ok": False, "faults": [fault.to_json() for fault in faults]}, exit_code)


def _verb_of(error: Exception) -> str:
    """The verb whose options were wrong, with its group: of what typer raises, most knows where it was raised."""
    return getattr(getattr(error, "ctx", None), "command_path", "blueberry")


def _called(arguments: list[str]) -> Said:
    """Runs one verb; every failure that a person can be told about becomes a Said."""
    try:
        said = app(arguments, standalone_mode=False, prog_name="blueberry")
    except HarnessError as error:
        return _faulted(error.faults, error.exit_code)
    except ClickException as error:
        what = str(error.format_message())  # type: ignore[attr-defined]
        if type(error).__name__ == "NoArgsIsHelpError":
            return Said(what, {"ok": False, "faults": []}, 2)
        fix = f"see `{_verb_of(error)} --help`"
        return _faulted((Fault("usage", "blueberry " + " ".join(arguments), what, fix),), 2)
    except MemoryError:
        fault = Fault("machine", "blueberry " + arguments[0], "out of memory", "close other programs, or use --fit 1")
        return _faulted((fault,), 3)
    except OSError as error:  # what no verb has put into better words itself
        if error.errno not in EXHAUSTED:
            raise
        where, fix = str(error.filename or "blueberry " + arguments[0]), "mend that, then run the same command again"
        return _faulted((Fault("machine", where, f"the system refuses: {error.strerror}", fix),), 3)
    if said == 130:  # typer turns an interrupt into this code, and would have it pass for an answer
        raise KeyboardInterrupt
    return said if isinstance(said, Said) else Said("")


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def _print_whole(text: str) -> None:
    """On stdout, now. A reader that has gone, as `head` does, is no fault of the verb, and gets no second error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the interpreter's own flush at its end


def main() -> None:
    """Console script."""
    signal.signal(signal.SIGTERM, _stop)
    arguments = sys.argv[1:]
    try:
        said = _called(arguments)
    except (KeyboardInterrupt, typer.Abort):
        where, fix = "blueberry " + " ".join(arguments), "run the same command again to resume"
        stopped = _faulted((Fault("interrupted", where, "was stopped", fix),), 130)
        if "--json" in arguments:
            _print_whole(json.dumps(stopped.data))
        say("\n" + stopped.text)
        os._exit(130)  # the workers die with this process; waiting for their threads would keep a person waiting
    if "--json" in arguments:
        _print_whole(json.dumps(said.data, allow_nan=False, default=str))
    elif said.text:
        say(said.text)
    sys.exit(said.exit_code)
