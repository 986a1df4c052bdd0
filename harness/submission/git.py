"""The git commands that submissions need: none of them needs an identity, and none reads a person's configuration."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from harness.errors import MachineError


def git(*arguments: str, cwd: Path, stdin: bytes = b"", repository: bool = False) -> subprocess.CompletedProcess[bytes]:
    """Run git in `cwd` and return what it said, whatever the exit status; raises MachineError without git.

    `repository=False` makes git see no repository at all: inside a subdirectory of one, `git apply` skips every file
    and exits 0. Configuration is shut out too (apply.whitespace=fix would edit the patch on the way).
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment = {**kept, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
    if not repository:
        # A ceiling stops the search for .git above `cwd`; `cwd` itself is a fresh folder of ours.
        environment |= {
            "GIT_CEILING_DIRECTORIES": str(cwd.resolve().parent),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
        }
        arguments = ("-c", f"core.attributesFile={os.devnull}", *arguments)
    try:
        return subprocess.run(
            ["git", *arguments], cwd=cwd, env=environment, input=stdin, capture_output=True, check=False
        )
    except FileNotFoundError:
        raise MachineError("git", "is not installed", "install git and put it on the PATH") from None
