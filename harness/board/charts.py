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
from harness.board.ladders import Ladder
from harness.board.markdown import number, plain
from harness.board.tables import unit_of
from harness.decide.stats import exp
from harness.tracks import track_named

WIDTH, HEIGHT = 760, 340
LEFT, RIGHT, TOP, BOTTOM = 66, 150, 14, 48  # margins; labels stand to the right of their points
LABEL = 26  # characters of a title
CHARACTER, LINE = 6.4, 14  # size of a label's letters
MIDDLE = 0.8  # share of the attempts that the frontier makes room for


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
    span: tuple[float, float] | None = None  # end of a line from the point: the core, or an interval's ends


@dataclass(frozen=True)
class Chart:
    """Everything that the template draws."""

    name: str
    summary: str  # for those who cannot see it
    caption: str
    x: Axis
    y: Axis
    points: tuple[Point, ...]
    line: str  # path of the record, or of the frontier
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


def _ticks(bounds: tuple[float, float], most: int, whole: bool = False) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    found = MaxNLocator(nbins=most, integer=whole, steps=[1, 2, 2.5, 5, 10]).tick_values(*bounds)
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
    ticks = _ticks(bounds, 5, whole=True)
    epoch = date(1970, 1, 1).toordinal()
    return Axis("", tuple((scale(tick), date.fromordinal(epoch + round(tick)).isoformat()) for tick in ticks))


def history(ladder: Ladder) -> Chart | None:
    """Every record by its day, from the core's mean on the same seeds to its own, and the best so far."""
    drawn = sorted(((_day(row.entry), row.entry) for row in ladder.rows), key=lambda item: item[0])
    values = [(day, entry, own, base) for day, entry in drawn for own, base in [_absolute(entry)] if own is not None]
    if not values:
        return None
    days = [day for day, *_ in values]
    heights = [value for _, _, own, base in values for value in (own, base)]
    x, across = _scale(min(days) - 0.5, max(days) + 0.5, LEFT, WIDTH - RIGHT, 0.05)
    y, up = _scale(min(heights), max(heights), HEIGHT - BOTTOM, TOP)
    unit = unit_of(values[0][1]) if ladder.metric == "loss" else "seconds"
    head = f"loss on test, {unit}" if ladder.metric == "loss" else "training time, seconds"
    best, path, points = math.inf, "", []
    for day, entry, own, base in values:
        leads = own < best
        if leads:
            path += f"H{x(day)}V{y(own)}" if path else f"M{x(day)} {y(own)}"
            best = own
        title = plain(entry.evaluation.title or entry.evaluation.slug, 80)
        said = f"{number(own)} {unit} where the core has {number(base)}, {entry.date}"
        points.append(
            Point(x(day), y(own), title, said, submission_page(entry.evaluation.slug),
                  "record" if leads else "behind", plain(title, LABEL) if leads else "", (x(day), y(base)))
        )  # fmt: skip
    path += f"H{WIDTH - RIGHT}"
    what = "loss" if ladder.metric == "loss" else "training time"
    return Chart(
        name=f"history-{ladder.metric}",
        summary=f"Confirmed {what} over time: {len(values)} records, the lowest {number(best)} {unit}.",
        caption=(
            f"Filled points: the {what} of confirmed records on their fresh seeds; hollow ones: the core's on the same "
            "seeds. The line is the lowest so far. Seeds differ between records, the length of a stem does not."
        ),
        x=_days(x, across), y=_axis(head, y, up, 6), points=_labelled(points), line=path,
    )  # fmt: skip


def _absolute(entry: Entry) -> tuple[float, float] | tuple[None, None]:
    """The submission's mean and the core's, in the unit of the claim."""
    effect = entry.confirmed
    if effect is None:
        return None, None
    if entry.cell.metric == "loss":
        ratio = track_named(entry.evaluation.track).log_ratio
        return effect.loss, effect.loss * exp(effect.gain) if ratio else effect.loss + effect.gain
    if effect.core_seconds is None or effect.time_ratio is None:
        return None, None
    return effect.core_seconds * effect.time_ratio, effect.core_seconds


