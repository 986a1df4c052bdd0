"""patch.diff: whether it may run (`check`), and the patched copy of the core that runs (`apply`).

Two readers have to agree: the strict one here decides what a patch is and is not, `git apply` makes the copy, and the
copy must equal what the strict one expected, byte for byte.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import Fault, MachineError, SubmissionError
from harness.records.atomic import disk_trouble
from harness.rules import MAX_CHANGED_LINES, MAX_COMPRESSED_KIB, fault
from harness.submission.diff import Diff, apply_change, parse_diff
from harness.submission.files import decode, hidden_fault, place, read_hostile
from harness.submission.git import git
from harness.submission.literals import read_source, table_faults
from harness.submission.manifest import FILE as MANIFEST
from harness.submission.manifest import Manifest, load_manifest
from harness.submission.program import program_digest
from harness.submission.root import is_slug
from harness.tracks import TRACKS

FILE = "patch.diff"
MAX_READ = 1024 * 1024  # bytes; a patch beyond this is refused unread
MAX_SAME_FAULTS = 10

# Files of the core by path from the root (model_core/lm.py), in order: what is digested, patched and run.
Core = Mapping[str, bytes]

CONTRACT = frozenset(f"model_core/{name}" for track in TRACKS.values() for name in track.core_files)


@dataclass(frozen=True)
class PatchedCore:
    """A fresh copy of the core with a submission applied."""

    folder: Path  # the package model_core itself; its parent is what goes on sys.path
    core_id: str  # digest of the unpatched core files that were asked for (a track's)
    core_digest: str  # digest of all of the unpatched core
    patched_digest: str  # digest of `folder`; differs from core_digest
    patch_sha: str | None  # sha256 of patch.diff; None where nothing was applied
    added: int  # lines
    removed: int  # lines


@dataclass(frozen=True)
class CheckResult:
    """What `blueberry check` found."""

    ok: bool
    slug: str
    core_id: str  # digest of all of today's model_core
    patch_sha: str | None
    added: int
    removed: int
    warnings: tuple[str, ...]
    faults: tuple[Fault, ...]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "warnings": list(self.warnings), "faults": [each.to_json() for each in self.faults]}


@dataclass(frozen=True)
class _Reading:
    """A patch against a core, judged without running it."""

    sha: str
    content: bytes
    diff: Diff
    result: dict[str, bytes]  # the patched core, as far as it could be made
    faults: tuple[Fault, ...]


def read_core(folder: Path) -> dict[str, bytes]:
    """The modules of a model_core folder, by path from its parent. What Python does not import is left out: other
    suffixes (HISTORY.md), __pycache__, hidden folders."""
    core = {}
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder)
        if path.is_file() and not any(part == "__pycache__" or part.startswith(".") for part in inside.parts):
            core[f"model_core/{inside.as_posix()}"] = path.read_bytes()
    return core


def digest(core: Core) -> str:
    """sha256 over sorted paths and contents, each preceded by its length."""
    state = hashlib.sha256()
    for path in sorted(core):
        for part in (path.encode(), core[path]):
            state.update(len(part).to_bytes(8, "big") + part)
    return state.hexdigest()


def of_track(core: Core, files: Iterable[str]) -> dict[str, bytes]:
    """A track's `core_files`, and those that no track names, as a promotion may add them: each track might run them."""
    named = {f"model_core/{name}" for name in files}
    return {path: content for path, content in core.items() if path in named or path not in CONTRACT}


def core_digest(folder: Path, files: Iterable[str] | None = None) -> str:
    """Digest of a model_core folder, or of what a track with these `core_files` runs of it.

    Raises MachineError where one of them is missing.
    """
    return _digest_of(read_core(folder), files)


def _digest_of(core: Core, files: Iterable[str] | None) -> str:
    if files is None:
        return digest(core)
    files = tuple(files)
    missing = [name for name in files if f"model_core/{name}" not in core]
    if missing:
        fix = "restore it: `git checkout -- model_core`"
        raise MachineError(f"model_core/{missing[0]}", "is not in the core", fix)
    return digest(of_track(core, files))


