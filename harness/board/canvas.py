"""What all figures share: the style, colours for light and dark, labels beside lines, and SVG that is always the same.

Colours are from Okabe and Ito (2008), told apart by people with any colour vision; meaning never rests on colour alone.
A figure brings its own ground in both schemes, so it can be read wherever it is shown.
"""

from __future__ import annotations

import functools
import hashlib
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, SURFACE = "#1f2328", "#59636e", "#d1d9e0", "#ffffff"
BLUE, VERMILION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
SERIES = (BLUE, VERMILION, GREEN, PURPLE)
TONE = {BLUE: "#005a8f", VERMILION: "#a84a00", GREEN: "#007353", PURPLE: "#9c4f7a"}  # the same colours, as text
DARK = {
    INK: "#f0f6fc", MUTED: "#9198a1", GRID: "#3d444d", SURFACE: "#0d1117",
    BLUE: "#56b4e9", VERMILION: "#e69f00", GREEN: "#009e73", PURPLE: "#cc79a7",
    TONE[BLUE]: "#56b4e9", TONE[VERMILION]: "#e69f00", TONE[GREEN]: "#2fc498", TONE[PURPLE]: "#d592b6",
}  # fmt: skip

WIDTH = 5.4  # inches of every figure: its text stays readable on a phone, and two stand side by side on a desk
DRAWING = ("blueberry.mplstyle", "canvas.py", "curve_plots.py", "noise_plots.py", "plots.py")
STYLE = Path(__file__).with_name("blueberry.mplstyle")
HALO = {"facecolor": SURFACE, "edgecolor": "none", "alpha": 0.8, "pad": 1.5}  # keeps a label off what runs below it

P = ParamSpec("P")


def drawn(height: float | Callable[..., float], title: Callable[P, str]) -> Callable[..., Callable[P, str]]:
    """Makes a function that draws on an empty figure into one that returns the SVG; `title` says it in words."""

    def decorate(draw: Callable[..., object]) -> Callable[P, str]:
        @functools.wraps(draw)
        def svg(*args: P.args, **kwargs: P.kwargs) -> str:
            import matplotlib
            from matplotlib.figure import Figure

            with matplotlib.rc_context(fname=STYLE):
                tall = height(*args, **kwargs) if callable(height) else height
                figure = Figure(figsize=(WIDTH, tall))
                draw(figure, *args, **kwargs)
                return _svg(figure, title(*args, **kwargs), fingerprint(*args))

        return svg

    return decorate


def fingerprint(*shown: object) -> str:
    """What a committed figure carries: the digest of its numbers and of what draws it, so that a stale one is told."""
    return f"sha256:{hashlib.sha256(_drawing() + repr(shown).encode()).hexdigest()}"


@functools.cache
def _drawing() -> bytes:
    folder = Path(__file__).parent
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in DRAWING)).digest()


def _svg(figure: Figure, title: str, digest: str) -> str:
    """The figure as SVG text, with the dark palette as style rules that renderers without them ignore."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", metadata={"Date": None, "Creator": None, "Title": title, "Description": digest}
    )
    rules = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}'
        for light, dark in DARK.items()
        for kind in ("fill", "stroke")
    )
    dark = f"@media screen and (prefers-color-scheme:dark){{{rules}}}"
    style = f"<style>text{{font-family:'DejaVu Sans',Verdana,sans-serif}}{dark}</style>"
    text = re.sub(r"<!--.*?-->", "", buffer.getvalue())  # matplotlib repeats every label in a comment
    text = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text)  # hundredths of a point
    text = re.sub(r' transform="rotate\(-?0 [^"]*"', "", text)
    text = re.sub(r"<svg ([^>]*>)", lambda found: f'<svg role="img" {found[1]}\n{style}', text, count=1)
    return "\n".join(line.strip() for line in text.splitlines() if line.strip()) + "\n"


def inline(svg: str, prefix: str) -> str:
    """The same figure for the inside of an HTML page: no XML head, and ids that no other figure on the page has."""
    body = svg[svg.index("<svg ") :]
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}-", body)


def spread(values: Sequence[float], gap: float, low: float = -np.inf, high: float = np.inf) -> list[float]:
    """The places nearest to the values, in least squares, that keep their order, a gap and the limits."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    blocks: list[tuple[float, int]] = []  # (place of its first, members), adjacent violators pooled
    for rank, i in enumerate(order):
        place, members = values[i] - rank * gap, 1
        while blocks and blocks[-1][0] > place:
            other, count = blocks.pop()
            place, members = (place * members + other * count) / (members + count), members + count
        blocks.append((place, members))
    flat = [min(max(place, low), high - gap * (len(values) - 1)) for place, members in blocks for _ in range(members)]
    places = dict(zip(order, (place + rank * gap for rank, place in enumerate(flat)), strict=True))
    return [places[i] for i in range(len(values))]


