"""The verdict box and the pair table of a report, as plain text: the templates escape what they show."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.board.entries import Effect, Entry
from harness.board.markdown import duration, interval, number, plain
from harness.board.tables import REASON_LIMIT, attempted, gain, loss, marks, net_tokens, per_cent, reason
from harness.decide.cells import Look
from harness.decide.decision import SPEED_MARGIN
from harness.decide.pairs import Pair
from harness.decide.power import least_detectable
from harness.records.record import RunRecord
from harness.tracks import track_named

if TYPE_CHECKING:
    import pandas as pd


def box(entry: Entry, runs: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """Everything that a verdict rests on, one (name, value) a line."""
    evaluation, cell = entry.evaluation, entry.cell
    lines = [
        ("verdict", f"{cell.verdict} ({marks(entry, entry.state)})"),
        ("claim", f"{cell.metric} at {evaluation.budget} on {evaluation.track}; cells claimed: {cell.k}"),
        *_effect("decide round, validation", entry, entry.decided),
        *_effect("confirm round, test", entry, entry.confirmed),
        ("sequential p", f"{number(cell.p)} against alpha {cell.alpha:.3g}"),
        ("pairs", f"{cell.pairs} of at most {cell.max_pairs}"),
        ("rho between the arms", number(cell.rho, 2)),
        ("detectable gain (80 %)", _least(entry)),
        ("noise bank", _bank(entry)),
        ("exchange rate kappa", _rate(entry)),
        ("cost", _cost(runs)),
        ("patch", f"+{evaluation.added} −{evaluation.removed} lines, sha256 {(evaluation.patch_sha or '–')[:16]}"),
        *([("given", ", ".join(evaluation.builds_on))] if evaluation.builds_on else []),
        ("core, data", f"{evaluation.core_id[:12]}, {evaluation.data_id[:12]}"),
        ("measured on", f"{entry.host_class}, {entry.precision}, sandbox {evaluation.sandbox}"),
    ]
    if cell.noisy:
        lines.append(("note", "the submission's own spread is more than twice the bank's"))
    if cell.fades:
        lines.append(("note", "the gain on the test split is smaller than on validation by more than chance explains"))
    if dead := _unmoved(runs):
        share = f"{number(100 * dead, 1)} %"
        lines.append(("note", f"training left {share} of its weight tensors as they were: dead parameters"))
    return lines


def _unmoved(runs: Sequence[RunRecord]) -> float:
    """The largest share, over the runs of the submission, of tensors that training did not move."""
    own = [run.model for run in runs if run.model is not None and run.spec.patch_sha is not None]
    return max((model.unmoved or 0.0 for model in own), default=0.0)


def _effect(name: str, entry: Entry, effect: Effect | None) -> list[tuple[str, str]]:
    """Gain, loss, time and net gain of a round; nothing for a round without pairs."""
    if effect is None or entry.state in ("refused", "invalidated"):
        return []
    unit = f" {_difference(entry)}" if entry.cell.metric == "loss" else " of the time"
    ratio = f"{number(effect.time_ratio, 3)} {interval(effect.time_interval, 3)}".rstrip()
    return [
        (name, f"gain {gain(entry, effect)}{unit}"),
        ("", f"loss {loss(effect)}, time × {ratio}"),
        *([("", _net(entry, effect))] if effect.net_gain is not None else []),
    ]


def _net(entry: Entry, effect: Effect) -> str:
    """How much sooner the core's loss is reached, as tokens and as seconds of the core's own training there."""
    assert effect.net_gain is not None
    sooner = per_cent(effect.net_gain)
    bounds = effect.net_interval and [per_cent(end) for end in effect.net_interval]
    said = f"net gain {number(sooner, 1, sign=True)} % {interval(bounds, 1)}".rstrip()
    said += f", {net_tokens(entry, effect)} tokens"
    if effect.core_seconds is not None:
        said += f", {number(sooner / 100 * effect.core_seconds, 1, sign=True)} s"
    return said


def _least(entry: Entry) -> str:
    """The gain that this evaluation would have found with chance 80 %, had it been true."""
    cell = entry.cell
    sigma = cell.s0 if cell.d0 > 0 else cell.spread
    if not sigma:
        return "–"
    least = sigma * _in_sigmas(cell.max_pairs, cell.k, cell.alpha, cell.d0)
    return (
        f"{number(least)} {_difference(entry)}"
        if cell.metric == "loss"
        else f"{100 * (SPEED_MARGIN + least):.2f} % of the time"
    )


@functools.cache
def _in_sigmas(N: int, k: int, alpha: float, d0: float) -> float:
    return least_detectable(1.0, N, k, alpha=alpha, d0=d0)


def _bank(entry: Entry) -> str:
    evaluation = entry.evaluation
    time = None if evaluation.s0_time is None else 100 * evaluation.s0_time
    said = f"s0 {number(evaluation.s0)} {_difference(entry)} (d0 {evaluation.d0:g}), "
    said += f"time {number(time, 2)} % (d0 {evaluation.d0_time:g})"
    return f"{said}; {evaluation.bank}" if evaluation.bank else said


def _rate(entry: Entry) -> str:
    kappa = entry.evaluation.kappa
    return "not measured" if kappa is None else f"{number(kappa, 3)} {_difference(entry)} per unit of ln(time)"


def _difference(entry: Entry) -> str:
    return track_named(entry.evaluation.track).difference


def _cost(runs: Sequence[RunRecord]) -> str:
    seconds = math.fsum(run.train_seconds for run in runs if run.train_seconds is not None)
    return f"{len(runs)} runs, {duration(seconds)} of training"


def pair_table(pairs: Sequence[Pair], looks: Sequence[Look] = ()) -> pd.DataFrame:
    """One row a pair; with the looks of the claim, also what was decided after it."""
    import pandas as pd

    after = {look.pair: look for look in looks}
    rows = [_pair(pair) | (_look(after.get(pair.index)) if looks else {}) for pair in pairs]
    return pd.DataFrame(rows)


def _pair(pair: Pair) -> dict[str, str]:
    return {
        "pair": str(pair.index + 1),
        "order": "AB" if pair.base_first else "BA",
        "seed": str(pair.seed),
        "loss A": number(pair.base.loss),
        "loss B": number(pair.sub.loss),
        "A, s": number(pair.base.train_seconds, 2),
        "B, s": number(pair.sub.train_seconds, 2),
        "D": number(pair.D, 4, sign=True),
        "R, %": number(None if pair.R is None else 100 * pair.R, 2, sign=True),
    }


def _look(look: Look | None) -> dict[str, str]:
    if look is None:  # before the first look, or after the verdict
        return dict.fromkeys(("T", "p", "bar", "PP", "decision"), "–")
    return {
        "T": number(look.t, 2),
        "p": number(look.p),
        "bar": number(look.bar),
        "PP": number(look.pp, 2),
        "decision": look.verdict.replace("_", " ").lower(),
    }


def earlier(entries: Sequence[Entry]) -> pd.DataFrame:
    """What older patches of this submission, and older evaluations of this one, came to; latest first."""
    import pandas as pd

    rows = [
        {
            "date": entry.date,
            "patch": (entry.evaluation.patch_sha or "–")[:12],
            "claim": f"{entry.cell.metric} at {entry.evaluation.budget}",
            "gain [interval]": attempted(entry),
            "pairs": str(entry.cell.pairs),
            "state": marks(entry, entry.state),
            "reason": plain(reason(entry), REASON_LIMIT),
        }
        for entry in reversed(entries)
    ]
    return pd.DataFrame(rows)
