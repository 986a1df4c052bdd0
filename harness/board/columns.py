"""The tables of the site: cells of plain text with the value that a column is sorted by. The templates escape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.board.entries import Effect, Entry
from harness.board.ladders import RECORDED, Ladder, Standing
from harness.board.markdown import file_stem, interval, number, plain
from harness.board.noise import Noise
from harness.board.published import PUBLISHED
from harness.board.tables import larger, lines, marks, net_tokens, progress, reason, time_saved
from harness.decide.stats import exp


@dataclass(frozen=True)
class Cell:
    """One cell. A column is sorted by `value`, or by the text where there is none."""

    text: str
    note: str = ""  # a second, quieter line
    value: float | int | None = None
    href: str = ""  # from the root of the site
    state: str = ""  # "good" or "bad": how the word is coloured, never the only sign


@dataclass(frozen=True)
class Column:
    """The head of a column."""

    name: str
    numeric: bool = False
    wide: bool = False  # holds words that may wrap


@dataclass(frozen=True)
class Table:
    """A table whose caption says what it holds."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


DASH = Cell("–")
_IDEA, _LINES, _DATE, _STATE = Column("idea", wide=True), Column("lines", True), Column("date"), Column("state")
_GAIN = Column("gain", True)


def board_page(track: str, budget: str) -> str:
    """Where the board of a track and budget lies."""
    return f"board/{track}-{budget}.html"


def submission_page(slug: str) -> str:
    """Where the page of a submission lies."""
    return f"submissions/{file_stem(slug)}.html"


def ladder(made: Ladder, caption: str) -> Table:
    """A ladder; the numbers are those of the confirm round."""
    columns = (
        Column("#", True), _IDEA, _GAIN, Column("loss", True), Column("time ×", True), Column("net tokens", True),
        _LINES, Column("larger budgets", wide=True), Column("measured on", wide=True), _DATE, _STATE,
    )  # fmt: skip
    return Table(caption, columns, tuple(_record(row) for row in made.rows))


def _record(row: Standing) -> tuple[Cell, ...]:
    entry, effect = row.entry, row.entry.confirmed
    assert effect is not None, "a confirmed entry has confirm pairs"
    rank = DASH if row.rank is None else Cell(str(row.rank), value=row.rank)
    host = Cell(plain(entry.host_class, 80), row.replicated)
    state = _state(entry, "stale" if row.rank is None and entry.state == "confirmed" else entry.state)
    return (
        rank, idea(entry), gain(entry, effect), _loss(effect), _ratio(effect), _net(entry, effect), _lines(entry),
        Cell(larger(row)), host, Cell(entry.date), state,
    )  # fmt: skip


def champions(ladders: Iterable[tuple[str, Ladder]]) -> Table:
    """The record of every ladder, for the first page; each with the name of its track."""
    columns = (
        Column("track"), Column("budget", True), Column("claim", wide=True), _IDEA, _GAIN, Column("time ×", True),
        _LINES, Column("records", True), _DATE,
    )  # fmt: skip
    rows = []
    for track, made in ladders:
        best = made.rows[0]
        effect = best.entry.confirmed
        if best.rank is None or effect is None:
            continue
        budget = Cell(made.budget, value=best.entry.tokens, href=board_page(track, made.budget))
        claim = Cell(made.metric, plain(made.host_class, 80))
        count = sum(row.rank is not None for row in made.rows)
        held = (idea(best.entry), gain(best.entry, effect), _ratio(effect), _lines(best.entry))
        rows.append((Cell(track), budget, claim, *held, Cell(str(count), value=count), Cell(best.entry.date)))
    return Table("Current records on today's core", columns, tuple(rows))


def waiting(entries: Sequence[Entry], caption: str) -> Table:
    """What is being measured or waits for a person, oldest first."""
    columns = (
        _IDEA, Column("budget", True), Column("claim"), _GAIN, Column("pairs", wide=True), _LINES, Column("opened"),
        _STATE, Column("reason", wide=True),
    )  # fmt: skip
    rows = tuple(
        (
            idea(entry),
            Cell(entry.evaluation.budget, value=entry.tokens),
            Cell(entry.cell.metric),
            gain(entry, entry.decided),
            Cell(progress(entry)),
            _lines(entry),
            Cell(entry.evaluation.opened[:10]),
            _state(entry, entry.state),
            Cell(plain(reason(entry), 200) if entry.state == "review" else ""),
        )
        for entry in entries
    )
    return Table(caption, columns, rows)


