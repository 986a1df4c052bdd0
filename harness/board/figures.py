"""From judged claims and pairs to figures: which numbers each plot shows, and what is written under it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.board import plots
from harness.board.entries import Effect, Entry
from harness.board.tables import per_cent, time_saved
from harness.decide.decision import first_look
from harness.decide.pairs import Pair
from harness.decide.stats import accept_boundary, bar, futility_boundary
from harness.records.record import RunRecord


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
    rounds = (("decide: validation", decide), ("confirm: fresh seeds, test", confirm))
    panels = [(title, [_slope(pair) for pair in pairs]) for title, pairs in rounds if pairs]
    if not panels:
        return []
    caption = "Loss by seed: one line a pair. Solid lines fall, dashed ones rise; parallel lines are agreeing seeds."
    return [Figure(name, caption, lambda: plots.slopes(panels, unit))]


def _slope(pair: Pair) -> plots.Slope:
    assert pair.base.loss is not None and pair.sub.loss is not None, "a pair has two losses"
    return plots.Slope(f"pair {pair.index}", pair.base.loss, pair.sub.loss)


def curves(pairs: Sequence[Pair], name: str) -> list[Figure]:
    """Training loss as the runs reported it: the difference over tokens, and both arms over time."""
    drawn = [pair for pair in pairs if len(pair.base.curve) > 1 and len(pair.sub.curve) > 1]
    if not drawn:
        return []
    series = [_difference(pair) for pair in drawn]
    tokens = drawn[0].base.spec.tokens
    base, sub = [_over_time(pair.base) for pair in drawn], [_over_time(pair.sub) for pair in drawn]
    over_tokens = "Training loss of the core minus that of the submission: one thin line a pair, their mean, one sd."
    over_time = "Training loss over the judge's clock, every run of both arms."
    return [
        Figure(f"{name}-difference", over_tokens, lambda: plots.loss_difference(series, tokens)),
        Figure(f"{name}-time", over_time, lambda: plots.wall_clock(base, sub)),
    ]


def _difference(pair: Pair) -> plots.Series:
    import numpy as np

    tokens = [point[0] for point in pair.base.curve]
    sub_tokens, sub_loss = zip(*((point[0], point[1]) for point in pair.sub.curve), strict=True)
    sub = np.interp(tokens, sub_tokens, sub_loss)
    gaps = np.array([point[1] for point in pair.base.curve]) - sub
    return plots.Series(tuple(map(float, tokens)), tuple(gaps.tolist()))


def _over_time(run: RunRecord) -> plots.Series:
    return plots.Series(tuple(point[2] for point in run.curve), tuple(point[1] for point in run.curve))


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
    return [Figure("forest", caption, lambda: plots.forest(listed))]


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
    caption = (
        "Left: the bank's s0 after each evaluation that entered it. Right: the core against itself under another "
        "initialisation, beside the normal law that the t-test assumes; points on the line agree with it."
    )
    return [Figure(name, caption, lambda: plots.noise(scatters), plots.fingerprint(tuple(scatters)))]


def outdated(folder: Path, drawn: Sequence[Figure]) -> dict[Path, Callable[[], str]]:
    """The committed figures that are missing or stale, told by the fingerprint: drawing one takes far longer."""
    texts: dict[Path, Callable[[], str]] = {}
    for figure in drawn:
        place = folder / f"{figure.name}.svg"
        if not place.exists() or figure.fingerprint not in place.read_text(encoding="utf-8"):
            texts[place] = figure.draw
    return texts
