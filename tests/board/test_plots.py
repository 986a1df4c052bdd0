import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from harness.board import curve_plots, plots

ACCEPT = tuple((n, 4.4 - 0.12 * n) for n in range(2, 11))
FUTILITY = tuple((n, 0.3 * n) for n in range(2, 10))
SERIES = [plots.Series((0.0, 500.0, 1000.0), (5.0 + shift, 4.0 + shift, 3.5 + shift)) for shift in (0.0, 0.1)]
ROW = plots.ForestRow(False, (0.01, 0.0, 0.02), (1.0, 0.5, 1.5), None)
SVG = "{http://www.w3.org/2000/svg}"


def trace(*looks, **fields):
    return plots.Trace(10, looks, ACCEPT, FUTILITY, "accept loss", **fields)


FIGURES = {
    "trace": lambda: plots.decision_trace(trace((2, 2.2), (3, 3.4))),
    "slopes": lambda: plots.slopes([("decide", [plots.Slope("pair 0", 4.2, 4.1)])], "nats per token"),
    "forest": lambda: plots.forest([("smoke", ROW)]),
    "difference": lambda: plots.loss_difference(SERIES, 1000),
    "clock": lambda: plots.wall_clock(SERIES, SERIES),
}


def texts(svg):
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_valid_xml_the_same_twice_and_without_a_date(name):
    svg = FIGURES[name]()
    ET.fromstring(svg)
    assert svg == FIGURES[name]()
    assert "<dc:date>" not in svg
    assert len(svg) < 40_000


@pytest.mark.parametrize("name", FIGURES)
def test_every_colour_of_a_figure_has_its_counterpart_in_the_dark(name):
    svg = FIGURES[name]()
    used = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", svg.split("</style>", 1)[1]))
    dark = set(re.findall(r'\[style\*="fill: (#[0-9a-f]{6})"\]', svg))
    assert used - {"#000000"} <= dark


@pytest.mark.parametrize("t", [np.inf, -np.inf, 0.0, 300.0, -300.0])
def test_any_t_can_be_drawn(t):
    shown = " ".join(texts(plots.decision_trace(trace((2, t)))))
    assert f"T = {t:.2f}".replace("-", "−").replace("inf", "∞") in shown


def test_the_trace_has_a_point_for_every_look():
    looks = ((2, 1.0), (3, 2.0), (4, 2.5), (5, 3.9))
    svg = ET.fromstring(plots.decision_trace(trace(*looks)))
    clipped = [group.findall(f"{SVG}use") for group in svg.iter(f"{SVG}g") if group.get("clip-path")]
    points = next(uses for uses in clipped if len(uses) == len(looks))
    heights = [float(use.get("y")) for use in points]
    places = [float(use.get("x")) for use in points]
    assert np.allclose(np.diff(places), np.diff(places)[0])
    assert np.allclose(np.diff(heights) / np.diff([t for _, t in looks]), np.diff(heights)[0])


def test_a_runaway_t_does_not_flatten_the_boundaries():
    low, high = plots._reach(trace((2, 500.0)))
    assert high < 3 * ACCEPT[0][1] and low < 0


def test_the_region_of_harm_is_named_only_where_it_can_be_reached():
    assert "worse " in texts(plots.decision_trace(trace((2, -6.0))))
    assert "worse " not in texts(plots.decision_trace(trace((2, -6.0), two_sided=False)))
    assert "worse " not in texts(plots.decision_trace(trace((2, 3.0))))


def test_the_band_is_numpys_mean_and_sd_on_a_common_grid():
    shifted = plots.Series((0.0, 250.0, 1000.0), (1.0, 1.0, 1.0))
    x, mean, sd = curve_plots.band([SERIES[0], shifted])
    assert x.tolist() == [0.0, 500.0, 1000.0]
    assert mean.tolist() == [3.0, 2.5, 2.25]
    assert sd == pytest.approx(np.std([[5.0, 4.0, 3.5], [1.0, 1.0, 1.0]], axis=0, ddof=1))


def test_the_fingerprint_follows_the_numbers():
    assert plots.fingerprint(trace((2, 2.2))) == plots.fingerprint(trace((2, 2.2)))
    assert plots.fingerprint(trace((2, 2.2))) != plots.fingerprint(trace((2, 2.3)))
    assert plots.fingerprint(trace((2, 2.2))) in plots.decision_trace(trace((2, 2.2)))


def test_inlined_figures_share_no_id():
    svg = FIGURES["trace"]()
    ids = [set(re.findall(r'\bid="([^"]+)"', plots.inline(svg, prefix))) for prefix in ("a", "b")]
    assert ids[0] and not ids[0] & ids[1]
    inlined = plots.inline(svg, "a")
    ET.fromstring(inlined)
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', inlined)) <= ids[0]


def test_reading_the_module_does_not_load_matplotlib():
    code = "import sys, harness.board.leaderboard; sys.exit('matplotlib' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
