"""Which repository the bot works for."""

from __future__ import annotations

import os
import re
from pathlib import Path

from harness.bot.caps import load
from harness.errors import UsageError
from harness.submission.git import git

_REMOTE = re.compile(r"(?:[:/])([A-Za-z0-9-]+/[A-Za-z0-9._-]+?)(?:\.git)?/?$")


def repository_named(root: Path, given: str | None) -> str:
    """What --repo says, else the workflow's, else that of the clone's origin."""
    if given or os.environ.get("GITHUB_REPOSITORY"):
        return given or os.environ["GITHUB_REPOSITORY"]
    done = git("remote", "get-url", "origin", cwd=root, repository=True)
    found = _REMOTE.search(done.stdout.decode("utf-8", "replace").strip())
    if not found:
        raise UsageError("--repo", "is not given, and the clone's origin does not tell", "add --repo OWNER/NAME")
    return found[1]


def login_of(root: Path) -> str | None:
    """The bot's name by blueberry.toml, where it stands there (a comment needs no caps). In a workflow the token is not
    the bot's, and writes under a name of its own."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        return None
    try:
        return load(root).login
    except UsageError:
        return None
