"""The scratch copy of the core in submissions/SLUG/core/: made, rebuilt, packed into a patch, moved to a newer core.

The scratch copy remembers (core/.base) which core it was copied from, and under which patches of others. Without that,
packing after the core has moved would write a patch that silently takes the core's changes back.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from harness.errors import Fault, SubmissionError, UsageError
from harness.records import promotions
from harness.records.atomic import disk_trouble, write_atomically
from harness.rules import fault
from harness.submission.diff import parse_diff, path_fault
from harness.submission.files import decode, place
from harness.submission.git import git
from harness.submission.history import core_of
from harness.submission.manifest import FILE as MANIFEST
from harness.submission.manifest import Manifest, load_manifest, parse_manifest
from harness.submission.merge import merge
from harness.submission.parents import core_under, parents_today
from harness.submission.patch import FILE as PATCH
from harness.submission.patch import (
    Core,
    digest,
    limited,
    patch_sha,
    patched,
    patched_by,
    read_core,
    read_patch,
    stacked,
    write_core,
)
from harness.submission.root import find_folder, is_slug

_BASE_LINE = re.compile(r'^base[ \t]*=[ \t]*("[^"\n]*"|\'[^\'\n]*\')', re.MULTILINE)
_BUILDS_ON = re.compile(r"^builds_on[ \t]*=[ \t]*\[[^\]]*\][ \t]*(#[^\n]*)?\n", re.MULTILINE)
_CONFLICT = re.compile(rb"^(<<<<<<<|>>>>>>>) ", re.MULTILINE)


@dataclass(frozen=True)
class ScratchResult:
    """What `new` or `edit` made."""

    slug: str
    folder: Path  # of the submission
    scratch: Path  # what to edit


@dataclass(frozen=True)
class PackResult:
    """What `pack` wrote."""

    slug: str
    patch: Path
    patch_sha: str
    added: int  # lines
    removed: int  # lines


@dataclass(frozen=True)
class _MadeOn:
    """What an edit started from."""

    core: str  # digest of the core
    parents: tuple[str, ...]  # slug@sha256 of the patches on top of it


@dataclass(frozen=True)
class RebaseResult:
    """What `rebase` did. With conflicts, nothing is packed: they wait in the scratch copy."""

    slug: str
    moved: bool  # False: it was on today's core already
    dropped: tuple[str, ...]  # parents that have become core, as slug@sha256
    conflicts: tuple[str, ...]  # files of the scratch copy, from the root
    packed: PackResult | None


def new(root: Path, slug: str) -> ScratchResult:
    """Make submissions/SLUG/ with a valid manifest and a scratch copy of the core; raises UsageError."""
    if not is_slug(slug):
        raise UsageError("new", f"{slug[:60]!a} is not a slug", "3 to 40 characters from a-z, 0-9 and -, not `core`")
    for parent in ("submissions", "baselines"):
        if (root / parent / slug).exists():
            raise UsageError(f"new {slug}", f"{parent}/{slug} exists", f"take another name, or `blueberry edit {slug}`")
    core = read_core(root / "model_core")
    with disk_trouble(root / "submissions"):
        draft = Path(tempfile.mkdtemp(dir=root / "submissions", prefix=".new-"))
        draft.chmod(0o755)
        for template in (resources.files("harness.submission") / "templates").iterdir():
            if template.name in (MANIFEST, "README.md"):
                (draft / template.name).write_text(template.read_text("utf-8").replace("{slug}", slug), "utf-8")
        _write_scratch(draft, core, _MadeOn(digest(core), ()))
        draft.rename(root / "submissions" / slug)
    folder = root / "submissions" / slug
    return ScratchResult(slug, folder, folder / "core")


def edit(root: Path, slug: str) -> ScratchResult:
    """Rebuild the scratch copy from the patch (from the core where there is none yet).

    Raises UsageError where a scratch copy holds other edits, SubmissionError where the patch does not apply.
    """
    folder = find_folder(root, slug)
    manifest = load_manifest(folder)
    core = patched(root, folder) if (folder / PATCH).exists() else stacked(root, folder, manifest)
    scratch = folder / "core"
    if scratch.is_dir() and read_core(scratch) != core:
        raise UsageError(
            f"edit {slug}",
            f"core/ holds edits that are not in {PATCH}",
            f"`blueberry pack {slug}` takes them in; delete {place(folder, 'core')} to give them up",
        )
    _write_scratch(folder, core, _MadeOn(digest(read_core(root / "model_core")), manifest.builds_on))
    return ScratchResult(folder.name, folder, scratch)


def pack(root: Path, slug: str) -> PackResult:
    """Write patch.diff and `base` from the scratch copy; raises SubmissionError (conflict markers, files that are not
    modules, a core that has moved) and UsageError (no scratch copy)."""
    folder = find_folder(root, slug)
    manifest = load_manifest(folder)
    scratch = _scratch(folder)
    today = _today(root, folder, manifest)
    made_on = _made_on(folder, manifest, today)
    if made_on.core != today.core:
        own = f"where you have edited model_core/ itself, edit {place(folder, 'core')} instead"
        fix = f"`blueberry rebase {folder.name}`; {own}, and undo the other: `git checkout -- model_core`"
        where = place(folder, "core")
        raise SubmissionError(fault("patch-stale", where, "was copied from another core than today's", fix))
    if made_on.parents != today.parents:
        what = "was made under other patches than `builds_on` names, or than those are today"
        fix = f"`blueberry rebase {folder.name}`"
        raise SubmissionError(fault("manifest-builds-on", place(folder, "core"), what, fix))
    below = core_under(root, folder, today.parents, read_core(root / "model_core"))
    return _pack(folder, below, scratch, today)


def rebase(root: Path, slug: str) -> RebaseResult:
    """Move a submission to today's core and to its parents as they are today, by 3-way merge in its scratch copy, and
    pack it where nothing conflicts.

    The common ancestor is what it was made on, found in the clone's history by digest; raises UsageError where that
    history does not hold it, and for a submission that is part of the core.
    """
    folder = find_folder(root, slug)
    manifest = load_manifest(folder)
    _refuse_promoted(root, folder)
    today = _today(root, folder, manifest)
    made_on = _made_on(folder, manifest, today)
    if made_on == today:
        return RebaseResult(folder.name, False, (), (), None)
    ancestor = core_under(root, folder, made_on.parents, core_of(root, made_on.core))
    if (folder / "core").is_dir():
        ours = _scratch(folder)
    else:
        ours = patched_by(read_patch(folder), place(folder, PATCH), ancestor)
    theirs = core_under(root, folder, today.parents, read_core(root / "model_core"))
    merged = merge(ancestor, ours, theirs, (folder.name, "the core it was made on", "today's core"))
    _write_scratch(folder, merged.core, today)
    kept = {parent.partition("@")[0] for parent in today.parents}
    dropped = tuple(parent for parent in manifest.builds_on if parent.partition("@")[0] not in kept)
    if merged.conflicts:
        names = tuple(place(folder, path.replace("model_core", "core", 1)) for path in merged.conflicts)
        return RebaseResult(folder.name, True, dropped, names, None)
    return RebaseResult(folder.name, True, dropped, (), _pack(folder, theirs, merged.core, today))


def _refuse_promoted(root: Path, folder: Path) -> None:
    if not (folder / PATCH).is_file():
        return
    name = f"{folder.name}@{patch_sha(folder)}"
    promotion = promotions.by_name(promotions.read(root / "leaderboard")).get(name)
    if promotion is not None:
        what = f"became part of the core on {promotion.date}"
        raise UsageError(f"rebase {folder.name}", what, "nothing is left to do; another idea is another submission")


def _pack(folder: Path, core: Core, scratch: Core, today: _MadeOn) -> PackResult:
    if scratch == core:
        raise SubmissionError(fault("patch-no-change", place(folder, "core"), "is the same as the core"))
    changed = sorted(path for path in {*core, *scratch} if core.get(path) != scratch.get(path))
    text = "".join(_diff(path, core.get(path), scratch.get(path)) for path in changed)
    manifest = _moved_manifest(folder, today)
    write_atomically(folder / PATCH, text.encode())
    write_atomically(folder / MANIFEST, manifest.encode())
    _remember(folder / "core", today)
    read = parse_diff(text)
    sha = hashlib.sha256(text.encode()).hexdigest()
    return PackResult(folder.name, folder / PATCH, sha, read.added, read.removed)


def _diff(path: str, old: bytes | None, new: bytes | None) -> str:
    """One file's part of the patch. The header is ours (git's `index` line depends on its settings), hunks are git's.

    Hunk headers may end in a cut-off UTF-8 sequence, which is dropped; the lines themselves are whole.
    """
    header = [f"diff --git a/{path} b/{path}"]
    if old is None or new is None:
        header.append("new file mode 100644" if old is None else "deleted file mode 100644")
    names = [
        f"--- a/{path}" if old is not None else "--- /dev/null",
        f"+++ b/{path}" if new is not None else "+++ /dev/null",
    ]
    with tempfile.TemporaryDirectory(prefix="blueberry-pack-") as temporary:
        folder = Path(temporary)
        (folder / "old").write_bytes(old or b"")
        (folder / "new").write_bytes(new or b"")
        options = ("--no-index", "--text", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames")
        style = ("--unified=3", "--inter-hunk-context=0", "--diff-algorithm=histogram", "--indent-heuristic")
        said = git("diff", *options, *style, "old", "new", cwd=folder).stdout.decode(errors="ignore")
    at = said.find("\n@@ ")
    hunks = said[at + 1 :] if at >= 0 else ""  # none for an empty file
    return "\n".join([*header, *(names if hunks else []), hunks])


def _scratch(folder: Path) -> dict[str, bytes]:
    """The modules of the scratch copy; raises UsageError without one, SubmissionError for what no patch may hold."""
    scratch = folder / "core"
    if not scratch.is_dir():
        raise UsageError(place(folder, "core"), "there is no scratch copy", f"`blueberry edit {folder.name}` makes it")
    faults = limited(_scratch_faults(folder))
    if faults:
        raise SubmissionError(*faults)
    return read_core(scratch)


def _scratch_faults(folder: Path) -> Iterator[Fault]:
    for path in sorted((folder / "core").rglob("*")):
        inside = path.relative_to(folder)
        if any(part == "__pycache__" or part.startswith(".") or part.endswith("~") for part in inside.parts):
            continue
        where = place(folder, inside.as_posix())
        if path.is_symlink():
            yield fault("patch-symlink", where, "is a symbolic link")
        elif path.is_file() and path.suffix != ".py":
            yield fault("patch-file", where, "is not a Python module, and a patch holds nothing else")
        elif path.is_file():
            named = path_fault(f"model_core/{path.relative_to(folder / 'core').as_posix()}", where)
            if named:
                yield named
            content = path.read_bytes()
            try:
                decode(content, where, "patch")
            except SubmissionError as error:
                yield from error.faults
            marker = _CONFLICT.search(content)
            if marker:
                line = content.count(b"\n", 0, marker.start()) + 1
                yield fault("patch-conflict", f"{where}:{line}", "holds a conflict marker")


def _today(root: Path, folder: Path, manifest: Manifest) -> _MadeOn:
    """What the submission would be made on now."""
    return _MadeOn(digest(read_core(root / "model_core")), parents_today(root, folder, manifest.builds_on))


def _made_on(folder: Path, manifest: Manifest, today: _MadeOn) -> _MadeOn:
    """What the scratch copy was made from, or else the patch; one made by hand counts as the patch's, or today's."""
    remembered = folder / "core" / ".base"
    if not remembered.is_file():
        return _MadeOn(manifest.base or today.core, manifest.builds_on)
    core, *parents = remembered.read_text("utf-8").split()
    return _MadeOn(core, tuple(parents))


def _remember(scratch: Path, made_on: _MadeOn) -> None:
    (scratch / ".base").write_text("".join(f"{line}\n" for line in (made_on.core, *made_on.parents)), "utf-8")


def _write_scratch(folder: Path, core: Core, made_on: _MadeOn) -> None:
    """Replace folder/core/ by the files of `core`, complete or not at all."""
    scratch = folder / "core"
    with disk_trouble(scratch):
        fresh = Path(tempfile.mkdtemp(dir=folder, prefix=".core-"))
        write_core(core, fresh)
        _remember(fresh / "model_core", made_on)
        if scratch.is_dir():
            os.rename(scratch, fresh / "before")
        os.rename(fresh / "model_core", scratch)
        shutil.rmtree(fresh)


def _moved_manifest(folder: Path, made_on: _MadeOn) -> str:
    """The manifest's text with `base` and `builds_on` set, comments kept; raises SubmissionError where that cannot be
    written."""
    where = place(folder, MANIFEST)
    text = (folder / MANIFEST).read_bytes().decode()
    manifest = parse_manifest(text, where)
    if manifest.builds_on != made_on.parents:
        listed = ", ".join(f'"{parent}"' for parent in made_on.parents)
        line = f"builds_on = [{listed}]\n"
        manifest = manifest.model_copy(update={"builds_on": made_on.parents})
        rule = fault("manifest-builds-on", where, "has names that cannot be brought up to date", f"write `{line[:-1]}`")
        text = _rewritten(text, [_BUILDS_ON.sub(line if listed else "", text, count=1)], manifest, rule)
    line = f'base = "{made_on.core}"'
    wanted = manifest.model_copy(update={"base": made_on.core})
    missing = fault("manifest-base", where, "has no line for `base`", f"add `{line}` at the top")
    return _rewritten(text, [_BASE_LINE.sub(line, text, count=1), f"{line}\n{text}"], wanted, missing)


def _rewritten(text: str, attempts: Iterable[str], wanted: Manifest, otherwise: Fault) -> str:
    """The first attempt that reads as `wanted`: a line that looks right may stand inside the text of another value."""
    for edited in attempts:
        with contextlib.suppress(SubmissionError):
            if parse_manifest(edited, otherwise.where) == wanted:
                return edited
    raise SubmissionError(otherwise)
