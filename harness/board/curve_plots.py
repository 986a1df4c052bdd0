"""How a submission trained: its distance from the core over the tokens, and both arms over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.board.canvas import BLUE, MUTED, corner, drawn, edge_labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """One line of a figure."""

    x: tuple[float, ...]
    y: tuple[float, ...]


def _difference_title(pairs: Sequence[Series], tokens: int, unit: str = "nats") -> str:
    _, mean, _ = band(pairs)
    return f"Training loss, core minus submission, over {len(pairs)} pairs: {mean[-1]:.4f} {unit} at the end"


@drawn(3.0, _difference_title)
def loss_difference(figure: Figure, pairs: Sequence[Series], tokens: int, unit: str = "nats") -> None:
    """Core minus submission in training loss over the tokens: one line a pair, their mean and one sd around it."""
    axes = figure.add_subplot()
    scale, of = (1e6, "million tokens") if tokens >= 1_000_000 else (1e3, "thousand tokens")
    for pair in pairs:
        axes.plot(np.array(pair.x) / scale, pair.y, color=MUTED, linewidth=0.7, alpha=0.85)
    x, mean, sd = band(pairs)
    axes.fill_between(x / scale, mean - sd, mean + sd, color=BLUE, alpha=0.18, linewidth=0)
    axes.plot(x / scale, mean, color=BLUE, linewidth=2)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    late = x >= 0.15 * x[-1]  # the first steps differ by much and would hide the rest
    low, high = min(0.0, (mean - sd)[late].min()), max(0.0, (mean + sd)[late].max())
    room = 0.22 * (high - low) or 1e-6
    axes.set(xlim=(0, x[-1] / scale), ylim=(low - room, high + room))
    axes.set(xlabel=f"trained on, {of}", ylabel=f"core − submission,\n{unit}")
    edge_labels(axes, [(x[-1] / scale, mean[-1], "mean\n± 1 sd" if len(pairs) > 1 else "one pair", BLUE)])
    corner(axes, "top", "submission ahead")
    corner(axes, "bottom", "core ahead")


def band(pairs: Sequence[Series]) -> tuple[Array, Array, Array]:
    """The pairs on one grid of tokens: (x, mean, sample sd), each (points,)."""
    x = np.array(pairs[0].x)
    table = np.stack([np.interp(x, pair.x, pair.y) for pair in pairs])  # (pairs, points)
    sd = table.std(axis=0, ddof=1) if len(pairs) > 1 else np.zeros_like(x)
    return x, table.mean(axis=0), sd


def _clock_title(base: Sequence[Series], sub: Sequence[Series], unit: str = "nats") -> str:
    ends = [np.mean([run.x[-1] for run in runs]) for runs in (base, sub)]
    return f"Training loss over time: the core takes {ends[0]:.1f} s, the submission {ends[1]:.1f} s"


@drawn(3.0, _clock_title)
def wall_clock(figure: Figure, base: Sequence[Series], sub: Sequence[Series], unit: str = "nats") -> None:
    """Training loss over the judge's clock: every run thin, the mean of each arm thick."""
    axes = figure.add_subplot()
    arms = (("core", base, MUTED, (0, (4, 2))), ("submission", sub, BLUE, "-"))
    ends_at = []
    for name, runs, colour, style in arms:
        for run in runs:
            axes.plot(run.x, run.y, color=colour, linewidth=0.6, alpha=0.8)
        x, y = _mean_run(runs)
        axes.plot(x, y, color=colour, linewidth=2, linestyle=style)
        axes.plot(x[-1:], y[-1:], "o", color=colour, clip_on=False)
        ends_at.append((float(y[-1]), f"{name}\n{x[-1]:,.1f} s", colour))
    runs = (*base, *sub)
    last = max(run.x[-1] for run in runs)
    ends = [min(run.y) for run in runs]
    starts = [np.interp(0.1 * run.x[-1], run.x, run.y) for run in runs]
    room = 0.08 * (max(starts) - min(ends)) or 1e-6
    axes.set(xlim=(0, last), ylim=(min(ends) - room, max(starts) + room))
    axes.set(xlabel="training time, seconds", ylabel=f"training loss,\n{unit}")
    axes.grid(axis="y")
    edge_labels(axes, [(last, *end) for end in ends_at])


def _mean_run(runs: Sequence[Series]) -> tuple[Array, Array]:
    """Time and loss of an arm, averaged over its runs at equal shares of their points."""
    share = np.linspace(0, 1, max(len(run.x) for run in runs))
    table = [
        [np.interp(share, np.linspace(0, 1, len(line)), line) for line in (run.x, run.y)] for run in runs
    ]  # (runs, 2, points)
    x, y = np.mean(table, axis=0)
    return x, y