def tried(entries: Sequence[Entry], caption: str) -> Table:
    """What did not become a record and why, latest first."""
    columns = (
        _IDEA, Column("claim"), _GAIN, Column("p", True), Column("pairs", True), _LINES, _DATE, _STATE,
        Column("reason", wide=True),
    )  # fmt: skip
    rows = tuple(
        (
            idea(entry),
            Cell(entry.cell.metric),
            gain(entry, entry.confirmed if entry.state == "revoked" else entry.decided),
            DASH if entry.cell.p is None else Cell(number(entry.cell.p), value=entry.cell.p),
            Cell(str(entry.cell.pairs), value=entry.cell.pairs),
            _lines(entry),
            Cell(entry.date),
            _state(entry, entry.state),
            Cell(plain(reason(entry), 200)),
        )
        for entry in reversed(entries)
    )
    return Table(caption, columns, rows)


def idea(entry: Entry) -> Cell:
    """Title with a link to its page, and who made it on top of what."""
    evaluation = entry.evaluation
    by = ", ".join(plain(author, 40) for author in evaluation.authors[:4])
    by += " and others" if len(evaluation.authors) > 4 else ""
    if evaluation.builds_on:
        given = ", ".join(plain(parent.partition("@")[0], 40) for parent in evaluation.builds_on)
        by = f"given {given}; {by}" if by else f"given {given}"
    return Cell(plain(evaluation.title or evaluation.slug, 80) or "–", by, href=submission_page(evaluation.slug))


def gain(entry: Entry, effect: Effect | None) -> Cell:
    """In the unit of the track for a claim on loss, per cent of time saved for one on speed; none of a refused run."""
    if effect is None or entry.state in ("refused", "invalidated"):
        return DASH
    if entry.cell.metric == "loss":
        return Cell(number(effect.gain, sign=True), interval(effect.gain_interval), value=effect.gain)
    saved = time_saved(effect)
    if saved is None:
        return DASH
    return Cell(f"{number(saved[0], 2, sign=True)} %", interval(saved[1:], 2), value=saved[0])


def _loss(effect: Effect) -> Cell:
    sd = "" if effect.loss_sd is None else f"± {number(effect.loss_sd)}, "
    return Cell(number(effect.loss), f"{sd}n {effect.pairs}", value=effect.loss)


def _ratio(effect: Effect) -> Cell:
    if effect.time_ratio is None:
        return DASH
    return Cell(number(effect.time_ratio, 3), interval(effect.time_interval, 3), value=effect.time_ratio)


def _net(entry: Entry, effect: Effect) -> Cell:
    if effect.net_gain is None:
        return DASH
    return Cell(net_tokens(entry, effect), value=entry.tokens * (exp(effect.net_gain) - 1))


def _lines(entry: Entry) -> Cell:
    return Cell(lines(entry), value=entry.evaluation.added + entry.evaluation.removed)


def _state(entry: Entry, word: str) -> Cell:
    colour = "good" if word in RECORDED else "bad" if word in ("refused", "revoked", "invalidated") else ""
    kept, *others = marks(entry, word).split(", ")
    if entry.kind not in ("loss", "speed"):
        others.append(entry.kind)
    return Cell(kept, ", ".join(others), state=colour)


def noise(found: Sequence[Noise], caption: str) -> Table:
    """The noise at every budget, precision and host class, and what a verdict starts from there."""
    columns = (
        Column("budget", True), Column("precision"), Column("host class", wide=True), Column("s0", True),
        Column("s0 of time, %", True), Column("run sd", True), Column("rho", True),
        Column("same seed again, sd", True), Column("kappa", True),
    )  # fmt: skip
    rows = []
    for one in found:
        time = None if one.s0_time is None else 100 * one.s0_time
        rows.append(
            (
                Cell(one.budget), Cell(one.precision), Cell(plain(one.host_class, 80)),
                _number(one.s0, 4, f"{one.df:g} df"), _number(time, 2, f"{one.df_time:g} df"),
                _number(one.run_sd, 4), _number(one.rho, 2),
                _number(one.repeat_sd, 5, f"n {one.repeats}") if one.repeats else DASH, _number(one.kappa, 3),
            )
        )  # fmt: skip
    return Table(caption, columns, tuple(rows))


def published() -> Table:
    """Results of others, grouped as they were published."""
    columns = (
        Column("track"), Column("budget", True), Column("change", wide=True), Column("loss", True),
        Column("accuracy, %", True), Column("perplexity", True), Column("time", True),
    )  # fmt: skip
    rows = tuple(
        (
            Cell(row.track), Cell(row.budget), Cell(plain(row.change)), _number(row.loss, 4),
            _number(row.accuracy, 2), _number(row.perplexity, 2), Cell(row.time),
        )
        for row in PUBLISHED
    )  # fmt: skip
    return Table("One run of one seed each, evaluation inside the clock", columns, rows)


def _number(value: float | None, digits: int, note: str = "") -> Cell:
    return DASH if value is None else Cell(number(value, digits), note, value=value)
