"""Every figure of a report, as SVG text: deterministic, readable in light and dark, the same for everybody.

Each function takes plain numbers and returns an SVG. Nothing that a submitter wrote enters a figure. Colours are from
Okabe and Ito (2008), told apart by people with any colour vision; meaning never rests on colour alone.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

INK, MUTED, GRID, SURFACE = "#1f2328", "#59636e", "#d1d9e0", "#ffffff"
BLUE, VERMILION = "#0072b2", "#d55e00"
_DARK = {INK: "#f0f6fc", MUTED: "#9198a1", GRID: "#3d444d", SURFACE: "#0d1117", BLUE: "#56b4e9", VERMILION: "#f28e4b"}

_STYLE: Any = {  # matplotlib types its keys as one Literal of all parameters, which no dict display matches
    "svg.hashsalt": "blueberry",  # ids of clip paths would be random otherwise
    "svg.fonttype": "none",  # text stays text: small files, and readers can search and select it
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so the layout is the same on every machine
    "font.size": 11,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "figure.facecolor": SURFACE,
    "axes.facecolor": "none",
    "savefig.facecolor": SURFACE,
    "lines.solid_capstyle": "round",
}


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
class Series:
    """One line of a figure."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Slope:
    """One seed: the loss of the core and of the submission."""

    label: str
    base: float
    sub: float


@dataclass(frozen=True)
class Scatter:
    """The noise at one budget and precision."""

    label: str
    s0: tuple[float, ...]  # of the loss bank after each evaluation that entered it, nats
    same: tuple[float, ...]  # differences of the core's pairs with itself, in standard deviations, sorted


@dataclass(frozen=True)
class ForestRow:
    """The effects of one round as (estimate, low, high), positive being better; None where not measured."""

    confirm: bool
    loss: tuple[float, float, float]  # nats
    time: tuple[float, float, float] | None  # per cent of time saved
    net: tuple[float, float, float] | None  # per cent more tokens that the core would need


def _style() -> AbstractContextManager[None]:
    import matplotlib

    return matplotlib.rc_context(_STYLE)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure, description: str | None = None) -> str:
    """The figure as SVG text, with the dark palette as style rules that renderers without them ignore."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Description": description})
    text = buffer.getvalue()
    rules = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}'
        for light, dark in _DARK.items()
        for kind in ("fill", "stroke")
    )
    dark = f"@media (prefers-color-scheme:dark){{{rules}}}"
    style = f"<style>text{{font-family:'DejaVu Sans',Verdana,sans-serif}}{dark}</style>"
    text = re.sub(r"(<svg [^>]*>)", lambda found: found[1] + "\n " + style, text, count=1)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def _edge(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    """A label to the right of a line's last point: no legend to look up."""
    axes.annotate(text, (x, y), (8, 0), textcoords="offset points", va="center", color=colour, annotation_clip=False)


def decision_trace(trace: Trace) -> str:
    """T against the number of pairs, the boundary of acceptance above and the curve of futility below."""
    with _style():
        figure = _figure(7.4, 3.9)
        axes = figure.add_subplot()
        low, high = _reach(trace)
        _regions(axes, trace, low, high)
        _path(axes, trace, low, high)
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.set(xlim=(1.6, trace.max_pairs + 0.4), ylim=(low, high))
        axes.set(xlabel="pairs of runs", ylabel="T  (mean gain / standard error)")
        axes.set_xticks(range(2, trace.max_pairs + 1))
        return _svg(figure, fingerprint(trace))


def fingerprint(shown: object) -> str:
    """What a committed figure carries: the digest of its numbers and of this module, so that a stale one is told."""
    return f"sha256:{hashlib.sha256(Path(__file__).read_bytes() + repr(shown).encode()).hexdigest()}"


