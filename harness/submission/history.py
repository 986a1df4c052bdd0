"""Finding an earlier core in the history of the clone, by its digest."""

from __future__ import annotations

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
    listed = git("log", "--format=%H", "--", "model_core", cwd=root, repository=True)
    for commit in listed.stdout.decode().split():
        core = _core_at(root, commit, blobs)
        if digest(core) == wanted:
            return core
    raise UsageError(
        "rebase",
        f"the core {wanted[:12]} is in no commit of this clone",
        "fetch the whole history (`git fetch --unshallow`), or make the edit again with `blueberry new`",
    )


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
