"""The static site: boards, a page for every submission, noise, rules and downloads, made from the files alone.

It needs no other machine and no build step. A submission's page carries the digest of everything that it was made
from, this program included, and is drawn again only when that has changed; the other pages are made every time.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from harness.board import charts, columns, submission
from harness.board.downloads import Download, downloads, verbatim
from harness.board.entries import MEANINGS, SECOND_RACE, read
from harness.board.ladders import Ladder, ladders, shelves
from harness.board.leaderboard import Board, TrackBoard, judge, spent
from harness.board.markdown import file_stem
from harness.board.page import page
from harness.board.submission import Material, material
from harness.decide.bank import Evaluation
from harness.records import promotions
from harness.records.atomic import write_atomically
from harness.records.store import Store
from harness.rules import GROUPS, RULES

NAME = "site"
STATIC = ("style.css", "sort.js", "icon.svg")
HEAD_BYTES = 2_048  # of a page, within which it says what it was made from
FEW = 12  # pages that are drawn sooner than other processes have started
PROGRAM = Path(__file__).resolve().parent.parent

Say = Callable[[str], None]


@dataclass(frozen=True)
class Rendered:
    """What rendering came to."""

    index: Path
    drawn: int  # pages of submissions whose input had changed
    submissions: int


def write(store: Store, root: Path | None = None, say: Say = lambda line: None) -> Rendered:
    """Bring `site/` in the store's folder up to date; what belongs to no page is taken away."""
    folder = store.folder / NAME
    evaluations = read(store)
    board = judge(evaluations, root, promotions.read(store.folder))
    kept = {_put(folder / name, content) for name, content in _general(board, evaluations)}
    groups: dict[str, list[Evaluation]] = {}
    for item in evaluations:
        if item[0].kind == "submission":
            groups.setdefault(item[0].slug, []).append(item)
    pages = folder / "submissions"
    todo: list[tuple[Material, str]] = []
    for own in groups.values():
        found = material(store.folder, root, own)
        key = _digest([_program(), *found.parts()])
        if _carries(pages / f"{found.stem}.html", key):
            kept.update(_files_of(pages, found.stem))
        else:
            todo.append((found, key))
    for number, names in enumerate(_draw_all(pages, todo), 1):
        kept.update(pages / name for name in names)
        if number % 25 == 0:
            say(f"site: {number} of {len(todo)} pages drawn")
    _clear(folder, kept)
    return Rendered(folder / "index.html", len(todo), len(groups))


def _put(path: Path, content: str | bytes) -> Path:
    """Writes a file, unless it is already what it should be."""
    data = content.encode() if isinstance(content, str) else content
    if not path.exists() or path.read_bytes() != data:
        write_atomically(path, data)
    return path


def _draw_all(pages: Path, todo: Sequence[tuple[Material, str]]) -> Iterable[list[str]]:
    """Draws the pages, in several processes where there are many."""
    workers = len(os.sched_getaffinity(0))
    if len(todo) <= FEW or workers == 1:
        yield from (_draw(pages, *item) for item in todo)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        started = [pool.submit(_draw, pages, *item) for item in todo]
        for done in as_completed(started):
            yield done.result()


def _draw(pages: Path, found: Material, key: str) -> list[str]:
    """Writes one submission's files and returns their names; the page comes last, so that its key vouches for all."""
    made = submission.files(found, key)
    for name, content in made.items():
        _put(pages / name, content)
    return list(made)


def _files_of(pages: Path, stem: str) -> list[Path]:
    own = [path for path in (pages / stem).rglob("*") if path.is_file()]
    return [*own, pages / f"{stem}.html", pages / f"{stem}.json"]


def _carries(path: Path, key: str) -> bool:
    if not path.exists():
        return False
    with open(path, "rb") as file:
        return key.encode() in file.read(HEAD_BYTES)


