"""The two drawings of a board page, as positions that a template fills in: records over time, and loss against time.

They are part of the page and not pictures in it, so that every point is a link and the style sheet colours them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from harness.board.columns import submission_page
from harness.board.entries import Effect, Entry
from harness.board.ladders import RECORDED, WAITING, Ladder, Standing
from harness.board.markdown import number, plain
from harness.board.tables import unit_of
from harness.tracks import track_named

WIDTH, HEIGHT = 760, 340
LEFT, RIGHT, TOP, BOTTOM = 66, 150, 14, 48  # margins; labels stand to the right of their points
LABEL = 26  # characters of a title
CHARACTER, LINE = 6.4, 14  # size of a label's letters
FAR_OUT = 3.0  # times the middle half: attempts beyond it get no room in the drawing


@dataclass(frozen=True)
class Axis:
    """Ticks as (position, label), and what the axis measures."""

    title: str
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Point:
    """One submission in a drawing."""

    x: float
    y: float
    title: str
    said: str  # its numbers, for those who hover or listen
    href: str
    kind: str  # class of the style sheet
    label: str = ""  # shown beside it
    span: tuple[float, float] | None = None  # heights of the ends of its interval


@dataclass(frozen=True)
class Chart:
    """Everything that the template draws."""

    summary: str  # for those who cannot see it
    caption: str
    x: Axis
    y: Axis
    points: tuple[Point, ...]
    lines: tuple[tuple[str, str], ...]  # the best so far of each core, or the frontier: (name, path)
    level: float | None = None  # where the core stands
    curve: str = ""  # path of the core's own exchange rate
    curve_end: tuple[float, float] = (0.0, 0.0)
    core: tuple[float, float] | None = None
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


Scale = Callable[[float], float]


def _scale(low: float, high: float, start: float, end: float, pad: float = 0.08) -> tuple[Scale, tuple[float, float]]:
    """A linear scale onto pixels with some room at both ends, and its range."""
    room = pad * (high - low) or pad * abs(high) or 1.0
    low, high = low - room, high + room
    return (lambda value: round(start + (value - low) / (high - low) * (end - start), 1)), (low, high)


def _ticks(bounds: tuple[float, float], most: int) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    found = MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]).tick_values(*bounds)
    return [float(tick) for tick in found if bounds[0] <= tick <= bounds[1]]


def _axis(title: str, scale: Scale, bounds: tuple[float, float], most: int) -> Axis:
    ticks = _ticks(bounds, most)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    digits = next(digits for digits in range(12) if math.isclose(step, round(step, digits), rel_tol=1e-6))
    return Axis(title, tuple((scale(tick), number(tick, digits)) for tick in ticks))


def _day(entry: Entry) -> float:
    """When it was decided, in days."""
    said = entry.evaluation.closed or entry.evaluation.opened
    try:
        moment = datetime.fromisoformat(said)
    except ValueError:
        return 0.0
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() / 86_400


def _days(scale: Scale, bounds: tuple[float, float]) -> Axis:
    ticks = [tick for tick in _ticks(bounds, 5) if tick.is_integer()]
    epoch = date(1970, 1, 1).toordinal()
    return Axis("", tuple((scale(tick), date.fromordinal(epoch + round(tick)).isoformat()) for tick in ticks))


def history(ladder: Ladder) -> Chart | None:
    """Every record by its day, beside the core of its own pairs, and the best so far on each core."""
    drawn = []
    for row in ladder.rows:
        effect = row.entry.confirmed
        if effect is not None and (ladder.metric == "loss" or effect.time_ratio is not None):
            drawn.append((_day(row.entry), row, *_beside(ladder.metric, effect)))
    if not drawn:
        return None
    drawn.sort(key=lambda item: item[0])
    level = 0.0 if ladder.metric == "loss" else 1.0
    x, across = _scale(drawn[0][0] - 0.5, drawn[-1][0] + 0.5, LEFT, WIDTH - RIGHT, 0.05)
    ends = [end for *_, value, span in drawn for end in (value, *span)]
    y, up = _scale(min(level, *ends), max(level, *ends), HEIGHT - BOTTOM, TOP)
    unit = _unit(drawn[0][1].entry) if ladder.metric == "loss" else "× the core's"
    head = f"loss minus the core's, {unit}" if ladder.metric == "loss" else "training time, × the core's"
    lines = {core_id: _best_so_far(core_id, drawn, x, y) for core_id in _cores(drawn)}
    points = [_record(row, x(day), y(value), (y(span[0]), y(span[1])), value, unit) for day, row, value, span in drawn]
    what = "loss" if ladder.metric == "loss" else "training time"
    caption = (
        f"Confirmed records by the day of their verdict: {what} beside the core of the same pairs, with its repeated "
        "interval. The line is the best so far; it begins again where the core has moved, and those before are grey."
    )
    summary = f"{len(points)} confirmed records in {what} over time; the table above holds their numbers."
    return Chart(
        summary=summary, caption=caption, x=_days(x, across),
        y=_axis(head, y, up, 6), points=_labelled(points), level=y(level), lines=tuple(lines.items()),
    )  # fmt: skip


Drawn = tuple[float, Standing, float, tuple[float, float]]  # day, row, value, its interval


def _beside(metric: str, effect: Effect) -> tuple[float, tuple[float, float]]:
    """A record's value as the drawing has it, lower being better, and its interval."""
    if metric == "loss":
        low, high = effect.gain_interval or (effect.gain, effect.gain)
        return -effect.gain, (-high, -low)
    ratio = effect.time_ratio or 1.0
    return ratio, effect.time_interval or (ratio, ratio)


