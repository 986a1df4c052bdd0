"""The scratch copy of the core in submissions/SLUG/core/: made, rebuilt, packed into a patch, moved to a newer core.

The scratch copy remembers (core/.base) which core it was copied from. Without that, packing after the core has moved
would write a patch that silently takes the core's changes back.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from harness.errors import Fault, SubmissionError, UsageError
from harness.records.atomic import disk_trouble, write_atomically
from harness.rules import fault
from harness.submission.diff import parse_diff, path_fault
from harness.submission.files import decode, place
from harness.submission.git import git
from harness.submission.history import core_of
from harness.submission.manifest import FILE as MANIFEST
from harness.submission.manifest import Manifest, load_manifest, parse_manifest
from harness.submission.patch import FILE as PATCH
from harness.submission.patch import Core, digest, limited, patched, read_core, stacked, write_core
from harness.submission.root import find_folder, is_slug

_BASE_LINE = re.compile(r'^base[ \t]*=[ \t]*("[^"\n]*"|\'[^\'\n]*\')', re.MULTILINE)
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
class RebaseResult:
    """What `rebase` did. With conflicts, nothing is packed: they wait in the scratch copy."""

    slug: str
    moved: bool  # False: it was on today's core already
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
        _write_scratch(draft, core, digest(core))
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
    _write_scratch(folder, core, digest(read_core(root / "model_core")))
    return ScratchResult(folder.name, folder, scratch)


def pack(root: Path, slug: str) -> PackResult:
    """Write patch.diff and `base` from the scratch copy; raises SubmissionError (conflict markers, files that are not
    modules, a core that has moved) and UsageError (no scratch copy)."""
    folder = find_folder(root, slug)
    manifest = load_manifest(folder)
    scratch = _scratch(folder)
    today = digest(read_core(root / "model_core"))
    if _scratch_base(folder, manifest, today) != today:
        what = "was copied from another core than today's"
        raise SubmissionError(fault("patch-stale", place(folder, "core"), what))
    return _pack(folder, stacked(root, folder, manifest), scratch, today)


def rebase(root: Path, slug: str) -> RebaseResult:
    """Move a submission to today's core by 3-way merge in its scratch copy, and pack it where nothing conflicts.

    The common ancestor is the core that it was made on, found in the clone's history by digest; raises UsageError
    where that history does not hold it.
    """
    folder = find_folder(root, slug)
    manifest = load_manifest(folder)
    today = digest(read_core(root / "model_core"))
    has_scratch = (folder / "core").is_dir()
    made_on = _scratch_base(folder, manifest, today) if has_scratch else manifest.base or today
    if made_on == today:
        return RebaseResult(folder.name, False, (), None)
    old_core = core_of(root, made_on)
    ancestor = stacked(root, folder, manifest, old_core)
    ours = _scratch(folder) if has_scratch else patched(root, folder, old_core)
    theirs = stacked(root, folder, manifest)
    merged, conflicts = _merge(ancestor, ours, theirs, folder.name)
    _write_scratch(folder, merged, today)
    if conflicts:
        names = tuple(place(folder, path.replace("model_core", "core", 1)) for path in conflicts)
        return RebaseResult(folder.name, True, names, None)
    return RebaseResult(folder.name, True, (), _pack(folder, theirs, merged, today))


def _pack(folder: Path, core: Core, scratch: Core, today: str) -> PackResult:
    if scratch == core:
        raise SubmissionError(fault("patch-no-change", place(folder, "core"), "is the same as the core"))
    changed = sorted(path for path in {*core, *scratch} if core.get(path) != scratch.get(path))
    text = "".join(_diff(path, core.get(path), scratch.get(path)) for path in changed)
    manifest = _with_base(folder, today)
    write_atomically(folder / PATCH, text.encode())
    write_atomically(folder / MANIFEST, manifest.encode())
    (folder / "core" / ".base").write_text(today + "\n", "utf-8")
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


def _scratch_base(folder: Path, manifest: Manifest, today: str) -> str:
    """Digest of the core that the scratch copy was made from; one made by hand counts as the patch's, or today's."""
    remembered = folder / "core" / ".base"
    return remembered.read_text("utf-8").strip() if remembered.is_file() else manifest.base or today


def _write_scratch(folder: Path, core: Core, base: str) -> None:
    """Replace folder/core/ by the files of `core`, complete or not at all."""
    scratch = folder / "core"
    with disk_trouble(scratch):
        fresh = Path(tempfile.mkdtemp(dir=folder, prefix=".core-"))
        write_core(core, fresh)
        (fresh / "model_core" / ".base").write_text(base + "\n", "utf-8")
        if scratch.is_dir():
            os.rename(scratch, fresh / "before")
        os.rename(fresh / "model_core", scratch)
        shutil.rmtree(fresh)


def _with_base(folder: Path, base: str) -> str:
    """The manifest's text with `base` set, comments kept; raises SubmissionError where no such line can be written."""
    where = place(folder, MANIFEST)
    text = (folder / MANIFEST).read_bytes().decode()
    wanted = parse_manifest(text, where).model_copy(update={"base": base})
    line = f'base = "{base}"'
    for edited in (_BASE_LINE.sub(line, text, count=1), f"{line}\n{text}"):
        # a line that looks right may stand inside the text of another value
        with contextlib.suppress(SubmissionError):
            if parse_manifest(edited, where) == wanted:
                return edited
    raise SubmissionError(fault("manifest-base", where, "has no line for `base`", f"add `{line}` at the top"))


def _merge(ancestor: Core, ours: Core, theirs: Core, slug: str) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """`theirs` with the changes that lead from `ancestor` to `ours`, and the paths that need a decision."""
    merged = dict(theirs)
    conflicts = []
    for path in sorted(path for path in {*ancestor, *ours} if ancestor.get(path) != ours.get(path)):
        mine, base, other = ours.get(path), ancestor.get(path), theirs.get(path)
        if other in (base, mine):
            content, clean = mine, True
        elif mine is None or other is None:
            content, clean = (other if mine is None else mine), False  # one side deleted what the other changed
        else:
            content, clean = _merge_file(base or b"", mine, other, slug)
        if content is None:
            merged.pop(path, None)
        else:
            merged[path] = content
        if not clean:
            conflicts.append(path)
    return merged, tuple(conflicts)


def _merge_file(base: bytes, mine: bytes, other: bytes, slug: str) -> tuple[bytes, bool]:
    with tempfile.TemporaryDirectory(prefix="blueberry-rebase-") as temporary:
        folder = Path(temporary)
        for name, content in (("mine", mine), ("base", base), ("other", other)):
            (folder / name).write_bytes(content)
        labels = ("-L", slug, "-L", "the core it was made on", "-L", "today's core")
        done = git("merge-file", "-p", *labels, "mine", "base", "other", cwd=folder)
    # git counts conflicts up to 127; beyond, it could not merge at all (a NUL byte makes it see a binary file)
    return (done.stdout if done.returncode < 128 else mine), done.returncode == 0
