"""All submissions against today's core: the word for each, whether its patch applies, and what was measured where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from harness.board.entries import STATES, Entry, State, entries_of, with_promoted
from harness.decide.cells import overall_verdict
from harness.errors import SubmissionError
from harness.records import promotions
from harness.records.replaced import replaced
from harness.records.store import Store
from harness.run.arms import track_core_id
from harness.submission.manifest import Manifest, load_manifest
from harness.submission.patch import check, patch_sha, patched
from harness.submission.promote import folders
from harness.tracks import TRACKS

Word = State | Literal["draft", "checked", "stale"]
WORDS: dict[str, State] = {**STATES, "CONFIRMED": "confirmed", "REVOKED": "revoked"}
MOVED: tuple[State, ...] = ("running", "accepted", "review", "confirmed")  # what another core leaves behind


@dataclass(frozen=True)
class CellStatus:
    """One claim of one evaluation."""

    evaluation: str  # id
    date: str
    track: str
    budget: str
    metric: str
    state: State
    core_id: str  # of the track, as it was measured
    today: bool  # that core is today's
    patch_sha: str | None
    present: bool  # that patch is the present one, on the parents that its manifest names
    official: bool
    claimed: bool


@dataclass(frozen=True)
class Status:
    """One submission."""

    slug: str
    title: str | None  # None where the manifest cannot be read
    state: Word
    applies: bool  # to today's core, line for line
    fault: str | None  # why not
    patch_sha: str | None
    builds_on: tuple[str, ...]
    cells: tuple[CellStatus, ...]  # oldest first

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Patch:
    """A folder as it is today."""

    folder: Path
    manifest: Manifest | None
    sha: str | None
    fault: str | None


def statuses(root: Path) -> tuple[Status, ...]:
    """One for each folder in submissions/, in the order of their names; reads files, runs nothing."""
    today = {name: track_core_id(root, track) for name, track in TRACKS.items()}
    core = promotions.by_name(promotions.read(root / "leaderboard"))
    entries = list(_entries(root))
    found = []
    for folder in folders(root):
        patch = _patch(root, folder)
        cells = [(_cell(entry, patch, today), entry) for entry in entries if entry.evaluation.slug == folder.name]
        word: Word = "promoted" if f"{folder.name}@{patch.sha}" in core else _word(root, patch, cells)
        found.append(
            Status(
                slug=folder.name,
                title=patch.manifest.title if patch.manifest else None,
                state=word,
                applies=patch.fault is None,
                fault=patch.fault,
                patch_sha=patch.sha,
                builds_on=patch.manifest.builds_on if patch.manifest else (),
                cells=tuple(cell for cell, _ in cells),
            )
        )
    return tuple(found)


def _entries(root: Path) -> Iterator[Entry]:
    """Every claim that was measured, local ones first, oldest first."""
    for name in (".blueberry", "leaderboard"):
        store = Store(root / name)
        evaluations = store.evaluations()
        twice = replaced(evaluations)
        shown = [one for one in evaluations if one.kind == "submission" and one.id not in twice]
        judged = (entry for one in shown for entry in entries_of(one, store.runs(one.id)))
        yield from with_promoted(judged, promotions.read(store.folder))


def _patch(root: Path, folder: Path) -> _Patch:
    manifest = sha = fault = None
    try:
        manifest = load_manifest(folder)
        sha = patch_sha(folder)
        patched(root, folder)
    except SubmissionError as error:
        fault = str(error.faults[0])
    return _Patch(folder, manifest, sha, fault)


def _cell(entry: Entry, patch: _Patch, today: dict[str, str]) -> CellStatus:
    evaluation = entry.evaluation
    parents = patch.manifest.builds_on if patch.manifest else ()
    return CellStatus(
        evaluation=evaluation.id,
        date=entry.date,
        track=evaluation.track,
        budget=evaluation.budget,
        metric=entry.cell.metric,
        state=entry.state,
        core_id=evaluation.core_id,
        today=evaluation.core_id == today[evaluation.track],
        patch_sha=evaluation.patch_sha,
        present=(evaluation.patch_sha, evaluation.builds_on) == (patch.sha, parents),
        official=evaluation.official,
        claimed=evaluation.claimed,
    )


def _word(root: Path, patch: _Patch, cells: Sequence[tuple[CellStatus, Entry]]) -> Word:
    """Of what was claimed of the present patch: what today's core says, or else what an earlier one left."""
    own = [(cell, entry) for cell, entry in cells if cell.present and cell.claimed]
    if not own:
        return "checked" if check(root, patch.folder).ok else "draft"
    fresh = [entry for cell, entry in own if cell.today]
    word = _overall(fresh or [entry for _, entry in own])
    return "stale" if not fresh and word in MOVED else word


def _overall(entries: Iterable[Entry]) -> State:
    """The word of the latest entries, one for each claim; official ones come last and go before local ones."""
    latest = {(one.evaluation.track, one.evaluation.budget, one.cell.metric): one for one in entries}
    word = WORDS[overall_verdict(entry.cell for entry in latest.values())]
    broken = any(entry.state == "invalidated" for entry in latest.values())
    return "invalidated" if word == "refused" and broken else word
