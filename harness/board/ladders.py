"""Which rows stand where: records by what may be compared, then work in progress, then everything that was tried."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.board.entries import Entry
from harness.records.record import Metric

RECORDED = ("confirmed", "promoted")
WAITING = ("running", "accepted", "review")
OUTCOMES = (*RECORDED, "revoked", "rejected", "inconclusive")  # what a replication can come to

Idea = tuple[str | None, tuple[str, ...], Metric]  # a patch, what it builds on, and what is claimed of it


@dataclass(frozen=True)
class Shelves:
    """The entries of a track by where the board shows them; oldest first."""

    records: tuple[Entry, ...]
    waiting: tuple[Entry, ...]  # for pairs or for a person, on today's core
    tried: tuple[Entry, ...]  # on today's core
    earlier: tuple[Entry, ...]  # tried on earlier cores


@dataclass(frozen=True)
class Standing:
    """One record on its ladder, and what is known of the same patch elsewhere."""

    rank: int | None  # None for a record on an earlier core
    entry: Entry
    larger: tuple[Entry, ...]  # the same patch at larger budgets
    again: tuple[Entry, ...]  # other finished evaluations of it in the same place

    @property
    def replicated(self) -> str:
        """How often the record was found again; empty where nobody has tried."""
        held = sum(other.state in RECORDED for other in self.again)
        return f"replicated {held} of {len(self.again)} times" if self.again else ""


@dataclass(frozen=True)
class Ladder:
    """The records of one metric at one budget that may be compared with each other, the best first."""

    budget: str
    metric: Metric
    host_class: str  # "" for the loss, which hardly moves between hosts
    data_id: str
    rows: tuple[Standing, ...]


def shelves(entries: Sequence[Entry], core_id: str) -> Shelves:
    """Every entry of a track in its place; `core_id` is that of today's core."""
    records = [entry for entry in entries if entry.state in RECORDED and entry.confirmed and entry.evaluation.claimed]
    waiting = [
        entry
        for entry in entries
        if entry.state in WAITING and entry.evaluation.claimed and entry.evaluation.core_id == core_id
    ]
    shown = {id(entry) for entry in (*records, *waiting)}
    tried = [entry for entry in entries if id(entry) not in shown]
    today = [entry for entry in tried if entry.evaluation.core_id == core_id]
    earlier = [entry for entry in tried if entry.evaluation.core_id != core_id]
    return Shelves(tuple(records), tuple(waiting), tuple(today), tuple(earlier))


def ladders(records: Sequence[Entry], entries: Sequence[Entry], core_id: str) -> list[Ladder]:
    """One ladder for the loss and one for the time of each host class, per budget and data; cheapest budget first."""
    groups: dict[tuple[int, Metric, str, str], list[Entry]] = defaultdict(list)
    for entry in _first_of_each(records):
        groups[entry.tokens, entry.cell.metric, _host(entry), entry.evaluation.data_id].append(entry)
    relatives = _relatives(entries)
    return [
        Ladder(groups[key][0].evaluation.budget, key[1], key[2], key[3], _ranked(groups[key], relatives, core_id))
        for key in sorted(groups)
    ]


def _ranked(records: Sequence[Entry], relatives: dict[Idea, list[Entry]], core_id: str) -> tuple[Standing, ...]:
    """Today's records by their gain, then the stale ones."""

    def order(entry: Entry) -> tuple[bool, float, str, str]:
        assert entry.confirmed is not None, "a confirmed entry has confirm pairs"
        stale = entry.evaluation.core_id != core_id
        return stale, -entry.confirmed.value(entry.cell.metric), entry.date, entry.evaluation.title

    standings = []
    for place, entry in enumerate(sorted(records, key=order), 1):
        kin = relatives[_idea(entry)]
        larger = tuple(other for other in kin if other.tokens > entry.tokens)
        again = tuple(other for other in kin if other is not entry and _same_race(other, entry))
        standings.append(Standing(place if entry.evaluation.core_id == core_id else None, entry, larger, again))
    return tuple(standings)


def _same_race(other: Entry, entry: Entry) -> bool:
    same = (other.evaluation.budget, other.evaluation.core_id) == (entry.evaluation.budget, entry.evaluation.core_id)
    return same and other.state in OUTCOMES


def _first_of_each(records: Iterable[Entry]) -> list[Entry]:
    """A patch that was confirmed several times in the same conditions has one row; the others are its evidence."""
    first: dict[object, Entry] = {}
    for entry in records:
        evaluation = entry.evaluation
        place = evaluation.budget, evaluation.core_id, evaluation.data_id, _host(entry)
        first.setdefault((_idea(entry), place), entry)
    return list(first.values())


def _host(entry: Entry) -> str:
    """Times are compared within one host class, losses between all."""
    return "" if entry.cell.metric == "loss" else entry.host_class


def _idea(entry: Entry) -> Idea:
    """The same patch given others is another question."""
    return entry.evaluation.patch_sha, entry.evaluation.builds_on, entry.cell.metric


def _relatives(entries: Iterable[Entry]) -> dict[Idea, list[Entry]]:
    """All evaluations of an idea, cheapest budget first."""
    found: dict[Idea, list[Entry]] = defaultdict(list)
    for entry in entries:
        found[_idea(entry)].append(entry)
    return {key: sorted(group, key=lambda entry: entry.tokens) for key, group in found.items()}
