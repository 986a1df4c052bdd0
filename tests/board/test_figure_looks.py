"""Claims about how every figure looks, held against the boxes that matplotlib draws and the contrast rule of WCAG."""

import itertools
import re
from pathlib import Path

import matplotlib.figure
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from harness.board import figures, noise, plots, report
from harness.board.entries import entries_of, read
from harness.records.store import Store

ROOT = Path(__file__).parents[2]
ACCEPT = tuple((n, 4.4 - 0.12 * n) for n in range(2, 11))
FUTILITY = tuple((n, 0.3 * n) for n in range(2, 10))
GRID = {"#d1d9e0"}  # is there to be looked past
GROUND = {"light": "#ffffff", "dark": "#0d1117"}  # GitHub's own


def committed():
    """Every figure of every committed submission, and of the noise page, by a readable name."""
    store = Store(ROOT / "leaderboard")
    evaluations = read(store)
    own = [item for item in evaluations if item[0].kind == "submission"]
    for slug in sorted({record.slug for record, _ in own}):
        made = report.compose([item for item in own if item[0].slug == slug])
        groups = [*report.all_figures(made), figures.forest([section.entry for section in made.sections])]
        for figure in itertools.chain.from_iterable(groups):
            yield f"{slug} {figure.name}", figure.draw
    entries = [entry for item in own for entry in entries_of(*item)]
    for figure in figures.noise_page(evaluations, "llm-tiny", entries):
        yield figure.name, figure.draw


def trace(*looks, outcome="reject no gain", accept=ACCEPT, futility=FUTILITY, **fields):
    shown = plots.Trace(accept[-1][0], looks, accept, futility, outcome, **fields)
    return lambda: plots.decision_trace(shown)


def path(*values):
    return [(n + 2, t) for n, t in enumerate(values)]


def invented():
    """Cases that no committed submission happens to show."""
    rising = [plots.Slope(f"pair {n}", 4.2 + 0.001 * n, 4.1 + 0.0001 * n) for n in range(10)]
    row = plots.ForestRow(True, (0.01, -0.001, 0.02), None, None)
    late = [plots.Series((0.0, 500.0, 1000.0), (5.0 + shift, 4.0, 3.5)) for shift in (0.0, 0.1)]
    long_names = [plots.NoiseRow("100M, bf16, " + "W" * 20, 0.03, 0.001, 0.99), plots.NoiseRow("1B", None, None, None)]
    return {
        "first look": trace((2, 1.0), outcome="continue"),
        "last look": trace(*path(1, 2, 1.5, 2, 2.2, 2.4, 2.6, 2.8, 3.0), outcome="inconclusive"),
        "high at last": trace(*path(1, 2, 1.5, 2, 2.2, 2.4, 2.6, 2.8, 3.5), outcome="accept loss"),
        "low at last": trace(*path(1, 1.2, 1.5, 1.9, 2.2, 2.4, 2.5, 1.0), outcome="reject no gain"),
        "harm": trace((2, -4.9), outcome="reject worse"),
        "harm at last": trace(*path(1, 2, 1, 2, 2, 2, 2.8, 3.0, -3.6), outcome="reject worse"),
        "far off": trace((2, float("inf")), outcome="accept speed"),
        "few pairs": trace((2, 1.9), accept=ACCEPT[:3], futility=FUTILITY[:2]),
        "one futile look": trace((3, 1.9), accept=ACCEPT[1:3], futility=FUTILITY[1:2]),
        "ten seeds": lambda: plots.slopes([("decide", rising), ("confirm", rising[:4])], "mean squared error"),
        "equal seeds": lambda: plots.slopes([("decide", [plots.Slope("pair 0", 4.0, 4.0)])], "nats per token"),
        "no rate": lambda: plots.forest([("llm-tiny smoke, decide (10)", row)], "log ratio"),
        "one pair": lambda: plots.loss_difference(late[:1], 1000, "mean squared error"),
        "one time": lambda: plots.wall_clock(late, late, "mean squared error"),
        "long names": lambda: plots.spreads(long_names),
        "nothing spent": lambda: plots.spent([0.02]),
    }


FIGURES = dict(committed()) | invented()


@pytest.fixture(scope="module")
def looks():
    """Each figure's SVG with the matplotlib figure that it was saved from."""
    saved = []
    real = matplotlib.figure.Figure.savefig

    def spy(figure, *args, **kwargs):
        real(figure, *args, **kwargs)
        saved.append(figure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matplotlib.figure.Figure, "savefig", spy)
        return {name: (draw(), saved[-1]) for name, draw in FIGURES.items()}