def _reach(trace: Trace) -> tuple[float, float]:
    """Limits of T: the boundaries are always in sight, a runaway T is not allowed to flatten them."""
    top = max(t for _, t in trace.accept)
    looks = [float(np.clip(t, -1.6 * top, 1.6 * top)) for _, t in trace.looks]
    high = max(1.35 * top, max(looks) + 0.45 * top)
    lowest = min([0.0, *looks, *(t for _, t in trace.futility)])
    return min(-0.3 * top, lowest - 0.25 * top), high


def _regions(axes: Axes, trace: Trace, low: float, high: float) -> None:
    """Where the decision falls, each region named inside it."""
    n, accept = np.array(trace.accept).T
    axes.fill_between(n, accept, high, color=BLUE, alpha=0.12, linewidth=0)
    axes.plot(n, accept, color=BLUE, linewidth=1.6)
    _name(axes, (n[-1], high), "accept ", BLUE, "top")
    if trace.two_sided and low < -accept.min():
        axes.fill_between(n, low, -accept, color=VERMILION, alpha=0.14, linewidth=0)
        axes.plot(n, -accept, color=VERMILION, linewidth=1.6)
        _name(axes, (n[-1], -accept[-1]), "worse ", VERMILION, "top")
    if len(trace.futility) > 1:
        n, stop = np.array(trace.futility).T
        axes.fill_between(n, low, stop, color=MUTED, alpha=0.13, linewidth=0)
        axes.plot(n, stop, color=MUTED, linewidth=1.4, linestyle=(0, (5, 3)))
        crowded = trace.two_sided and low < -accept.min()
        foot, side = (0.0, "top") if crowded else (low, "bottom")
        _name(axes, (n[-1], foot), "stop: no gain in sight ", MUTED, side)


def _name(axes: Axes, corner: tuple[float, float], text: str, colour: str, side: str) -> None:
    shift = -6 if side == "top" else 6
    axes.annotate(text, corner, (0, shift), textcoords="offset points", ha="right", va=side, color=colour)


def _path(axes: Axes, trace: Trace, low: float, high: float) -> None:
    """The measured T; a value off the scale is a triangle at the edge, with its number."""
    margin = 0.06 * (high - low)
    n = [pairs for pairs, _ in trace.looks]
    shown = [float(np.clip(t, low + margin, high - margin)) for _, t in trace.looks]
    axes.plot(n, shown, color=INK, linewidth=1.8, marker="o", markersize=5, zorder=3)
    value = trace.looks[-1][1]
    marker = "o" if value == shown[-1] else ("^" if value > 0 else "v")
    axes.plot(n[-1:], shown[-1:], color=INK, marker=marker, markersize=9, zorder=4)
    number = f"{value:.2f}".replace("-", "−").replace("inf", "∞")
    right = n[-1] > 0.75 * trace.max_pairs
    axes.annotate(
        f"{trace.outcome}\nT = {number}",
        (n[-1], shown[-1]),
        (-2 if right else 11, 9 if marker == "o" else 0),
        textcoords="offset points",
        ha="right" if right else "left",
        va="bottom" if marker == "o" else "center",
        fontweight="bold",
        zorder=5,
    )


def slopes(panels: Sequence[tuple[str, Sequence[Slope]]], unit: str) -> str:
    """Loss of core and submission on each seed: parallel lines mean that the seeds agree."""
    with _style():
        figure = _figure(3.7 * max(len(panels), 1), 4.2)
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (title, rows) in zip(grid, panels, strict=True):
            for row in rows:
                colour = BLUE if row.sub < row.base else VERMILION
                style = "-" if row.sub < row.base else "--"
                axes.plot([0, 1], [row.base, row.sub], style, color=colour, marker="o", markersize=5, linewidth=1.4)
            _spread_labels(axes, rows)
            axes.set(xlim=(-0.2, 1.5), title=title, ylabel=f"loss, {unit}")
            axes.set_xticks([0, 1], ["core", "submission"])
            axes.tick_params(axis="x", labelcolor=INK)
            axes.grid(axis="y")
        return _svg(figure)


