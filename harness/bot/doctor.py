"""What is missing in a maintainer's set-up, one line each, found by asking and not by guessing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.bot import caps
from harness.bot.bundle import finished
from harness.bot.connection import TOKEN, redact
from harness.bot.github import GitHub
from harness.errors import HarnessError
from harness.run import sandbox
from harness.run.arms import track_core_id
from harness.run.doctor import Finding
from harness.submission.git import git
from harness.tracks import BUDGETS, TRACKS

BRANCH = "main"
_TOKEN_FIX = "a fine-grained token of this repository: Pull requests write, Commit statuses write, Contents read"


def examine(root: Path, connect: Callable[[], GitHub]) -> tuple[Finding, ...]:
    """Everything that the bot depends on; what cannot be asked because of an earlier gap is left out."""
    return (*_github(connect), *_clone(root), _sandbox(), _caps(root), _baselines(root))


def _github(connect: Callable[[], GitHub]) -> Iterator[Finding]:
    token = os.environ.get(TOKEN, "")
    if not token:
        yield Finding("token", False, f"{TOKEN} is not set", f"export {TOKEN} with {_TOKEN_FIX}")
        return
    try:
        github = connect()
        login = github.login()
        allowed = github.allowed()
    except HarnessError as error:
        yield Finding(
            "token", False, redact(str(error.faults[0].what)), f"check the repository's name, and use {_TOKEN_FIX}"
        )
        return
    kind = "an App's installation: check runs" if token.startswith("ghs_") else "a person's: commit statuses"
    yield Finding("token", True, f"writes as {login} ({kind})")
    writes = allowed.get("push") or allowed.get("maintain") or allowed.get("admin")
    named = ", ".join(key for key, value in allowed.items() if value) or "nothing that can be seen"
    fix = "" if writes or not allowed else f"give {login} write access to {github.repository}"
    yield Finding("rights", bool(writes) or not allowed, f"{github.repository}: {named}", fix)
    protected = github.protection(BRANCH)
    said = {True: "is protected", False: "is not protected", None: "cannot be seen with this token"}[protected]
    fix = f"Settings, Rules: protect {BRANCH}, and require the checks" if protected is False else ""
    yield Finding("branch", protected is not False, f"{BRANCH} {said}", fix)


def _clone(root: Path) -> Iterator[Finding]:
    remote = git("remote", "get-url", "origin", cwd=root, repository=True)
    if remote.returncode:
        yield Finding("clone", False, f"{root} has no remote origin", "work in a clone: `git clone`")
        return
    changed = git("status", "--porcelain", "--", "model_core", "harness", cwd=root, repository=True).stdout.strip()
    fix = "commit or undo them: an official run is of the core on main" if changed else ""
    found = "core or harness have local changes" if changed else f"{redact(remote.stdout.decode().strip())}"
    yield Finding("clone", not changed, found, fix)
    here = git("rev-parse", "HEAD", cwd=root, repository=True).stdout.strip()
    main = git("ls-remote", "origin", f"refs/heads/{BRANCH}", cwd=root, repository=True).stdout.split()
    behind = bool(main) and main[0] != here
    fix = "`blueberry bot publish`, which brings the clone there, then `make setup`" if behind else ""
    fix = fix if main else "check the network and the remote"
    found = f"is not at origin's {BRANCH}" if behind else "is at origin's main" if main else "origin does not answer"
    yield Finding("harness", bool(main) and not behind, found, fix)


def _sandbox() -> Finding:
    name = sandbox.name()
    if name == "none":
        return Finding("sandbox", False, "none works", sandbox.mend())
    if exposed := sandbox.exposed():
        return Finding("sandbox", False, f"{name} works, but {exposed}", sandbox.MOVE)
    return Finding("sandbox", True, f"{name} works", "")


def _caps(root: Path) -> Finding:
    try:
        settings = caps.load(root)
    except HarnessError as error:
        fault = error.faults[0]
        return Finding("caps", False, f"{fault.where} {fault.what}", fault.fix)
    limits = {key: value for key, value in settings.caps.model_dump().items() if value is not None}
    price = f"; {settings.price_per_hour:g} {settings.currency} an hour" if settings.price_per_hour else "; no price"
    return Finding("caps", True, ", ".join(f"{key} {value:g}" for key, value in limits.items()) + price)


def _baselines(root: Path) -> Finding:
    """Where official runs can be decided: the cells that were calibrated on today's core."""
    cells: dict[str, set[str]] = {}
    for one in finished(root):
        valid = one.kind == "calibration" and one.invalidated is None and one.track in TRACKS
        if valid and one.core_id == track_core_id(root, TRACKS[one.track]):
            cells.setdefault(one.track, set()).add(one.budget)
    named = [f"{track} at {', '.join(b for b in BUDGETS if b in cells[track])}" for track in TRACKS if track in cells]
    fix = "" if named else "`blueberry baseline --track T --budget B --official` for what is to be measured"
    return Finding("baselines", bool(named), "; ".join(named) or "nothing is calibrated on today's core", fix)
