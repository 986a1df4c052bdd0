"""The figures of the noise page: how much runs scatter, whether as the t-test takes it, which errors were allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from harness.board.canvas import (
    BLUE,
    GRID,
    INK,
    MUTED,
    SERIES,
    SURFACE,
    as_rows,
    aside,
    drawn,
    edge_labels,
    over,
    tall,
    valued,
)
from harness.board.markdown import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS = 4  # quantile plots in a row


@dataclass(frozen=True)
class Scatter:
    """The noise at one budget and precision."""

    label: str
    s0: tuple[float, ...]  # of the loss bank after each evaluation that entered it, nats
    same: tuple[float, ...]  # differences of the core's pairs with itself, in standard deviations, sorted
    unit: str = "nats"  # of a loss difference


@dataclass(frozen=True)
class NoiseRow:
    """How much the core's loss scatters at one budget, precision and host class; None where it is not known."""

    label: str
    run_sd: float | None  # over seeds
    pair_sd: float | None  # of a pair's difference
    rho: float | None  # correlation within pairs


def _rows(scatters: Sequence[Scatter]) -> int:
    return -(-len(scatters) // ACROSS)


def _noise_title(scatters: Sequence[Scatter]) -> str:
    return "The noise bank: s0 is now " + ", ".join(f"{one.s0[-1]:.4f} at {one.label}" for one in scatters if one.s0)


@drawn(lambda scatters: 2.9 + 1.75 * _rows(scatters), _noise_title)
def noise(figure: Figure, scatters: Sequence[Scatter]) -> None:
    """How the bank settled, and whether the core's differences from itself are as normal as the t-test takes them."""
    rows = _rows(scatters)
    layout = figure.add_gridspec(1 + rows, ACROSS, height_ratios=(2.4, *[1.5] * rows))
    _bank(figure.add_subplot(layout[0, :]), scatters)
    reach = 1.15 * max(2.0, *(abs(value) for one in scatters for value in one.same))
    for place, one in enumerate(scatters):
        axes = figure.add_subplot(layout[1 + place // ACROSS, place % ACROSS])
        _quantiles(axes, one, reach, place)


def _bank(axes: Axes, scatters: Sequence[Scatter]) -> None:
    ends = []
    for place, one in enumerate(scatters):
        if one.s0:
            colour = SERIES[place % len(SERIES)]
            entered = range(1, len(one.s0) + 1)
            axes.plot(entered, one.s0, color=colour, marker="os^D"[place % 4], markersize=4)
            ends.append((float(entered[-1]), one.s0[-1], one.label, colour))
    axes.set(xlabel="evaluations in the bank", ylabel=f"s0 of a pair, {scatters[0].unit}")
    axes.set_ylim(0, 1.2 * max(value for one in scatters for value in one.s0))
    axes.set_xlim(0.5, 0.5 + max(2, *(len(one.s0) for one in scatters)))
    axes.locator_params(axis="x", integer=True)
    axes.grid(axis="y")
    edge_labels(axes, ends)


def _quantiles(axes: Axes, one: Scatter, reach: float, place: int) -> None:
    n = len(one.same)
    expected = [NormalDist().inv_cdf((i + 0.5) / n) for i in range(n)]
    axes.axline((0, 0), slope=1, color=MUTED, linewidth=0.8)
    axes.plot(expected, one.same, "os^D"[place % 4], color=SERIES[place % len(SERIES)], markersize=3.5)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=(-2, 0, 2), yticks=(-2, 0, 2))
    axes.set_title(one.label, size=9)
    axes.set_xlabel("normal, sd", size=10)
    if place % ACROSS == 0:
        axes.set_ylabel("pairs, sd", size=10)
    else:
        axes.tick_params(labelleft=False)
    axes.grid()


def _spreads_title(rows: Sequence[NoiseRow], unit: str = "nats") -> str:
    return "Spread over seeds, and correlation: " + "; ".join(
        f"{row.label}: run sd {number(row.run_sd)} {unit}, rho {number(row.rho, 2)}" for row in rows
    )


@drawn(tall, _spreads_title)
def spreads(figure: Figure, rows: Sequence[NoiseRow], unit: str = "nats") -> None:
    """What pairing saves: the spread of runs, that of pairs, and the correlation that makes the difference."""
    sds, rhos = figure.subplots(1, 2, sharey=True, width_ratios=(1.6, 1))
    for place, row in enumerate(rows):
        known = [value for value in (row.pair_sd, row.run_sd) if value is not None]
        sds.plot(known, [place] * len(known), color=GRID, linewidth=3, solid_capstyle="butt")
        _point(sds, place, row.pair_sd, BLUE)
        _point(sds, place, row.run_sd, SURFACE)
        _point(rhos, place, row.rho, BLUE)
        if row.pair_sd is not None:
            valued(sds, row.pair_sd, place, f"pair {number(row.pair_sd)}")
        if row.run_sd is not None:
            aside(sds, row.run_sd, place, f"run {number(row.run_sd)}")
        if row.rho is not None:
            valued(rhos, row.rho, place, number(row.rho, 2))
        over(sds, place, row.label)
    sds.set(xlabel=f"standard deviation, {unit}")
    sds.set_xlim(0, 1.6 * max([value for row in rows for value in (row.pair_sd, row.run_sd) if value] or [1.0]))
    sds.set_zorder(1)
    rhos.set(xlabel="rho, correlation", xlim=(min([0.0, *(row.rho for row in rows if row.rho)]) - 0.1, 1.12))
    for axes in (sds, rhos):
        as_rows(axes, len(rows))
        axes.locator_params(axis="x", nbins=4)


def _point(axes: Axes, place: int, value: float | None, face: str) -> None:
    if value is not None:
        axes.plot([value], [place], "o", markersize=7, color=BLUE, markerfacecolor=face, markeredgewidth=1.6)


def _same_title(groups: Sequence[tuple[str, Sequence[float]]], unit: str = "nats") -> str:
    return "The core against itself: " + ", ".join(f"{len(values)} pairs at {label}" for label, values in groups)


@drawn(tall, _same_title)
def same_pairs(figure: Figure, groups: Sequence[tuple[str, Sequence[float]]], unit: str = "nats") -> None:
    """Differences of the core from itself under another initialisation: what a patch without any effect looks like."""
    axes = figure.add_subplot()
    axes.axvline(0, color=MUTED, linewidth=1.0)
    for place, (label, values) in enumerate(groups):
        axes.plot(values, [place] * len(values), "o", color=BLUE, alpha=0.8, markersize=7, markeredgewidth=0)
        mean = float(np.mean(values))
        axes.plot([mean], [place], "|", color=INK, markersize=20, markeredgewidth=2)
        valued(axes, mean, place, f"mean {number(mean, sign=True)}")
        over(axes, place, f"{label} ({len(values)} pairs)")
    as_rows(axes, len(groups))
    reach = 1.15 * max([abs(value) for _, values in groups for value in values] or [1.0])
    axes.set(xlabel=f"core − core with other initial weights, {unit}", xlim=(-reach, reach))


def _spent_title(rates: Sequence[float]) -> str:
    return f"{len(rates)} claims decided; were none of them true, at most {sum(rates):.2f} would be accepted"


@drawn(2.7, _spent_title)
def spent(figure: Figure, rates: Sequence[float]) -> None:
    """The error rates that the claims decided so far were allowed, added up in the order of their closing."""
    axes = figure.add_subplot()
    total = np.concatenate([[0.0], np.cumsum(rates)])
    axes.step(range(len(total)), total, where="post", color=BLUE, linewidth=2)
    axes.fill_between(range(len(total)), total, step="post", color=BLUE, alpha=0.12, linewidth=0)
    axes.plot([len(rates)], total[-1:], "o", color=BLUE, clip_on=False)
    axes.set(xlabel="claims decided", ylabel="false acceptances, at most")
    axes.set(xlim=(0, max(1, len(rates))), ylim=(0, 1.2 * float(total[-1]) or 1.0))
    axes.locator_params(axis="x", integer=True)
    axes.grid(axis="y")
    edge_labels(axes, [(float(len(rates)), float(total[-1]), f"{total[-1]:.2f}", BLUE)])