def _spread_labels(axes: Axes, rows: Sequence[Slope]) -> None:
    """Labels at the right ends, pushed apart so that none lies on another."""
    values = [value for row in rows for value in (row.base, row.sub)]
    span = (max(values) - min(values)) or 1e-6
    gap, previous = 0.055 * span, -np.inf
    for row in sorted(rows, key=lambda row: row.sub):
        y = max(row.sub, previous + gap)
        previous = y
        axes.annotate(row.label, (1, row.sub), (1.1, y), va="center", fontsize=9, color=MUTED)
    axes.set_ylim(min(values) - 0.08 * span, max(max(values), previous) + 0.08 * span)


def forest(rows: Sequence[tuple[str, ForestRow]]) -> str:
    """Gain in loss, time and net tokens for every cell and round, each with its interval, zero and margin lines."""
    with _style():
        figure = _figure(9.2, 1.6 + 0.42 * len(rows))
        grid = figure.subplots(1, 3, sharey=True)
        heads = ("loss: gain, nats", "time saved, %", "net gain, % of tokens")
        for axes, head, margin in zip(grid, heads, (None, 0.5, None), strict=True):
            axes.axvline(0, color=MUTED, linewidth=1.0)
            if margin is not None:
                axes.axvline(margin, color=MUTED, linewidth=1.0, linestyle=(0, (2, 3)))
            axes.set_title(head)
            axes.grid(axis="x")
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="y", length=0)
        for place, (_, row) in enumerate(rows):
            for axes, effect in zip(grid, (row.loss, row.time, row.net), strict=True):
                _effect(axes, place, effect, row.confirm)
        if all(row.net is None for _, row in rows):
            grid[2].set_xticks([])
            grid[2].text(0.5, 0.5, "no exchange rate yet", transform=grid[2].transAxes, ha="center", color=MUTED)
        grid[0].set_yticks(range(len(rows)), [label for label, _ in rows])
        grid[0].tick_params(axis="y", labelcolor=INK, length=0)
        grid[0].set_ylim(len(rows) - 0.4, -0.6)
        return _svg(figure)


def _effect(axes: Axes, place: int, effect: tuple[float, float, float] | None, confirm: bool) -> None:
    if effect is None:
        return
    value, low, high = effect
    axes.plot([low, high], [place, place], color=BLUE, linewidth=1.6)
    face = BLUE if confirm else SURFACE
    axes.plot([value], [place], marker="o", markersize=7, color=BLUE, markerfacecolor=face, markeredgewidth=1.6)


def loss_difference(pairs: Sequence[Series], tokens: int) -> str:
    """Core minus submission in training loss over the tokens: one line a pair, their mean and one sd around it."""
    with _style():
        figure = _figure(7.4, 3.6)
        axes = figure.add_subplot()
        scale, unit = (1e6, "million tokens") if tokens >= 1_000_000 else (1e3, "thousand tokens")
        for pair in pairs:
            axes.plot(np.array(pair.x) / scale, pair.y, color=MUTED, linewidth=0.8, alpha=0.6)
        x, mean, sd = _band(pairs)
        axes.fill_between(x / scale, mean - sd, mean + sd, color=BLUE, alpha=0.18, linewidth=0)
        axes.plot(x / scale, mean, color=BLUE, linewidth=2)
        axes.axhline(0, color=MUTED, linewidth=0.8)
        _edge(axes, x[-1] / scale, mean[-1], "mean\n± 1 sd", BLUE)
        middle = x >= 0.15 * x[-1]  # the first steps differ by much and would hide the rest
        low, high = min(0.0, (mean - sd)[middle].min()), max(0.0, (mean + sd)[middle].max())
        room = 0.15 * (high - low) or 1e-6
        axes.set(xlabel=f"trained on, {unit}", ylabel="core − submission, nats", ylim=(low - room, high + room))
        axes.set_xlim(0, x[-1] / scale)
        axes.set_title("training loss; above zero the submission is ahead", color=MUTED)
        return _svg(figure)