def check(root: Path, folder: Path) -> CheckResult:
    """Every static rule on the submission or reference in `folder`; runs nothing of it. All faults are reported."""
    core = read_core(root / "model_core")
    faults: list[Fault] = []
    manifest = reading = None
    warnings: list[str] = []
    below, shorter = [core], []
    try:
        manifest = load_manifest(folder)
        below = _levels(root, folder, manifest)
        shorter = _shorter(root, manifest, below)
    except SubmissionError as error:
        faults += error.faults
    faults += _slug_faults(root, folder)
    try:
        reading = _read_on(folder, below[-1], shorter)
        faults += reading.faults
    except SubmissionError as error:
        faults += error.faults
    if reading and manifest:
        faults += [] if manifest.base else [fault("manifest-base", place(folder, MANIFEST), "has no `base`")]
        warnings += _warnings(folder, manifest, reading, below[-1], digest(core))
    if reading and not faults:
        with tempfile.TemporaryDirectory(prefix="blueberry-check-") as dest:
            faults += _git_faults(folder, below[-1], reading, Path(dest))
    counts = (reading.diff.added, reading.diff.removed) if reading else (0, 0)
    sha = reading.sha if reading else None
    return CheckResult(not faults, folder.name, digest(core), sha, *counts, tuple(warnings), limited(faults))


def apply(root: Path, folder: Path, dest: Path, files: Iterable[str] | None = None) -> PatchedCore:
    """Copy the core into the fresh folder `dest` and apply the submission in `folder` to the copy.

    `files` are the core files whose digest becomes `core_id` (default: all). Raises SubmissionError with every static
    fault; nothing is ever applied that `check` would refuse for its patch.
    """
    manifest = load_manifest(folder)
    below = _levels(root, folder, manifest)
    reading = _read_on(folder, below[-1], _shorter(root, manifest, below))
    faults = reading.faults or _git_faults(folder, below[-1], reading, dest)
    if faults:
        raise SubmissionError(*limited(faults))
    assert digest(reading.result) != digest(below[-1]), "the patch changed nothing"
    return _copied(root, dest, files, reading)


def unpatched(root: Path, folder: Path | None, dest: Path, files: Iterable[str] | None = None) -> PatchedCore:
    """What the submission in `folder` races, copied into the fresh folder `dest`: the core, and the patches that the
    submission builds on where it names any. `folder=None` is the core alone."""
    core = read_core(root / "model_core") if folder is None else stacked(root, folder, load_manifest(folder))
    write_core(core, dest)
    return _copied(root, dest, files, None)


def stacked(root: Path, folder: Path, manifest: Manifest, core: Core | None = None) -> dict[str, bytes]:
    """`core` (default: today's) with the patches of `builds_on` applied; raises SubmissionError."""
    return _levels(root, folder, manifest, core)[-1]


def _levels(root: Path, folder: Path, manifest: Manifest, core: Core | None = None) -> list[dict[str, bytes]]:
    """`core` (default: today's), then that under each patch of `builds_on`; raises SubmissionError."""
    below = [dict(core if core is not None else read_core(root / "model_core"))]
    for parent in manifest.builds_on:
        slug, _, sha = parent.partition("@")
        where = place(folder, MANIFEST)
        try:
            reading = _read(root / "submissions" / slug, below[-1])
        except SubmissionError as error:
            raise SubmissionError(
                fault("manifest-builds-on", where, f"builds on {slug}: {error.faults[0].what}")
            ) from None
        if reading.sha != sha:
            raise SubmissionError(fault("manifest-builds-on", where, f"{slug}/{FILE} has the sha256 {reading.sha}"))
        if reading.faults:
            raise SubmissionError(
                fault("manifest-builds-on", where, f"builds on {slug}, whose patch {reading.faults[0].what}")
            )
        below.append(reading.result)
    return below