def frontier(entries: Sequence[Entry], kappa: float | None, unit: str) -> Chart | None:
    """Loss against training time, both beside the core's of the same pairs; below the curve is a net gain."""
    shown: dict[str, tuple[Entry, Effect, float]] = {}
    for entry in entries:
        effect = entry.published
        if effect is not None and effect.time_ratio is not None and entry.state not in ("refused", "invalidated"):
            shown[entry.evaluation.id] = entry, effect, effect.time_ratio
    if not shown:
        return None
    kept = [item for item in shown.values() if item[0].state == "confirmed"]
    rest = [item for item in shown.values() if item[0].state != "confirmed"]
    times = _range([1.0, *(ratio for *_, ratio in kept)], [ratio for *_, ratio in rest])
    gaps = _range([0.0, *(-effect.gain for _, effect, _ in kept)], [-effect.gain for _, effect, _ in rest])
    x, across = _scale(*times, LEFT, WIDTH - RIGHT)
    y, up = _scale(*gaps, HEIGHT - BOTTOM, TOP)
    inside = [item for item in (*rest, *kept) if _within(item[2], across) and _within(-item[1].gain, up)]
    curve, end = _rate(kappa, x, y, across, up)
    caption = (
        "Each point is the mean over an evaluation's pairs, beside the core of the same pairs: lower is better, left is "
        "faster. Filled points are confirmed on fresh seeds; the line joins those that no other beats in both."
    )
    if curve:
        caption += " On the dashed curve the core would be with more or less training: a point below it is a net gain."
    if len(inside) < len(shown):
        caption += f" {len(shown) - len(inside)} lie outside of the drawing."
    return Chart(
        name="frontier",
        summary=f"Loss against training time of {len(inside)} evaluations, {len(kept)} of them confirmed.",
        caption=caption,
        x=_axis("training time, × the core's", x, across, 6),
        y=_axis(f"loss minus the core's, {unit}", y, up, 6),
        points=_labelled([_beside_core(*item, x, y) for item in inside]),
        line=_staircase([(x(1.0), y(0.0)), *((x(ratio), y(-effect.gain)) for _, effect, ratio in kept)]),
        curve=curve, curve_end=end, core=(x(1.0), y(0.0)),
    )  # fmt: skip


def _beside_core(entry: Entry, effect: Effect, ratio: float, x: Scale, y: Scale) -> Point:
    title = plain(entry.evaluation.title or entry.evaluation.slug, 80)
    said = f"{number(-effect.gain, sign=True)} in loss, time × {number(ratio, 3)}, {entry.state}"
    confirmed = entry.state == "confirmed"
    label = plain(title, LABEL) if confirmed else ""
    kind = "record" if confirmed else "tried"
    return Point(x(ratio), y(-effect.gain), title, said, submission_page(entry.evaluation.slug), kind, label)


def _range(needed: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """What has to be seen, and the middle of everything else."""
    cut = sorted(others)
    skip = round(len(cut) * (1 - MIDDLE) / 2)
    middle = cut[skip : len(cut) - skip] if skip else cut
    return min([*needed, *middle]), max([*needed, *middle])


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
    """The path through the points that no other is left of and below; in pixels, where y grows downwards."""
    path, lowest = "", -math.inf
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if y > lowest:
            path += f"H{x}V{y}" if path else f"M{x} {y}"
            lowest = y
    return path


def _labelled(points: Sequence[Point]) -> tuple[Point, ...]:
    """Labels are kept where they cover no other label; a point without one still tells its name on hover."""
    taken: list[tuple[float, float, float]] = []
    kept = []
    for point in points:
        wide = point.x + 10 + CHARACTER * len(point.label)
        free = all(abs(point.y - y) >= LINE or wide < left or point.x > right for left, right, y in taken)
        if point.label and free and wide < WIDTH:
            taken.append((point.x, wide, point.y))
            kept.append(point)
        else:
            kept.append(Point(point.x, point.y, point.title, point.said, point.href, point.kind, "", point.span))
    return tuple(kept)
