"""Finding an earlier core, patch or file in the history of the clone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from harness.errors import UsageError
from harness.submission.git import git
from harness.submission.patch import digest, read_core


def core_of(root: Path, wanted: str) -> dict[str, bytes]:
    """The core whose digest is `wanted`: today's, or the newest such one that a commit holds; raises UsageError."""
    today = read_core(root / "model_core")
    if digest(today) == wanted:
        return today
    blobs: dict[str, bytes] = {}
    for commit in _commits(root, "model_core"):
        core = _core_at(root, commit, blobs)
        if digest(core) == wanted:
            return core
    raise _not_here(f"the core {wanted[:12]}")


def patch_of(root: Path, slug: str, wanted: str) -> bytes:
    """The patch of a submission whose sha256 is `wanted`: the present one, or the newest such one that a commit holds;
    raises UsageError."""
    path = f"submissions/{slug}/patch.diff"
    if (root / path).is_file():
        present = (root / path).read_bytes()
        if hashlib.sha256(present).hexdigest() == wanted:
            return present
    for commit in _commits(root, path):
        held = git("cat-file", "blob", f"{commit}:./{path}", cwd=root, repository=True)
        if held.returncode == 0 and hashlib.sha256(held.stdout).hexdigest() == wanted:
            return held.stdout
    raise _not_here(f"the patch {slug}@{wanted[:12]}")


def file_at(root: Path, commit: str, path: str) -> bytes:
    """A file as a commit holds it, empty where it holds none; raises UsageError for what is no commit here."""
    found = git(
        "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}", cwd=root, repository=True
    )
    if found.returncode:
        fix = "fetch the whole history (`git fetch --unshallow`; in a workflow fetch-depth: 0)"
        raise UsageError(f"{commit[:80]!a}", "is no commit of this clone", fix)
    sha = found.stdout.decode().strip()
    held = git("cat-file", "blob", f"{sha}:./{path}", cwd=root, repository=True)
    return held.stdout if held.returncode == 0 else b""


def _commits(root: Path, path: str) -> Iterator[str]:
    """Every commit that changed `path`, newest first."""
    yield from git("log", "--format=%H", "--", path, cwd=root, repository=True).stdout.decode().split()


def _not_here(what: str) -> UsageError:
    fix = "fetch the whole history (`git fetch --unshallow`), or make the edit again with `blueberry new`"
    return UsageError("rebase", f"{what} is in no commit of this clone", fix)


def _core_at(root: Path, commit: str, blobs: dict[str, bytes]) -> dict[str, bytes]:
    """The core as a commit holds it; `blobs` keeps what was read, by object name."""
    core = {}
    tree = git("ls-tree", "-r", "-z", commit, "--", "model_core/", cwd=root, repository=True).stdout.decode()
    for entry in tree.split("\0")[:-1]:
        (_, kind, name), path = entry.split("\t")[0].split(), entry.split("\t")[1]
        if kind != "blob" or not path.endswith(".py"):
            continue
        if name not in blobs:
            blobs[name] = git("cat-file", "blob", name, cwd=root, repository=True).stdout
        core[path] = blobs[name]
    return core