def _shorter(root: Path, manifest: Manifest, below: Sequence[Core]) -> list[Core]:
    """The stack up to each of its patches but the last, and without each one of them, where that applies."""
    found: list[Core] = list(below[:-1])
    for left_out in manifest.builds_on[:-1]:
        core: Core = below[0]
        with contextlib.suppress(SubmissionError):
            for parent in manifest.builds_on:
                if parent != left_out:
                    slug = parent.partition("@")[0]
                    core = patched_by(read_patch(root / "submissions" / slug), slug, core)
            found.append(core)
    return found


def patched(root: Path, folder: Path, core: Core | None = None) -> dict[str, bytes]:
    """`core` (default: today's) under the submission's own patch and those it builds on; raises SubmissionError."""
    reading = _read(folder, stacked(root, folder, load_manifest(folder), core))
    if reading.faults:
        raise SubmissionError(*limited(reading.faults))
    return reading.result


def read_patch(folder: Path) -> bytes:
    """patch.diff as it is; raises SubmissionError."""
    return read_hostile(folder, FILE, "patch", MAX_READ)


def patch_sha(folder: Path) -> str:
    """sha256 of patch.diff, by which records name it; raises SubmissionError."""
    return hashlib.sha256(read_patch(folder)).hexdigest()


def patched_by(content: bytes, where: str, core: Core) -> dict[str, bytes]:
    """`core` under a patch that is not, or no longer, a file; raises SubmissionError."""
    reading = _judge(content, where, core)
    if reading.faults:
        raise SubmissionError(*limited(reading.faults))
    return reading.result


def write_core(core: Core, dest: Path) -> None:
    """Write the files of `core` below `dest`, which has to be new or empty; raises MachineError."""
    with disk_trouble(dest):
        dest.mkdir(parents=True, exist_ok=True)
        assert not any(dest.iterdir()), "a copy of the core goes into a fresh folder"
        for path, content in core.items():
            (dest / path).parent.mkdir(parents=True, exist_ok=True)
            (dest / path).write_bytes(content)