def _cores(drawn: Sequence[Drawn]) -> list[str]:
    """The cores that records stand on, in the order of their first."""
    return list(dict.fromkeys(row.entry.evaluation.core_id for _, row, *_ in drawn))


def _best_so_far(core_id: str, drawn: Sequence[Drawn], x: Scale, y: Scale) -> str:
    """The path of the record on one core, up to the first record on the next one."""
    cores = _cores(drawn)
    later = set(cores[cores.index(core_id) + 1 :])
    until = min((x(day) for day, row, *_ in drawn if row.entry.evaluation.core_id in later), default=WIDTH - RIGHT)
    best, path, last = math.inf, "", 0.0
    for day, row, value, _ in drawn:
        if row.entry.evaluation.core_id == core_id and value < best:
            path += f"H{x(day)}V{y(value)}" if path else f"M{x(day)} {y(value)}"
            best, last = value, x(day)
    return path + f"H{max(until, last)}"


def _record(row: Standing, x: float, y: float, span: tuple[float, float], value: float, unit: str) -> Point:
    entry = row.entry
    title = plain(entry.evaluation.title or entry.evaluation.slug, 80)
    said = f"{number(value, sign=unit[0] != '×')} {unit}, {entry.date}"
    kind = "behind" if row.rank is None else "record"
    return Point(x, y, title, said, submission_page(entry.evaluation.slug), kind, plain(title, LABEL), span)


def _unit(entry: Entry) -> str:
    unit = unit_of(entry)
    return f"ln of {unit}" if track_named(entry.evaluation.track).log_ratio else unit


