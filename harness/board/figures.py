"""From judged claims and pairs to figures: which numbers each plot shows, and what is written under it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.board import plots
from harness.board.entries import Effect, Entry
from harness.board.markdown import plain
from harness.board.noise import noise_of, same_pairs_of, scatters_of
from harness.board.tables import per_cent, time_saved
from harness.decide.bank import Evaluation
from harness.decide.decision import first_look
from harness.decide.pairs import Pair
from harness.decide.stats import accept_boundary, bar, futility_boundary
from harness.records.record import RunRecord
from harness.tracks import TRACKS

POINTS = 200  # of one line
Curve = tuple[tuple[int, float, float], ...]  # (tokens, train loss, seconds)


@dataclass(frozen=True)
class Figure:
    """A figure that is drawn only when somebody asks for it."""

    name: str  # of its file, without suffix
    caption: str
    draw: Callable[[], str]
    fingerprint: str = ""  # of a committed figure

    @functools.cached_property
    def svg(self) -> str:
        """The drawing as SVG text."""
        return self.draw()


def trace_of(entry: Entry) -> plots.Trace | None:
    """The looks of a claim with both boundaries at every number of pairs; None before the first look."""
    cell = entry.cell
    if not cell.looks:
        return None
    c = bar(cell.max_pairs, cell.k, cell.alpha)
    accept, futility = [], []
    for n in range(first_look(cell.d0), cell.max_pairs + 1):
        df = cell.d0 + n - 1
        accept.append((n, accept_boundary(c, df)))
        stop = futility_boundary(n, cell.max_pairs, c, df)
        if stop is not None:
            futility.append((n, stop))
    looks = tuple((look.n, look.t) for look in cell.looks)
    outcome = cell.verdict.replace("_", " ").lower()
    return plots.Trace(cell.max_pairs, looks, tuple(accept), tuple(futility), outcome, cell.metric == "loss")


def traces(entry: Entry, name: str) -> list[Figure]:
    """The main figure, where there is something to see."""
    trace = trace_of(entry)
    if trace is None:
        return []
    caption = (
        "Decision trace: T after each pair. The claim is accepted on reaching the shaded region above, "
        "and the search ends below the dashed curve."
    )
    if entry.cell.metric == "speed":
        caption += " It also has to be shown that half of the time saved is left after paying for the loss."
    return [Figure(name, caption, lambda: plots.decision_trace(trace), plots.fingerprint(trace))]


def slopes(decide: Sequence[Pair], confirm: Sequence[Pair], unit: str, name: str) -> list[Figure]:
    """Core and submission on each seed."""
    rounds = (("decide: validation", decide), ("confirm: test", confirm))
    panels = [(title, [_slope(pair) for pair in pairs]) for title, pairs in rounds if pairs]
    if not panels:
        return []
    caption = (
        "Loss by seed: a line for each pair. Solid lines fall, dashed ones rise; seeds that agree are parallel. "
        "A confirm round has fresh seeds and is scored on the test split."
    )
    return [Figure(name, caption, lambda: plots.slopes(panels, unit))]


def _slope(pair: Pair) -> plots.Slope:
    assert pair.base.loss is not None and pair.sub.loss is not None, "a pair has two losses"
    return plots.Slope(f"pair {pair.index + 1}", pair.base.loss, pair.sub.loss)


def curves(pairs: Sequence[Pair], name: str) -> list[Figure]:
    """Training loss as the runs reported it: the difference over tokens, and both arms over time."""
    drawn = [pair for pair in pairs if len(pair.base.curve) > 1 and len(pair.sub.curve) > 1]
    if not drawn:
        return []
    series = [_difference(pair) for pair in drawn]
    tokens, track = drawn[0].base.spec.tokens, TRACKS[drawn[0].base.spec.track]
    base, sub = [_over_time(pair.base) for pair in drawn], [_over_time(pair.sub) for pair in drawn]
    over_tokens = (
        "Training loss of the core minus that of the submission: a thin line for each pair, their mean and one "
        "standard deviation around it."
    )
    over_time = "Training loss over the judge's clock: every run thin, the mean of each arm thick."
    return [
        Figure(f"{name}-difference", over_tokens, lambda: plots.loss_difference(series, tokens, track.unit)),
        Figure(f"{name}-time", over_time, lambda: plots.wall_clock(base, sub, track.unit)),
    ]


def _difference(pair: Pair) -> plots.Series:
    import numpy as np

    curve = _thinned(pair.base.curve)
    tokens = [point[0] for point in curve]
    sub_tokens, sub_loss = zip(*((point[0], point[1]) for point in pair.sub.curve), strict=True)
    sub = np.interp(tokens, sub_tokens, sub_loss)
    gaps = np.array([point[1] for point in curve]) - sub
    return plots.Series(tuple(map(float, tokens)), tuple(gaps.tolist()))


def _over_time(run: RunRecord) -> plots.Series:
    curve = _thinned(run.curve)
    return plots.Series(tuple(point[2] for point in curve), tuple(point[1] for point in curve))


def _thinned(curve: Curve) -> Curve:
    """At most `POINTS` of a curve, evenly: more cannot be told apart, and would make a large file."""
    step = max(1, -(-len(curve) // POINTS))
    return curve[step - 1 :: step] if step > 1 else curve


def forest(entries: Sequence[Entry]) -> list[Figure]:
    """Every evaluation and round in one picture; two claims of one evaluation share their pairs and their rows."""
    rows: dict[str, plots.ForestRow] = {}
    for entry in sorted(entries, key=lambda entry: entry.tokens):
        place = f"{entry.evaluation.track} {entry.evaluation.budget}"
        if entry.decided is not None:
            rows[f"{place}, decide ({entry.decided.pairs})"] = _forest_row(entry.decided, False)
        if entry.confirmed is not None:
            rows[f"{place}, confirm ({entry.confirmed.pairs})"] = _forest_row(entry.confirmed, True)
    if not rows:
        return []
    caption = (
        "All effects with their repeated intervals; right of zero the submission is better. Filled points are the "
        "confirm round, the dotted line is the margin that a claim on speed has to pass."
    )
    listed = list(rows.items())
    unit = " or ".join(sorted({TRACKS[entry.evaluation.track].difference for entry in entries}))
    return [Figure("forest", caption, lambda: plots.forest(listed, unit))]


def _forest_row(effect: Effect, confirm: bool) -> plots.ForestRow:
    low, high = effect.gain_interval or (effect.gain, effect.gain)
    tokens = None
    if effect.net_gain is not None:
        bounds = effect.net_interval or (effect.net_gain, effect.net_gain)
        tokens = per_cent(effect.net_gain), per_cent(bounds[0]), per_cent(bounds[1])
    return plots.ForestRow(confirm, (effect.gain, low, high), time_saved(effect), tokens)


def noise(scatters: Sequence[plots.Scatter], name: str) -> list[Figure]:
    """The noise of a track, where the core was paired with itself."""
    if not scatters:
        return []
    shown = tuple(scatters)
    caption = (
        "Above: the bank's s0 after each evaluation that entered it. Below: the core against itself under another "
        "initialisation, beside the normal law that the t-test assumes; points on the line agree with it."
    )
    return [Figure(name, caption, lambda: plots.noise(shown), plots.fingerprint(shown))]


def noise_page(evaluations: Sequence[Evaluation], track: str, entries: Sequence[Entry]) -> list[Figure]:
    """Everything that can be drawn of the noise of a track; `entries` are its claims."""
    rows = [
        plots.NoiseRow(f"{one.budget}, {one.precision}, {plain(one.host_class, 40)}", one.run_sd, one.s0, one.rho)
        for one in noise_of(evaluations, track)
    ]
    same = same_pairs_of(evaluations, track)
    rates, unit = spent_rates(entries), TRACKS[track].difference
    drawn = noise(scatters_of(evaluations, track), f"noise-{track}")
    if rows:
        caption = (
            "Spread over seeds (hollow), spread of a pair's difference that verdicts start from (filled), and the "
            "correlation within pairs: the closer it is to 1, the fewer pairs are needed."
        )
        drawn.append(Figure(f"noise-{track}-spread", caption, lambda: plots.spreads(rows, unit)))
    if same:
        caption = "The core against itself: each point is a pair of runs that differ in their initial weights alone."
        drawn.append(Figure(f"noise-{track}-same", caption, lambda: plots.same_pairs(same, unit)))
    if rates:
        caption = "Spent alpha: how many claims could have been accepted by chance, had none of them been true."
        drawn.append(Figure(f"noise-{track}-spent", caption, lambda: plots.spent(rates)))
    return drawn


def spent_rates(entries: Sequence[Entry]) -> list[float]:
    """The error rate that each decided claim was allowed, in the order in which they closed."""
    decided = [entry for entry in entries if entry.evaluation.claimed and entry.evaluation.closed is not None]
    ordered = sorted(decided, key=lambda entry: (entry.evaluation.closed or "", entry.evaluation.id))
    return [entry.cell.alpha / entry.cell.k for entry in ordered]


def outdated(folder: Path, drawn: Sequence[Figure]) -> dict[Path, Callable[[], str]]:
    """The committed figures that are missing or stale, told by the fingerprint: drawing one takes far longer."""
    texts: dict[Path, Callable[[], str]] = {}
    for figure in drawn:
        place = folder / f"{figure.name}.svg"
        if not place.exists() or figure.fingerprint not in place.read_text(encoding="utf-8"):
            texts[place] = figure.draw
    return texts
