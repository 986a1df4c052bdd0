"""The leaderboard: every claim decided again from the run files, sorted into records, work in progress and attempts.

Nothing on it is kept anywhere else: the same files give the same bytes, so a stale board is told from a fresh one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.board import figures, report, tables
from harness.board.entries import MEANINGS, SECOND_RACE, Entry, entries_of, read, with_promoted
from harness.board.figures import Figure
from harness.board.ladders import ladders, shelves
from harness.board.noise import Noise, noise_of, scatters_of
from harness.board.page import page
from harness.board.published import PUBLISHED
from harness.decide.bank import Evaluation
from harness.records import promotions
from harness.records.atomic import write_atomically
from harness.records.promotions import Promotion
from harness.records.replaced import replaced
from harness.records.store import Store
from harness.submission.patch import core_digest
from harness.tracks import TRACKS, Track

NAME = "LEADERBOARD.md"


@dataclass(frozen=True)
class TrackBoard:
    """Everything that the board says of one track."""

    track: Track
    core_id: str  # of the core that challengers race today
    entries: tuple[Entry, ...]
    noise: tuple[Noise, ...]
    scatter: tuple[Figure, ...]  # the noise figure, where there is something to see


@dataclass(frozen=True)
class Board:
    """The tracks that have evaluations, in the order of the track table."""

    tracks: tuple[TrackBoard, ...]


def collect(store: Store, root: Path | None = None) -> Board:
    """Read and judge every evaluation of the store.

    `root` is the clone whose `model_core/` says which core is today's; without it, that of the latest evaluation.
    Raises MachineError that names a file which cannot be read.
    """
    return judge(read(store), root, promotions.read(store.folder))


def judge(evaluations: Sequence[Evaluation], root: Path | None = None, promoted: Sequence[Promotion] = ()) -> Board:
    """The board of these evaluations, see `collect`."""
    boards = []
    twice = replaced(evaluation for evaluation, _ in evaluations)
    for name, track in TRACKS.items():
        own = [item for item in evaluations if item[0].track == name]
        if own:
            latest = own[-1][0].core_id
            core_id = latest if root is None else core_digest(root / "model_core", track.core_files)
            shown = [item for item in own if item[0].kind == "submission" and item[0].id not in twice]
            entries = with_promoted((entry for item in shown for entry in entries_of(*item)), promoted)
            scatter = figures.noise(scatters_of(own, name), f"noise-{name}")
            boards.append(TrackBoard(track, core_id, tuple(entries), noise_of(own, name), tuple(scatter)))
    return Board(tuple(boards))


def render(board: Board) -> str:
    """The text of LEADERBOARD.md."""
    sections = [_section(part) for part in board.tracks]
    published = tables.published(PUBLISHED)
    words = {"states": MEANINGS, "second": SECOND_RACE}
    return page("leaderboard.md.j2", sections=sections, published=published, **words)


def _section(part: TrackBoard) -> dict[str, object]:
    """What the template shows of one track."""
    placed = shelves(part.entries, part.core_id)
    made = ladders(placed.records, part.entries, part.core_id)
    return {
        "track": part.track,
        "core_id": part.core_id,
        "ladders": tables.ladders(made),
        "waiting": tables.waiting(placed.waiting),
        "tried": tables.tried(placed.tried),
        "earlier": tables.tried(placed.earlier),
        "noise": tables.noise(part.noise),
        "figures": part.scatter,
        "spent": spent(part.entries),
        "sources": [(f"{noise.budget}, {noise.precision}", noise.source) for noise in part.noise],
    }


def spent(entries: Sequence[Entry]) -> tuple[int, float]:
    """How many claims have been decided, and the sum of the error rates that they were allowed.

    The sum bounds the records that are expected to be false if no claim that was ever made is true.
    """
    decided = [entry for entry in entries if entry.evaluation.claimed and entry.evaluation.closed is not None]
    return len(decided), math.fsum(entry.cell.alpha / entry.cell.k for entry in decided)


def write(store: Store, root: Path | None = None) -> Path:
    """Render the board of the store into its folder; an unchanged file is left alone."""
    board = collect(store, root)
    path, text = store.folder / NAME, render(board)
    if not _holds(path, text):
        write_atomically(path, text)
    for place, draw in _outdated_figures(store, board).items():
        write_atomically(place, draw())
    return path


def check(store: Store, root: Path | None = None) -> list[Path]:
    """The board and the committed reports that are missing or are not what the run files say today."""
    evaluations = read(store)
    board = judge(evaluations, root, promotions.read(store.folder))
    path, text = store.folder / NAME, render(board)
    stale = [] if _holds(path, text) else [path]
    return stale + sorted([*_outdated_figures(store, board), *report.stale(store.folder / "reports", evaluations)])


def _outdated_figures(store: Store, board: Board) -> dict[Path, Callable[[], str]]:
    drawn = [figure for part in board.tracks for figure in part.scatter]
    return figures.outdated(store.folder / "reports", drawn)


def _holds(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text