def boxes(figure):
    """(text, box in pixels) of every piece of text that is drawn: ticks outside of the limits are not."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    ticks = {}
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                ticks[tick.label1] = low - 1e-9 <= tick.get_loc() <= high + 1e-9
    found = []
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and ticks.get(text, True):
            found.append((text.get_text(), text.get_window_extent(renderer)))
    return found


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_lies_on_another_or_is_cut_off(looks, name):
    figure = looks[name][1]
    found = boxes(figure)
    width, height = figure.bbox.width, figure.bbox.height
    out = [text for text, box in found if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1]
    assert out == []
    pairs = itertools.combinations(found, 2)
    assert [(a, b) for (a, one), (b, two) in pairs if one.padded(-1.5).overlaps(two.padded(-1.5))] == []


@pytest.mark.parametrize("name", FIGURES)
def test_every_axis_has_a_name_with_its_unit_and_there_is_no_legend(looks, name):
    figure = looks[name][1]
    assert not figure.legends
    units = ("nats", "sd", "seconds", "pairs", "tokens", "%", "errors", "squared error", "claims", "log ratio",
             "evaluations", "correlation", "at most")  # fmt: skip
    for axes in figure.axes:
        assert axes.get_legend() is None
        for axis in (axes.xaxis, axes.yaxis):
            ticks = [tick for tick in axis.get_major_ticks() if tick.label1.get_visible() and tick.label1.get_text()]
            numbers = [tick for tick in ticks if re.fullmatch(r"[-−\d.]+", tick.label1.get_text())]
            shared = not axes.get_subplotspec().is_first_col() and axis is axes.yaxis  # said once, on the left
            if numbers and not shared:
                assert any(unit in axis.get_label_text() for unit in units), axis.get_label_text()


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, two):
    low, high = sorted((luminance(one), luminance(two)))
    return (high + 0.05) / (low + 0.05)


def blend(colour, ground, alpha):
    pairs = [(int(colour[i : i + 2], 16), int(ground[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(alpha * over + (1 - alpha) * under):02x}" for over, under in pairs)


TINT = r"fill: (#[0-9a-f]{6}); (?:fill-)?opacity: ([\d.]+)"
STROKE = r"[\" ]stroke: (#[0-9a-f]{6})(?:; stroke-opacity: ([\d.]+))?"


def test_contrast_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", GROUND)
@pytest.mark.parametrize("name", FIGURES)
def test_lines_and_text_stand_out_in_light_and_dark(looks, name, scheme):
    svg = looks[name][0]
    rules, body = svg.split("</style>", 1)
    dark = dict(re.findall(r'\[style\*="fill: (#[0-9a-f]{6})"\]\{fill:(#[0-9a-f]{6})', rules))
    seen = (lambda colour: dark[colour]) if scheme == "dark" else (lambda colour: colour)
    assert seen("#ffffff") == GROUND[scheme]
    tints = {(seen(colour), float(alpha)) for colour, alpha in re.findall(TINT, body)}
    grounds = {GROUND[scheme]} | {blend(colour, GROUND[scheme], alpha) for colour, alpha in tints if alpha < 0.3}
    texts = {seen(colour) for colour in re.findall(r'<text style="[^"]*fill: (#[0-9a-f]{6})', body)}
    strokes = {(seen(c), float(a or 1)) for c, a in re.findall(STROKE, body) if c not in GRID}
    for ground in grounds:
        assert min(contrast(colour, ground) for colour in texts) >= 4.5
        solid = [colour for colour, alpha in strokes if alpha == 1]
        assert min(contrast(colour, ground) for colour in solid) >= 3
    for colour, alpha in {(c, a) for c, a in tints | strokes if 0.3 <= a < 1 and c != GROUND[scheme]}:
        assert contrast(blend(colour, GROUND[scheme], alpha), GROUND[scheme]) >= 3


@pytest.mark.parametrize("name", [name for name in FIGURES if name.startswith(("wide-smear", "noise"))])
def test_a_figure_drawn_again_has_the_same_bytes(looks, name):
    assert FIGURES[name]() == looks[name][0]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_small_needs_no_other_file_and_says_what_it_shows(looks, name):
    svg = looks[name][0]
    assert "<dc:date>" not in svg and "http" not in re.sub(r"http://(www\.w3|purl|creativecommons)\.org", "", svg)
    assert len(svg.encode()) < 40_000
    assert re.search(r'<svg role="img".*?<title>[^<]+</title>', svg, re.S)


def test_labels_move_no_further_than_they_must():
    from harness.board.canvas import spread

    assert spread([3.0, 1.0], 1.0) == [3.0, 1.0]
    assert spread([1.0, 1.0, 9.0], 1.0) == pytest.approx([0.5, 1.5, 9.0])
    placed = spread([0.0, 0.1, 0.2, 5.0, 5.1], 1.0)
    assert placed == sorted(placed) and min(b - a for a, b in itertools.pairwise(placed)) >= 1 - 1e-12
    assert sum(placed[:3]) == pytest.approx(0.3)
    assert spread([0.0, 0.1], 1.0, low=0.0) == pytest.approx([0.0, 1.0])
    assert spread([9.0, 9.0], 1.0, high=9.0) == pytest.approx([8.0, 9.0])


def test_the_pairs_of_the_core_with_itself_are_those_of_the_calibrations():
    groups = dict(noise.same_pairs_of(read(Store(ROOT / "leaderboard")), "llm-tiny"))
    assert list(groups) == ["smoke, bf16", "smoke, fp32", "1M, bf16", "1M, fp32"]
    assert len(groups["smoke, fp32"]) == 16