def edge_labels(axes: Axes, ends: Sequence[tuple[float, float, str, str]], size: float = 10.0) -> None:
    """Names beside the last points (x, y, text, colour) of lines, pushed apart: no legend to look up."""
    rows = max(text.count("\n") + 1 for _, _, text, _ in ends)
    gap = 1.35 * rows * size * point(axes)[1]
    low, high = axes.get_ylim()
    places = spread([y for _, y, _, _ in ends], gap, low + gap / 3, high - gap / 3)
    for (x, _, text, colour), y in zip(ends, places, strict=True):
        tone = TONE.get(colour, colour)
        label = axes.annotate(text, (x, y), (7, 0), textcoords="offset points", va="center", color=tone, size=size)
        label.set_annotation_clip(False)


def point(axes: Axes) -> tuple[float, float]:
    """A typographic point in data units, across and up, about as constrained layout will leave the axes."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    box, inch = axes.get_window_extent(), axes.figure.dpi
    return (right - left) * inch / (72 * box.width), (high - low) * inch / (72 * box.height)


Lines = Sequence[Sequence[tuple[float, float]]]


def beside(axes: Axes, x: float, y: float, text: str, lines: Lines, names: Lines = ()) -> None:
    """A bold label at a point, on the side where it lies inside the axes, on no name and on the least of the lines.

    A name is given as the line through its middle.
    """
    width, height = 6.8 * max(map(len, text.split("\n"))) + 6, 15.0 * (text.count("\n") + 1)  # points
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    across, up = point(axes)

    def cost(side: tuple[int, int]) -> int:
        x0 = x + across * (10 * side[0] + width * (side[0] - 1) / 2)
        y0 = y + up * (10 * side[1] + height * (side[1] - 1) / 2)
        x1, y1 = x0 + across * width, y0 + up * height
        outside = 1000 * (x0 < left or x1 > right or y0 < low or y1 > high)
        grid = np.linspace(x0, x1, 32)
        for weight, room, each in ((1, 0.0, lines), (30, 8.0 * up, names)):
            for line in each:
                met = np.interp(grid, [n for n, _ in line], [t for _, t in line], left=np.nan, right=np.nan)
                outside += weight * int(((met > y0 - room) & (met < y1 + room)).sum())
        return outside

    sides = ((1, 0), (0, 1), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
    dx, dy = min(sides, key=cost)
    ha, va = {1: "left", 0: "center", -1: "right"}[dx], {1: "bottom", 0: "center", -1: "top"}[dy]
    axes.annotate(
        text, (x, y), (10 * dx, 10 * dy), textcoords="offset points", ha=ha, va=va, fontweight="bold", zorder=5
    )


def corner(axes: Axes, side: str, text: str) -> None:
    """A remark in the right corner at the `top` or the `bottom`."""
    at = (0.98, {"top": 0.98, "bottom": 0.02}[side])
    axes.annotate(text, at, xycoords="axes fraction", ha="right", va=side, color=MUTED, size=10, bbox=HALO)


def over(axes: Axes, place: float, name: str) -> None:
    """The name of a row above it, from the left edge on: a column of names would leave no room on a phone."""
    at = (0.0, place - 0.6)
    label = axes.annotate(name, at, xycoords=("axes fraction", "data"), va="center", size=10, bbox=HALO, zorder=4)
    label.set_in_layout(False)  # it may reach over the panels to the right


def valued(axes: Axes, x: float, place: float, text: str) -> None:
    """A number above its point."""
    axes.annotate(
        text, (x, place), (0, 7), textcoords="offset points", ha="center", va="bottom", size=9, bbox=HALO, zorder=3
    )


def aside(axes: Axes, x: float, place: float, text: str) -> None:
    """A number to the right of its point."""
    axes.annotate(text, (x, place), (8, 0), textcoords="offset points", va="center", size=9, bbox=HALO, zorder=3)


def tall(rows: Sequence[object], *_: object) -> float:
    """Inches of a figure whose y counts named rows."""
    return 0.9 + 0.66 * len(rows)


def as_rows(axes: Axes, rows: int) -> None:
    """An axes whose y counts named rows from the top."""
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelleft=False)
    axes.set_ylim(rows - 0.65, -0.8)
