"""Patches that become core: what the core would be with them, what becomes of the open submissions, and the writing.

Nothing here knows of verdicts; who may be promoted is decided by the caller, from the records.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import MachineError, SubmissionError, UsageError
from harness.records import promotions
from harness.records.atomic import write_together
from harness.records.promotions import Promotion
from harness.submission.literals import read_source
from harness.submission.manifest import load_manifest
from harness.submission.merge import merge
from harness.submission.patch import Core, of_track, patch_sha, patched, stacked
from harness.submission.root import is_slug
from harness.tracks import TRACKS, Track

HISTORY = "model_core/HISTORY.md"
_RULE = "|---|---|---|"  # below the heading of its table; new lines go under it


@dataclass(frozen=True)
class Standing:
    """An open submission on two cores."""

    slug: str
    patch_sha: str
    before: bool  # its patch applied to the core as it was
    after: bool  # and applies to the new one


def promoted_core(root: Path, slugs: Sequence[str], core: Core) -> Core:
    """`core` with the patches of these submissions, in this order. Each is merged into what those before it made.

    Raises SubmissionError for a patch that does not apply to `core` itself, UsageError for patches that conflict with
    each other, that change nothing any more, or that build on one which stands neither in the core nor before them.
    """
    after: Core = core
    inside: set[str] = set()
    for slug in slugs:
        folder = root / "submissions" / slug
        for parent in load_manifest(folder).builds_on:
            if parent not in inside:
                below = parent.partition("@")[0]
                fix = f"promote both in one batch, {below} first: the record says what {slug} gains on top of it"
                raise UsageError(f"promote {slug}", f"builds on {below}, which is not part of the core", fix)
        after = _with(root, folder, core, after)
        inside.add(f"{slug}@{patch_sha(folder)}")
    return after


def _with(root: Path, folder: Path, core: Core, after: Core) -> Core:
    """`after` with what the patch does to `core`."""
    slug = folder.name
    ancestor, ours = stacked(root, folder, load_manifest(folder), core), patched(root, folder, core)
    merged = merge(ancestor, ours, after, (slug, "today's core", "those before it"))
    if merged.conflicts:
        what = f"conflicts with those before it in {', '.join(merged.conflicts)}"
        fix = f"promote the others first, then `blueberry rebase {slug}` and have it confirmed on the new core"
        raise UsageError(f"promote {slug}", what, fix)
    changed = [path for path in merged.core if merged.core[path] != after.get(path)]
    faults = [one for path in changed for one in read_source(path, merged.core[path].decode(), frozenset()).faults]
    if faults:  # two clean halves that are no Python together
        raise SubmissionError(*faults)
    if merged.core == after:
        raise UsageError(f"promote {slug}", "changes nothing after those before it", f"leave {slug} out")
    return merged.core


def standings(root: Path, before: Core, after: Core, inside: Sequence[str]) -> tuple[Standing, ...]:
    """What becomes of the submissions that are not part of the new core. `inside` names patches as slug@sha256."""
    found = []
    for folder in folders(root):
        try:
            sha = patch_sha(folder)
        except SubmissionError:
            continue  # a draft
        if f"{folder.name}@{sha}" not in inside:
            applied = _applies(root, folder, before, ())
            found.append(Standing(folder.name, sha, applied, _applies(root, folder, after, inside)))
    return tuple(found)


def folders(root: Path) -> list[Path]:
    """The folders of all submissions, in the order of their names."""
    return sorted(path for path in (root / "submissions").iterdir() if path.is_dir() and is_slug(path.name))


def _applies(root: Path, folder: Path, core: Core, inside: Sequence[str]) -> bool:
    """Whether it applies as it stands; a parent that is core already has to be left out by a rebase."""
    try:
        if set(load_manifest(folder).builds_on) & set(inside):
            return False
        patched(root, folder, core)
    except SubmissionError:
        return False
    return True


def moved_tracks(before: Core, after: Core) -> Iterator[Track]:
    """The tracks that run a file which is not what it was."""
    for track in TRACKS.values():
        if of_track(before, track.core_files) != of_track(after, track.core_files):
            yield track


def write(root: Path, before: Core, after: Core, promotion: Promotion, row: str) -> None:
    """The new core, its line in HISTORY.md and the promotion's record: all of it or nothing; raises MachineError."""
    changed = sorted(path for path in {*before, *after} if before.get(path) != after.get(path))
    contents: dict[Path, bytes | None] = {root / path: after.get(path) for path in changed}
    contents[root / HISTORY] = _history(root, row).encode()
    store = root / "leaderboard"
    contents[store / promotions.NAME] = promotions.text_with(store, promotion).encode()
    write_together(contents)


def _history(root: Path, row: str) -> str:
    path = root / HISTORY
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    head, rule, rest = text.partition(f"\n{_RULE}\n")
    if not rule:
        fix = f"restore it from git: a table with the columns date, core, what, and {_RULE} below them"
        raise MachineError(HISTORY, "has no table of revisions", fix)
    return f"{head}{rule}{row}\n{rest}"