def _clear(folder: Path, kept: set[Path]) -> None:
    """Removes pages of what is no longer there."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in kept:
            path.unlink()


def _digest(parts: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "big"))
        found.update(part)
    return found.hexdigest()


@functools.cache
def _program() -> bytes:
    """What pages are made by: every module and template of the harness."""
    paths = sorted(path for path in PROGRAM.rglob("*") if path.suffix in (".py", ".j2"))
    return _digest(path.read_bytes() for path in paths).encode()


def _general(board: Board, evaluations: Sequence[Evaluation]) -> Iterable[tuple[str, str | bytes]]:
    """Name and content of every file that belongs to no single submission."""
    for name in STATIC:
        yield name, (PROGRAM / "board" / "templates" / "site" / name).read_bytes()
    boards = _boards(board)
    yield "index.html", _index(board, boards)
    for track, budget in boards:
        yield columns.board_page(track.track.name, budget), _board(track, budget, boards)
    yield from _noise(board)
    yield "rules.html", page("site/rules.html.j2", up="", groups=GROUPS, rules=RULES.values())
    tables = downloads(board, evaluations)
    yield from _data(tables, evaluations)


def _boards(board: Board) -> list[tuple[TrackBoard, str]]:
    """Every track and budget with an entry, cheapest budget first."""
    found = []
    for part in board.tracks:
        budgets = {entry.evaluation.budget: entry.tokens for entry in part.entries}
        found += [(part, budget) for budget in sorted(budgets, key=budgets.__getitem__)]
    return found


def _ladders(part: TrackBoard) -> list[Ladder]:
    return ladders(shelves(part.entries, part.core_id).records, part.entries, part.core_id)


def _index(board: Board, boards: Sequence[tuple[TrackBoard, str]]) -> str:
    champions = columns.champions((part.track.name, ladder) for part in board.tracks for ladder in _ladders(part))
    waiting = [
        columns.waiting(placed.waiting, f"{part.track.name}: running, or waiting for a person")
        for part in board.tracks
        if (placed := shelves(part.entries, part.core_id)).waiting
    ]
    values = {"board": board, "champions": champions, "waiting": waiting, "published": columns.published()}
    return page("site/index.html.j2", up="", boards=_listed(boards), **values)


def _listed(boards: Sequence[tuple[TrackBoard, str]]) -> dict[str, list[tuple[str, str]]]:
    """Track -> (budget, page), for the list of boards."""
    listed: dict[str, list[tuple[str, str]]] = {}
    for part, budget in boards:
        listed.setdefault(part.track.name, []).append((budget, columns.board_page(part.track.name, budget)))
    return listed


def _board(part: TrackBoard, budget: str, boards: Sequence[tuple[TrackBoard, str]]) -> str:
    """One track at one budget: its records, what is under way, and everything that was tried."""
    here = [entry for entry in part.entries if entry.evaluation.budget == budget]
    today = [entry for entry in here if entry.evaluation.core_id == part.core_id]
    placed = shelves(here, part.core_id)
    made = [ladder for ladder in _ladders(part) if ladder.budget == budget]
    rates = [one.kappa for one in part.noise if one.budget == budget and one.kappa is not None]
    return page(
        "site/board.html.j2",
        up="../",
        part=part,
        budget=budget,
        boards=_listed(boards),
        ladders=[(ladder, columns.ladder(ladder, _caption(ladder)), charts.history(ladder)) for ladder in made],
        frontier=charts.frontier(today, rates[-1] if rates else None),
        waiting=columns.waiting(placed.waiting, "Being measured, or waiting for a person"),
        tried=columns.tried(placed.tried, "What became no record on today's core, latest first"),
        earlier=columns.tried(placed.earlier, "What became no record on earlier cores, latest first"),
        states=MEANINGS,
        second=SECOND_RACE,
    )


def _caption(ladder: Ladder) -> str:
    host = "" if ladder.metric == "loss" else f", on {ladder.host_class}"
    return f"Records in {'loss' if ladder.metric == 'loss' else 'time'}{host}; data {ladder.data_id[:8]}"


def _noise(board: Board) -> Iterable[tuple[str, str | bytes]]:
    tracks = [part for part in board.tracks if part.noise]
    for part in tracks:
        yield from ((f"noise/{figure.name}.svg", figure.svg) for figure in part.scatter)
    shown = [
        {"part": part, "table": columns.noise(part.noise, "Noise by budget, precision and host class"),
         "spent": spent(part.entries), "claims": sum(entry.evaluation.claimed for entry in part.entries)}
        for part in tracks
    ]  # fmt: skip
    yield "noise.html", page("site/noise.html.j2", up="", tracks=shown)


def _data(tables: Sequence[Download], evaluations: Sequence[Evaluation]) -> Iterable[tuple[str, str | bytes]]:
    for table in tables:
        yield f"data/{table.name}.json", table.json
        yield f"data/{table.name}.csv", table.csv
    yield "data/calibrations.json", verbatim([item for item in evaluations if item[0].kind == "calibration"])
    slugs = sorted({record.slug for record, _ in evaluations if record.kind == "submission"})
    own = [(slug, f"submissions/{file_stem(slug)}.json") for slug in slugs]
    yield "data.html", page("site/data.html.j2", up="", tables=tables, submissions=own)
