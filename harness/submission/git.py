"""The git commands that submissions need: none of them needs an identity, and none reads a person's configuration."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

from harness.errors import MachineError

FETCHED = 1 << 28  # bytes of one file that a fetch may write: what it brings is one pack
UNPACKED_S = 120  # processor time that it may take to unpack: a thousandth of its size is enough to say "all zeros"
MEMORY = 1 << 28  # bytes that git may have for a stranger's objects: it keeps a whole list before it prints it


def git(
    *arguments: str, cwd: Path, stdin: bytes = b"", repository: bool = False, limits: Mapping[int, int] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run git in `cwd` and return what it said, whatever the exit status; raises MachineError without git.

    `limits` are resource limits, as setrlimit has them: of each process that git starts.

    `repository=False` makes git see no repository at all: inside a subdirectory of one, `git apply` skips every file
    and exits 0. Configuration is shut out too (apply.whitespace=fix would edit the patch on the way).
    """
    environment = _environment()
    if not repository:
        # A ceiling stops the search for .git above `cwd`; `cwd` itself is a fresh folder of ours.
        environment |= {
            "GIT_CEILING_DIRECTORIES": str(cwd.resolve().parent),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
        }
        arguments = ("-c", f"core.attributesFile={os.devnull}", *arguments)

    def limited() -> None:
        for name, most in (limits or {}).items():
            resource.setrlimit(name, (most, most))

    try:
        return subprocess.run(
            ["git", *arguments],
            cwd=cwd,
            env=environment,
            input=stdin,
            capture_output=True,
            check=False,
            preexec_fn=limited if limits else None,
        )
    except FileNotFoundError:
        raise _missing() from None


def git_bounded(*arguments: str, cwd: Path, most: int, timeout_s: float) -> bytes | None:
    """What git says of a repository whose objects are a stranger's; None where that is more than `most` bytes, takes
    longer, or more memory: ten trees of ten entries each, one in the other, are a few kilobytes and ten thousand
    million paths.

    Raises MachineError where git fails.
    """
    command = ["git", *arguments]
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY)),
        )
    except FileNotFoundError:
        raise _missing() from None
    with process:
        late = threading.Timer(timeout_s, process.kill)
        late.start()
        assert process.stdout is not None and process.stderr is not None
        said = process.stdout.read(most + 1)
        if len(said) > most:
            process.kill()
        trouble = process.stderr.read(1_000).decode("utf-8", "replace").strip()
        status = process.wait()
        late.cancel()
    if status == -signal.SIGKILL or "out of memory" in trouble.lower():
        return None
    if status:
        raise MachineError(f"git {arguments[0]}", f"fails: {trouble[-200:]}", f"check the clone {cwd}")
    return said


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return {**kept, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}


def _missing() -> MachineError:
    return MachineError("git", "is not installed", "install git and put it on the PATH")