def _band(pairs: Sequence[Series]) -> tuple[Array, Array, Array]:
    """The pairs on one grid of tokens: (x, mean, sample sd), each (points,)."""
    x = np.array(pairs[0].x)
    table = np.stack([np.interp(x, pair.x, pair.y) for pair in pairs])  # (pairs, points)
    sd = table.std(axis=0, ddof=1) if len(pairs) > 1 else np.zeros_like(x)
    return x, table.mean(axis=0), sd


def wall_clock(base: Sequence[Series], sub: Sequence[Series]) -> str:
    """Training loss over the judge's clock, every run of both arms."""
    with _style():
        figure = _figure(7.4, 3.6)
        axes = figure.add_subplot()
        for runs, colour, style in ((base, MUTED, (0, (4, 2))), (sub, BLUE, "-")):
            for run in runs:
                axes.plot(run.x, run.y, color=colour, linewidth=1.2, alpha=0.8, linestyle=style)
        _arm_names(axes, base, sub)
        ends = [run.y[-1] for run in (*base, *sub)]
        starts = [np.interp(0.1 * run.x[-1], run.x, run.y) for run in (*base, *sub)]
        room = 0.08 * (max(starts) - min(ends))
        axes.set(xlabel="training time, seconds", ylabel="training loss, nats", ylim=(min(ends) - room, max(starts)))
        axes.set_xlim(0, max(run.x[-1] for run in (*base, *sub)))
        axes.grid(axis="y")
        return _svg(figure)


def _arm_names(axes: Axes, base: Sequence[Series], sub: Sequence[Series]) -> None:
    """Both arms end close together: the higher one is named above its end, the lower one below."""
    arms = (("core", base, MUTED), ("submission", sub, BLUE))
    ends = {name: float(np.mean([run.y[-1] for run in runs])) for name, runs, _ in arms}
    for name, runs, colour in arms:
        shift = 7 if ends[name] == max(ends.values()) else -7
        place = (max(run.x[-1] for run in runs), ends[name])
        axes.annotate(
            name, place, (8, shift), textcoords="offset points", va="center", color=colour, annotation_clip=False
        )


def noise(scatters: Sequence[Scatter]) -> str:
    """How the bank settled, and whether the core's differences from itself are as normal as the t-test takes them."""
    colours = (BLUE, VERMILION, INK, MUTED)
    with _style():
        figure = _figure(9.2, 3.9)
        history, quantiles = figure.subplots(1, 2, width_ratios=(1.2, 1))
        for place, scatter in enumerate(scatters):
            colour = colours[place % len(colours)]
            marker = "os^D"[place % 4]
            entered = range(1, len(scatter.s0) + 1)
            history.plot(entered, scatter.s0, color=colour, marker=marker, markersize=4, linewidth=1.6)
            _edge(history, entered[-1], scatter.s0[-1], scatter.label, colour)
            n = len(scatter.same)
            expected = [NormalDist().inv_cdf((i + 0.5) / n) for i in range(n)]
            quantiles.plot(expected, scatter.same, marker, color=colour, markersize=5)
        history.set(xlabel="evaluations in the bank", title="s0 of a loss difference, nats")
        history.set_ylim(0, 1.25 * max(value for scatter in scatters for value in scatter.s0))
        history.set_xlim(0.5, 0.5 + max(2, *(len(scatter.s0) for scatter in scatters)))
        history.xaxis.get_major_locator().set_params(integer=True)
        history.grid(axis="y")
        quantiles.axline((0, 0), slope=1, color=MUTED, linewidth=0.8)
        reach = 1.1 * max(2.0, *(abs(value) for scatter in scatters for value in scatter.same))
        quantiles.set(xlabel="normal quantile", xlim=(-reach, reach), ylim=(-reach, reach))
        quantiles.set_title("core against itself, in its own sd")
        quantiles.grid()
        return _svg(figure, fingerprint(tuple(scatters)))


def inline(svg: str, prefix: str) -> str:
    """The same figure for the inside of an HTML page: no XML head, and ids that no other figure on the page has."""
    body = svg[svg.index("<svg ") :]
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}-", body)
