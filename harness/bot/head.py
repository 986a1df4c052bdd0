"""A pull request's head, read as git objects: nothing of it is checked out, and nothing of it is run."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.bot.connection import redact
from harness.errors import Fault, MachineError, SubmissionError, UsageError
from harness.rules import MAX_MANIFEST_KIB, fault
from harness.submission.git import FETCHED, UNPACKED_S, git, git_bounded
from harness.submission.manifest import FILE as MANIFEST
from harness.submission.patch import FILE as PATCH
from harness.submission.patch import MAX_READ, limited
from harness.submission.root import is_slug

SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
README = "README.md"
MAX_README = 256 * 1024  # bytes
LIMITS = {MANIFEST: MAX_MANIFEST_KIB * 1024, PATCH: MAX_READ, README: MAX_README}
MAX_PATHS = 1_000  # changed paths that are looked at
MAX_LISTED = 1 << 20  # bytes of git's list of them
PATIENCE_S = 30.0  # for that list
# What git says, and nothing else, where what unpacks for it was killed
_KILLED = "fails: fatal: fetch-pack: invalid index-pack output"
_LINKS = {"120000": "pull-file", "160000": "pull-file"}
_ENTRY = re.compile(rb":(\d{6}) (\d{6}) ([0-9a-f]+) ([0-9a-f]+) ([A-Z])\d*")


@dataclass(frozen=True)
class Head:
    """The submission of a pull request, as it is in one commit."""

    sha: str
    slug: str
    files: dict[str, bytes]

    @property
    def patch(self) -> str:
        """For people's eyes; what is not text in it is shown as a mark."""
        return self.files.get(PATCH, b"").decode("utf-8", "replace")