def limited(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """At most MAX_SAME_FAULTS of each rule; the last of them says how many more there are."""
    by_rule: dict[str, list[Fault]] = defaultdict(list)
    for found in faults:
        by_rule[found.rule].append(found)
    kept: list[Fault] = []
    for same in by_rule.values():
        kept += same[:MAX_SAME_FAULTS]
        if len(same) > MAX_SAME_FAULTS:
            last = kept.pop()
            more = len(same) - MAX_SAME_FAULTS
            kept.append(Fault(last.rule, last.where, f"{last.what} (and {more} more like it)", last.fix))
    return tuple(kept)


def _read(folder: Path, core: Core) -> _Reading:
    """Read patch.diff and judge it against `core`; raises SubmissionError only where there is no text to judge."""
    return _judge(read_patch(folder), place(folder, FILE), core)


def _read_on(folder: Path, below: Core, shorter: Sequence[Core]) -> _Reading:
    """The patch of a submission against the core below it. It must not lead back to a shorter stack: what a record gave
    away for a gain could then be had again as the gain of another."""
    reading = _read(folder, below)
    if reading.faults or not shorter:
        return reading
    if program_digest(reading.result) in map(program_digest, shorter):
        return replace(reading, faults=(fault("patch-no-change", place(folder, FILE), "takes back what it builds on"),))
    return reading


def _judge(content: bytes, where: str, core: Core) -> _Reading:
    text = decode(content, where, "patch")
    diff = parse_diff(text, where)
    faults = list(diff.faults)
    hidden = hidden_fault(text, where, "patch")
    if hidden:
        faults.append(hidden)
    if diff.added + diff.removed > MAX_CHANGED_LINES:
        what = f"changes {diff.added + diff.removed} lines (+{diff.added} -{diff.removed})"
        faults.append(fault("patch-lines", where, what))
    compressed = len(zlib.compress(content, 9))
    if compressed > MAX_COMPRESSED_KIB * 1024:
        faults.append(fault("patch-size", where, f"is {compressed / 1024:.0f} KiB compressed"))
    result, found = _result(diff, core, where)
    faults += found
    if not faults and digest(result) == digest(core):
        faults.append(fault("patch-no-change", where, "leaves the core as it is"))
    return _Reading(hashlib.sha256(content).hexdigest(), content, diff, result, tuple(faults))


def _result(diff: Diff, core: Core, where: str) -> tuple[dict[str, bytes], list[Fault]]:
    """The patched core and the faults of fitting the patch to it. A file whose diff is broken is left as it was."""
    result = dict(core)
    faults = []
    literals = 0
    for change in diff.changes:
        spot = f"{where}:{change.line}"
        if change.kind == "delete" and change.path in CONTRACT:
            faults.append(fault("patch-contract", spot, f"deletes {change.path}"))
        if change.kind == "new" and _shadows(change.path, core):
            faults.append(fault("patch-file", spot, f"adds {change.path}, which hides a module of the core"))
        if diff.faults:
            continue
        old = core.get(change.path)
        try:
            image = apply_change(change, None if old is None else old.decode(), where)
        except SubmissionError as error:
            faults += error.faults
            continue
        if image is None:
            del result[change.path]
        else:
            result[change.path] = image.text.encode()
            source = read_source(change.path, image.text, image.added)
            faults += source.faults
            literals += source.literals
    return result, [*faults, *table_faults(where, diff.added_lines, literals)]


def _shadows(path: str, core: Core) -> bool:
    """Whether importing a name would find this new file instead of a module that the core has (lm/ before lm.py)."""
    parents = [str(parent) for parent in Path(path).parents]
    return any(f"{parent}.py" in core for parent in parents)


def _git_faults(folder: Path, core: Core, reading: _Reading, dest: Path) -> tuple[Fault, ...]:
    """Make the patched copy in `dest` with git, and compare it with what the strict reader expects."""
    write_core(core, dest)
    done = git("apply", "--whitespace=nowarn", "-", cwd=dest, stdin=reading.content)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().split("\n")[0][:200]
        return (fault("patch-format", place(folder, FILE), f"git does not apply it: {said!a}"),)
    if read_core(dest / "model_core") != reading.result:
        return (fault("patch-format", place(folder, FILE), "git apply reads it otherwise than it is written"),)
    return ()


def _copied(root: Path, dest: Path, files: Iterable[str] | None, reading: _Reading | None) -> PatchedCore:
    core = read_core(root / "model_core")
    return PatchedCore(
        folder=dest / "model_core",
        core_id=_digest_of(core, files),
        core_digest=digest(core),
        patched_digest=core_digest(dest / "model_core"),
        patch_sha=reading.sha if reading else None,
        added=reading.diff.added if reading else 0,
        removed=reading.diff.removed if reading else 0,
    )


def _slug_faults(root: Path, folder: Path) -> list[Fault]:
    """Two arms of one name could not be told apart in run files."""
    other = "baselines" if folder.parent.name == "submissions" else "submissions"
    if not is_slug(folder.name) or not (root / other / folder.name).is_dir():
        return []
    return [fault("manifest-slug", f"{folder.parent.name}/{folder.name}", f"{other}/ has an arm of the same name")]


def _warnings(folder: Path, manifest: Manifest, reading: _Reading, core: Core, today: str) -> list[str]:
    warnings = []
    touched = {change.path for change in reading.diff.changes}
    for name in dict.fromkeys(claim.track for claim in manifest.claims):
        if touched.isdisjoint(of_track(core, TRACKS[name].core_files)):
            warnings.append(f"the patch touches no file that {name} runs: expect a gain of exactly 0 there")
    if manifest.base and manifest.base != today:
        warnings.append("the core has changed since this was packed; it still fits, line for line")
    scratch = folder / "core"
    if scratch.is_dir() and not reading.faults and read_core(scratch) != reading.result:
        warnings.append(f"core/ holds edits that are not in {FILE}; `blueberry pack {folder.name}` takes them in")
    return warnings
