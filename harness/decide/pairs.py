"""Two runs on one seed become a pair of differences."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from harness.decide.stats import log_ratios
from harness.records.record import Round, RunRecord, RunSpec
from harness.tracks import track_named


@dataclass(frozen=True)
class Pair:
    """Baseline and submission trained on the same seed, both completed."""

    index: int  # counted from 0 within the round
    seed: int
    base: RunRecord
    sub: RunRecord
    base_first: bool
    D: float  # L_base - L_sub in nats (log ratio where the track says so): above 0 is better
    R: float | None  # ln(T_sub / T_base): below 0 is faster; None where the two times cannot be compared


def is_base(spec: RunSpec) -> bool:
    """True for the unpatched core; in a calibration, for the core under its own initialisation key."""
    return spec.patch_sha is None and spec.init_key == 0


def comparable_loss(run: RunRecord) -> float:
    """The loss of a usable run on the scale that differences are taken on."""
    assert run.loss is not None, "asked for the loss of a run that has none"
    return math.log(run.loss) if track_named(run.spec.track).log_ratio else run.loss


def pairs_of(runs: Iterable[RunRecord], round: Round) -> tuple[Pair, ...]:
    """The complete pairs of a round, by index. Of several attempts the first that completed counts."""
    base: dict[tuple[int, int], RunRecord] = {}
    sub: dict[tuple[int, int], RunRecord] = {}
    for run in sorted(runs, key=lambda run: run.spec.attempt):
        if run.usable and run.spec.round == round:
            arm = base if is_base(run.spec) else sub
            arm.setdefault((run.spec.pair, run.spec.seed), run)
    return tuple(_pair(base[key], sub[key]) for key in sorted(base.keys() & sub.keys()))


def _pair(base: RunRecord, sub: RunRecord) -> Pair:
    return Pair(
        index=base.spec.pair,
        seed=base.spec.seed,
        base=base,
        sub=sub,
        base_first=base.spec.order == 0,
        D=comparable_loss(base) - comparable_loss(sub),
        R=_log_time_ratio(base, sub),
    )


def _log_time_ratio(base: RunRecord, sub: RunRecord) -> float | None:
    """None for a resumed run, a missing time, another host, or a batch cut to fit memory in one arm only."""
    if base.spec.attempt > 1 or sub.spec.attempt > 1 or base.host != sub.host:
        return None
    if not base.train_seconds or not sub.train_seconds:
        return None
    if (base.model is not None and base.model.fitted) != (sub.model is not None and sub.model.fitted):
        return None
    return log_ratios([base.train_seconds], [sub.train_seconds])[0]