def fetch(repository: Path, number: int, remote: str = "origin") -> str:
    """Fetches the head of a pull request as objects alone, and answers its commit.

    A fork can hold gigabytes, and a small pack hours of unpacking; what is too much for one pack of FETCHED bytes, or
    takes more than UNPACKED_S, is not taken, leaves nothing behind, and is a SubmissionError.
    """
    ref = f"refs/blueberry/pull/{number}"
    # Nothing that cleans up may run under the limit of a fetch: a later fetch of main does that
    kept = (
        "-c",
        "fetch.unpackLimit=1",
        "-c",
        "core.hooksPath=/dev/null",
        "-c",
        "gc.auto=0",
        "-c",
        "maintenance.auto=0",
    )
    slow = ("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60")
    silent = ("--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
    refs = f"+refs/pull/{number}/head:{ref}"
    started = time.time()
    limits = {resource.RLIMIT_FSIZE: FETCHED, resource.RLIMIT_CPU: UNPACKED_S}
    try:
        _git(repository, *kept, *slow, "fetch", *silent, remote, refs, limits=limits)
    except MachineError as error:
        packs = _git(repository, "rev-parse", "--path-format=absolute", "--git-path", "objects/pack").decode().strip()
        halves = [half for half in Path(packs).glob("tmp_*") if half.stat().st_mtime > started - 2]
        whole = [half for half in halves if half.stat().st_size >= FETCHED]
        for half in halves:
            half.unlink(missing_ok=True)
        what = f"brings more than {FETCHED >> 20} MiB" if whole else f"takes more than {UNPACKED_S} s to unpack"
        if whole or (_KILLED in error.faults[0].what and time.time() - started > UNPACKED_S / (os.cpu_count() or 1)):
            raise SubmissionError(fault("pull-file", f"pull request {number}", what)) from error
        raise
    return _git(repository, "rev-parse", "--verify", ref).decode().strip()


def has_commit(repository: Path, sha: str) -> bool:
    return git("cat-file", "-e", f"{sha}^{{commit}}", cwd=repository, repository=True).returncode == 0


def full_sha(text: str) -> str:
    """A full commit id; a shortened one could come to mean another commit."""
    if not SHA.fullmatch(text):
        raise UsageError("--sha", f"{text[:80]!a} is no full commit id", "give all 40 characters, in lower case")
    return text


def read_head(repository: Path, sha: str, base: str = "HEAD") -> Head:
    """The one submission that a commit changes; raises SubmissionError for anything else that it touches."""
    changed = _changed(repository, _merge_base(repository, base, sha), sha)
    if changed is None or len(changed) > MAX_PATHS:
        raise SubmissionError(fault("pull-outside", sha[:12], f"touches more than {MAX_PATHS} paths"))
    faults = [found for entry in changed if (found := _outside(*entry))]
    slugs = sorted({path.split("/")[1] for _, path in changed if path.startswith("submissions/") and "/" in path[12:]})
    if not changed:
        faults.append(fault("pull-outside", sha[:12], "changes nothing"))
    elif not faults and len(slugs) != 1:
        faults.append(fault("pull-outside", sha[:12], f"touches {len(slugs)} submissions: {', '.join(slugs[:5])}"))
    if faults:
        raise SubmissionError(*limited(faults))
    return Head(sha, slugs[0], dict(_files(repository, sha, slugs[0])))


def read_submission(repository: Path, number: int, sha: str, slug: str) -> Head:
    """A submission as it was in a commit of a pull request that may be merged by now; raises SubmissionError."""
    last = fetch(repository, number)
    done = git("merge-base", "--is-ancestor", sha, last, cwd=repository, repository=True)
    if done.returncode:
        raise SubmissionError(fault("pull-artifact", sha[:12], f"is no commit of pull request {number} as it is now"))
    return Head(sha, slug, dict(_files(repository, sha, slug)))


def touches_submissions(repository: Path, sha: str, base: str = "HEAD") -> bool:
    """Whether a commit has anything to do with submissions at all."""
    return _changed(repository, _merge_base(repository, base, sha), sha, "submissions") != []


def write(head: Head, submissions: Path) -> Path:
    """The submission as a folder of `submissions`, for the checks that read folders."""
    folder = submissions / head.slug
    folder.mkdir(parents=True)
    for name, content in head.files.items():
        (folder / name).write_bytes(content)
    return folder


def _merge_base(repository: Path, base: str, sha: str) -> str:
    done = git("merge-base", base, sha, cwd=repository, repository=True, limits={resource.RLIMIT_CPU: UNPACKED_S})
    if done.returncode < 0:
        raise SubmissionError(
            fault("pull-file", sha[:12], f"has a history that takes more than {UNPACKED_S} s to read")
        )
    if done.returncode:
        fix = "fetch the whole history (`git fetch --unshallow`; in a workflow fetch-depth: 0)"
        raise MachineError(sha[:12], f"has no commit in common with {base} in this clone", fix)
    return done.stdout.decode().strip()


def _changed(repository: Path, before: str, after: str, below: str = ".") -> list[tuple[str, str]] | None:
    """(mode after, path) of every path that differs; a deleted one has the mode 000000. None where they are too many
    to be listed."""
    command = ("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-ext-diff", before, after, "--", below)
    listed = git_bounded(*command, cwd=repository, most=MAX_LISTED, timeout_s=PATIENCE_S)
    if listed is None:
        return None
    parts = listed.split(b"\0")
    found = []
    for facts, path in zip(parts[:-1:2], parts[1::2], strict=True):
        entry = _ENTRY.fullmatch(facts)
        assert entry, "git's raw diff has another form"
        found.append((entry[2].decode(), path.decode("utf-8", "backslashreplace")))
    return found


def _outside(mode: str, path: str) -> Fault | None:
    """Why a pull request of a submission may not hold this path, or None."""
    parts = path.split("/")
    if parts[0] != "submissions" or len(parts) < 3 or not is_slug(parts[1]):
        return fault("pull-outside", ascii(path[:80]), "lies outside submissions/<slug>/")
    if len(parts) > 3 or parts[2] not in LIMITS:
        return fault("pull-file", ascii(path[:80]), f"is none of {', '.join(LIMITS)}")
    if mode not in ("100644", "000000"):
        return fault("pull-file", ascii(path[:80]), f"has the mode {mode}")
    return None


def _files(repository: Path, sha: str, slug: str) -> Iterator[tuple[str, bytes]]:
    """The files of a submission in a commit, each no larger than its limit."""
    listed = _git(repository, "ls-tree", "-z", "-l", f"{sha}:submissions/{slug}", missing=b"")
    for line in listed.split(b"\0")[:-1]:
        facts, _, raw = line.partition(b"\t")
        mode, kind, blob, size = facts.decode().split()
        name = raw.decode("utf-8", "backslashreplace")
        found = _outside(mode, f"submissions/{slug}/{name}")
        if found or kind != "blob":
            raise SubmissionError(found or fault("pull-file", ascii(name[:80]), "is a folder"))
        if int(size) > LIMITS[name]:
            raise SubmissionError(fault("pull-file", f"submissions/{slug}/{name}", f"has {int(size):,} bytes"))
        yield name, _git(repository, "cat-file", "blob", blob)


def _git(
    repository: Path, *arguments: str, missing: bytes | None = None, limits: Mapping[int, int] | None = None
) -> bytes:
    done: subprocess.CompletedProcess[bytes] = git(*arguments, cwd=repository, repository=True, limits=limits)
    if done.returncode and missing is not None:
        return missing
    if done.returncode:
        said = "; ".join(redact(done.stderr.decode("utf-8", "replace")).strip().split("\n")[-2:])[-200:]
        verb = next(word for word in arguments if not word.startswith("-") and "=" not in word)
        raise MachineError(f"git {verb}", f"fails: {said}", f"check the clone {repository} and its remote")
    return done.stdout