def frontier(entries: Sequence[Entry], kappa: float | None) -> Chart | None:
    """Loss against training time, both beside the core's of the same pairs; below the curve is a net gain."""
    shown: dict[str, tuple[Entry, Effect, float]] = {}
    for entry in entries:
        effect = entry.published
        if effect is not None and effect.time_ratio is not None and entry.state not in ("refused", "invalidated"):
            shown[entry.evaluation.id] = entry, effect, effect.time_ratio
    if not shown:
        return None
    needed = [item for item in shown.values() if item[0].state in (*RECORDED, *WAITING)]
    rest = [item for item in shown.values() if item[0].state not in (*RECORDED, *WAITING)]
    kept = [item for item in needed if item[0].state in RECORDED]
    times = _range([1.0, *(ratio for *_, ratio in needed)], [ratio for *_, ratio in rest])
    gaps = _range([0.0, *(-effect.gain for _, effect, _ in needed)], [-effect.gain for _, effect, _ in rest])
    x, across = _scale(*times, LEFT, WIDTH - RIGHT)
    y, up = _scale(*gaps, HEIGHT - BOTTOM, TOP)
    inside = [item for item in (*rest, *needed) if _within(item[2], across) and _within(-item[1].gain, up)]
    curve, end = _rate(kappa, x, y, across, up)
    caption = (
        "Each point is the mean over an evaluation's pairs, beside the core of the same pairs: lower is better, left "
        "is faster. Filled points are confirmed on fresh seeds; above the line, one of them is better in both."
    )
    if curve:
        caption += " On the dashed curve the core would be with more or less training: a point below it is a net gain."
    if len(inside) < len(shown):
        caption += f" Outside of the drawing: {len(shown) - len(inside)}."
    return Chart(
        summary=f"Loss against training time of {len(inside)} evaluations, {len(kept)} of them confirmed.",
        caption=caption,
        x=_axis("training time, × the core's", x, across, 6),
        y=_axis(f"loss minus the core's, {_unit(inside[0][0])}", y, up, 6),
        points=_labelled([_beside_core(*item, x, y) for item in inside]),
        lines=(("frontier", _staircase([(x(1.0), y(0.0)), *((x(ratio), y(-e.gain)) for _, e, ratio in kept)])),),
        curve=curve, curve_end=end, core=(x(1.0), y(0.0)),
    )  # fmt: skip


def _beside_core(entry: Entry, effect: Effect, ratio: float, x: Scale, y: Scale) -> Point:
    title = plain(entry.evaluation.title or entry.evaluation.slug, 80)
    said = f"{number(-effect.gain, sign=True)} in loss, time × {number(ratio, 3)}, {entry.state}"
    label = plain(title, LABEL) if entry.state in (*RECORDED, *WAITING) else ""
    kind = "record" if entry.state in RECORDED else "tried"
    return Point(x(ratio), y(-effect.gain), title, said, submission_page(entry.evaluation.slug), kind, label)


def _range(needed: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """What has to be seen, and of everything else what is no outlier (beyond three times the middle half)."""
    import numpy as np

    low, high = np.quantile([*needed, *others], (0.25, 0.75))
    reach = FAR_OUT * (high - low)
    near = [value for value in others if low - reach <= value <= high + reach]
    return min([*needed, *near]), max([*needed, *near])


def _within(value: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] <= value <= bounds[1]


def _rate(
    kappa: float | None, x: Scale, y: Scale, across: tuple[float, float], up: tuple[float, float]
) -> tuple[str, tuple[float, float]]:
    """The core's learning curve around its budget: -kappa * ln(time)."""
    if kappa is None:
        return "", (0.0, 0.0)
    steps = [across[0] + (across[1] - across[0]) * i / 60 for i in range(61)]
    seen = [(t, -kappa * math.log(t)) for t in steps if t > 0 and _within(-kappa * math.log(t), up)]
    if len(seen) < 2:
        return "", (0.0, 0.0)
    return "M" + "L".join(f"{x(t)} {y(loss)}" for t, loss in seen), (x(seen[-1][0]), y(seen[-1][1]))


def _staircase(points: Sequence[tuple[float, float]]) -> str:
    """The path around what a point beats in both; in pixels, where y grows downwards."""
    path, lowest = "", -math.inf
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if y > lowest:
            path += f"H{x}V{y}" if path else f"M{x} {TOP}V{y}"
            lowest = y
    return f"{path}H{WIDTH - RIGHT}"


def _labelled(points: Sequence[Point]) -> tuple[Point, ...]:
    """Labels are kept where they cover no other, records first; a point without one tells its name on hover."""
    taken: list[tuple[float, float, float]] = []
    kept = []
    for point in sorted(points, key=lambda point: point.kind != "record"):
        wide = point.x + 10 + CHARACTER * len(point.label)
        free = all(abs(point.y - y) >= LINE or wide < left or point.x > right for left, right, y in taken)
        if point.label and free and wide < WIDTH:
            taken.append((point.x, wide, point.y))
            kept.append(point)
        else:
            kept.append(Point(point.x, point.y, point.title, point.said, point.href, point.kind, "", point.span))
    return tuple(reversed(kept))  # records are drawn over the others
