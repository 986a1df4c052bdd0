"""The figures of a verdict, as SVG text: deterministic, readable in light and dark, the same for everybody.

Each function takes plain numbers and returns an SVG. Nothing that a submitter wrote enters a figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.board.canvas import (
    BLUE,
    INK,
    MUTED,
    SURFACE,
    TONE,
    VERMILION,
    as_rows,
    beside,
    corner,
    drawn,
    edge_labels,
    fingerprint,
    inline,
    over,
    point,
    tall,
    valued,
)
from harness.board.curve_plots import Series, loss_difference, wall_clock
from harness.board.markdown import number
from harness.board.noise_plots import NoiseRow, Scatter, noise, same_pairs, spent, spreads

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "ForestRow", "NoiseRow", "Scatter", "Series", "Slope", "Trace", "decision_trace", "fingerprint", "forest",
    "inline", "loss_difference", "noise", "same_pairs", "slopes", "spent", "spreads", "wall_clock",
]  # fmt: skip

Line = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Trace:
    """What the decision trace shows: T after each pair, and the two curves that end a cell."""

    max_pairs: int
    looks: tuple[tuple[int, float], ...]  # (pairs, T); T may be infinite where all differences are equal
    accept: tuple[tuple[int, float], ...]  # (pairs, T at which the claim is accepted)
    futility: tuple[tuple[int, float], ...]  # (pairs, T below which acceptance has become unlikely)
    outcome: str  # label of the last point
    two_sided: bool = True  # False: being slower ends a cell only through futility


@dataclass(frozen=True)
class Slope:
    """One seed: the loss of the core and of the submission."""

    label: str
    base: float
    sub: float


@dataclass(frozen=True)
class ForestRow:
    """The effects of one round as (estimate, low, high), positive being better; None where not measured."""

    confirm: bool
    loss: tuple[float, float, float]  # nats
    time: tuple[float, float, float] | None  # per cent of time saved
    net: tuple[float, float, float] | None  # per cent more tokens that the core would need


def _said(t: float) -> str:
    return f"{t:.2f}".replace("-", "−").replace("inf", "∞")


def _trace_title(trace: Trace) -> str:
    n, t = trace.looks[-1]
    return f"Decision trace: after {n} of at most {trace.max_pairs} pairs T is {_said(t)}: {trace.outcome}"


@drawn(3.5, _trace_title)
def decision_trace(figure: Figure, trace: Trace) -> None:
    """T against the number of pairs, the boundary of acceptance above and the curve of futility below."""
    axes = figure.add_subplot()
    low, high = _reach(trace)
    axes.set(xlim=(1.6, trace.max_pairs + 0.4), ylim=(low, high))
    axes.set(xlabel="pairs of runs, n", ylabel="T, mean gain in standard errors")
    axes.set_xticks(range(2, trace.max_pairs + 1))
    axes.axhline(0, color=MUTED, linewidth=0.8)
    names = _regions(axes, trace, low, high)
    _path(axes, trace, low, high, names)


def _reach(trace: Trace) -> tuple[float, float]:
    """Limits of T: the boundaries are always in sight, a runaway T is not allowed to flatten them."""
    top, least = max(t for _, t in trace.accept), min(t for _, t in trace.accept)
    looks = [float(np.clip(t, -1.6 * top, 1.6 * top)) for _, t in trace.looks]
    high = max(1.35 * top, max(looks) + 0.45 * top)
    lowest = min(0.0, *looks, *(t for _, t in trace.futility))
    low = min(-0.3 * top, lowest - 0.25 * top)
    return (low if lowest < -0.9 * least else max(low, -0.95 * least)), high


def _regions(axes: Axes, trace: Trace, low: float, high: float) -> list[Line]:
    """Where the decision falls, each region named inside it; returns where the names are."""
    n, accept = np.array(trace.accept).T
    axes.fill_between(n, accept, high, color=BLUE, alpha=0.12, linewidth=0)
    axes.plot(n, accept, color=BLUE)
    names = [_name(axes, (n[-1], high), "accept ", BLUE, "top")]
    harm = trace.two_sided and low < -accept.min()
    if harm:
        axes.fill_between(n, low, np.maximum(low, -accept), color=VERMILION, alpha=0.14, linewidth=0)
        axes.plot(n, np.maximum(low, -accept), color=VERMILION)
        names.append(_name(axes, (n[-1], low), "worse ", VERMILION, "bottom"))
    if trace.futility:
        m, stop = np.array(trace.futility).T
        foot = np.maximum(low, -accept[: len(m)]) if harm else np.full_like(stop, low)
        if len(m) == 1:  # a region as wide as half a pair
            m, stop, foot = m[0] + np.array([-0.25, 0.25]), np.repeat(stop, 2), np.repeat(foot, 2)
        axes.fill_between(m, foot, stop, color=MUTED, alpha=0.13, linewidth=0)
        axes.plot(m, stop, color=MUTED, linestyle=(0, (5, 3)))
        end, side = (0.0, "top") if harm else (low, "bottom")
        names.append(_name(axes, (m[-1], end), "stop: no gain in sight ", MUTED, side))
    return names


def _name(axes: Axes, at: tuple[float, float], text: str, colour: str, side: str) -> Line:
    up = -6 if side == "top" else 6
    tone = TONE.get(colour, colour)
    axes.annotate(text, at, (0, up), textcoords="offset points", ha="right", va=side, color=tone)
    across, upwards = point(axes)
    middle = at[1] + 2 * up * upwards
    return (at[0] - 6.6 * len(text) * across, middle), (at[0], middle)


def _path(axes: Axes, trace: Trace, low: float, high: float, names: Sequence[Line]) -> None:
    """The measured T; a value off the scale is a triangle at the edge, with its number."""
    margin = 0.09 * (high - low)
    n = [pairs for pairs, _ in trace.looks]
    shown = [float(np.clip(t, low + margin, high - margin)) for _, t in trace.looks]
    axes.plot(n, shown, color=INK, linewidth=1.8, marker="o", zorder=3)
    value = trace.looks[-1][1]
    marker = "o" if value == shown[-1] else ("^" if value > 0 else "v")
    axes.plot(n[-1:], shown[-1:], color=INK, marker=marker, markersize=9, zorder=4)
    zero = ((1.0, 0.0), (trace.max_pairs + 1.0, 0.0))
    lines = [line for line in (trace.accept, trace.futility, tuple(zip(n, shown, strict=True)), zero) if line]
    beside(axes, n[-1], shown[-1], f"{trace.outcome}\nT = {_said(value)}", lines, names)


def _slopes_title(panels: Sequence[tuple[str, Sequence[Slope]]], unit: str) -> str:
    rows = [row for _, panel in panels for row in panel]
    fallen = sum(row.sub < row.base for row in rows)
    return f"Loss by seed, {unit}: the submission is lower in {fallen} of {len(rows)} pairs"


@drawn(3.3, _slopes_title)
def slopes(figure: Figure, panels: Sequence[tuple[str, Sequence[Slope]]], unit: str) -> None:
    """Loss of core and submission on each seed: parallel lines mean that the seeds agree."""
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for place, (axes, (title, rows)) in enumerate(zip(grid, panels, strict=True)):
        for row in rows:
            better = row.sub < row.base
            colour, style = (BLUE, "-") if better else (VERMILION, "--")
            axes.plot([0, 1], [row.base, row.sub], style, color=colour, marker="o", linewidth=1.4)
        values = [value for row in rows for value in (row.base, row.sub)]
        room = 0.1 * (max(values) - min(values)) or 1e-6
        axes.set(xlim=(-0.2, 1.2), ylim=(min(values) - room, max(values) + room), title=title)
        edge_labels(axes, [(1.0, row.sub, row.label, MUTED) for row in rows], size=9)
        axes.set_xticks([0, 1], ["core", "submission"])
        axes.tick_params(axis="x", labelcolor=INK, length=0)
        axes.grid(axis="y")
        if place == 0:
            axes.set_ylabel(f"loss, {unit}")


def _forest_title(rows: Sequence[tuple[str, ForestRow]], unit: str = "nats") -> str:
    return "All effects with their intervals: " + "; ".join(
        f"{name} {number(row.loss[0], sign=True)}" for name, row in rows
    )


@drawn(tall, _forest_title)
def forest(figure: Figure, rows: Sequence[tuple[str, ForestRow]], unit: str = "nats") -> None:
    """Gain in loss, time and net tokens for every cell and round, each with its interval, zero and margin lines."""
    grid = figure.subplots(1, 3, sharey=True)
    heads = (f"loss gain, {unit}", "time saved, %", "net gain, % tokens")
    for axes, head, margin in zip(grid, heads, (None, 0.5, None), strict=True):
        axes.axvline(0, color=MUTED, linewidth=1.0)
        if margin is not None:
            axes.axvline(margin, color=MUTED, linewidth=1.0, linestyle=(0, (2, 3)))
        axes.set_xlabel(head)
        as_rows(axes, len(rows))
        axes.locator_params(axis="x", nbins=3)
        axes.margins(x=0.15)
    for place, (name, row) in enumerate(rows):
        for axes, effect, digits in zip(grid, (row.loss, row.time, row.net), (4, 1, 1), strict=True):
            _effect(axes, place, effect, digits, row.confirm)
        over(grid[0], place, name)
    if all(row.net is None for _, row in rows):
        grid[2].set_xticks([])
        corner(grid[2], "bottom", "no exchange\nrate yet")
    grid[0].set_zorder(1)  # names of rows are longer than their panel is wide


def _effect(axes: Axes, place: int, effect: tuple[float, float, float] | None, digits: int, confirm: bool) -> None:
    if effect is None:
        return
    value, low, high = effect
    axes.plot([low, high], [place, place], color=BLUE)
    face = BLUE if confirm else SURFACE
    axes.plot([value], [place], marker="o", markersize=7, color=BLUE, markerfacecolor=face, markeredgewidth=1.6)
    valued(axes, value, place, number(value, digits, sign=True))
