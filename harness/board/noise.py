"""How much runs scatter: the noise bank of every cell, the spread of runs, and what one seed repeated gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.board.plots import Scatter
from harness.decide.bank import Evaluation, NoiseBank, banks_for, entering, in_order_of_closing
from harness.decide.pairs import Pair, pairs_of
from harness.records.record import RunRecord
from harness.tracks import BUDGETS, TRACKS


@dataclass(frozen=True)
class Noise:
    """The noise at one budget, precision and host class of a track."""

    budget: str
    precision: str
    host_class: str
    s0: float | None  # prior sd of a loss difference
    df: float
    s0_time: float | None  # prior sd of ln(time ratio)
    df_time: float
    run_sd: float | None  # of the core's loss over seeds, pooled within evaluations
    rho: float | None  # correlation of core and submission over seeds, pooled within evaluations
    repeat_sd: float | None  # of the loss when one seed is run again: 0 on a deterministic machine
    repeats: int
    kappa: float | None  # loss per unit of ln(time)
    source: str


def noise_of(evaluations: Sequence[Evaluation], track: str) -> tuple[Noise, ...]:
    """One line for every budget, precision and host class with closed evaluations on the track."""
    own = [item for item in evaluations if item[0].track == track and item[0].closed is not None]
    keys = {
        (item[0].budget, run.model.precision, run.host.host_class)
        for item in own
        for run in item[1]
        if run.usable and run.model is not None and run.host is not None
    }
    ordered = sorted(keys, key=lambda key: (BUDGETS[key[0]].tokens, *key))
    return tuple(_noise(own, track, *key) for key in ordered)


def scatters_of(evaluations: Sequence[Evaluation], track: str) -> tuple[Scatter, ...]:
    """One for every budget and precision at which the core was paired with itself; the smallest budget first."""
    own = in_order_of_closing(evaluations, track)
    scatters = []
    for budget in sorted({item[0].budget for item in own}, key=lambda name: BUDGETS[name].tokens):
        rounds = entering(own, budget)
        precisions = {pair.base.model.precision for pairs in rounds for pair in pairs if pair.base.model}
        for precision in sorted(precisions):
            alike = [[p for p in pairs if p.base.model and p.base.model.precision == precision] for pairs in rounds]
            scatters.append(
                _scatter(f"{budget}, {precision}", [pairs for pairs in alike if pairs], TRACKS[track].difference)
            )
    return tuple(scatter for scatter in scatters if scatter.same)


def same_pairs_of(evaluations: Sequence[Evaluation], track: str) -> list[tuple[str, tuple[float, ...]]]:
    """The differences of the core from itself by budget and precision, the smallest budget first."""
    found: dict[tuple[int, str], list[float]] = {}
    for item in in_order_of_closing(evaluations, track):
        for pairs in entering([item], item[0].budget) if item[0].kind == "calibration" else []:
            for pair in pairs:
                if pair.base.model is not None:
                    key = BUDGETS[item[0].budget].tokens, f"{item[0].budget}, {pair.base.model.precision}"
                    found.setdefault(key, []).append(pair.D)
    return [(label, tuple(found[tokens, label])) for tokens, label in sorted(found)]


def _scatter(label: str, rounds: Sequence[Sequence[Pair]], unit: str) -> Scatter:
    bank = NoiseBank()
    history: list[float] = []
    same: list[float] = []
    for pairs in rounds:
        differences = [pair.D for pair in pairs]
        if bank.add(differences) and bank.s0 is not None:
            history.append(bank.s0)
        if pairs[0].sub.spec.init_key and len(pairs) > 2:
            centred = np.array(differences) - np.mean(differences)
            same += (centred / centred.std(ddof=1)).tolist() if centred.any() else []
    return Scatter(label, tuple(history), tuple(sorted(same)), unit)


def _noise(own: Sequence[Evaluation], track: str, budget: str, precision: str, host_class: str) -> Noise:
    here = [item for item in own if item[0].budget == budget]
    banks = banks_for(here, track, budget, precision, host_class)
    rounds = [
        [pair for pair in pairs if _ran_on(pair.base, precision, host_class)]
        for item in here
        for pairs in (pairs_of(item[1], "calibrate"), pairs_of(item[1], "decide"))
    ]
    run_sd, rho = pooled_spread(rounds)
    repeats = [
        [
            run.loss
            for run in item[1]
            if run.loss is not None and run.spec.round == "repeat" and _ran_on(run, precision, host_class)
        ]
        for item in here
    ]
    return Noise(
        budget, precision, host_class,
        s0=banks.loss.s0, df=banks.loss.df, s0_time=banks.time.s0, df_time=banks.time.df,
        run_sd=run_sd, rho=rho,
        repeat_sd=_pooled_sd(repeats), repeats=sum(map(len, repeats)),
        kappa=banks.kappa, source=banks.source,
    )  # fmt: skip


def _ran_on(run: RunRecord, precision: str, host_class: str) -> bool:
    model, host = run.model, run.host
    return model is not None and model.precision == precision and host is not None and host.host_class == host_class


def pooled_spread(rounds: Sequence[Sequence[Pair]]) -> tuple[float | None, float | None]:
    """(sd of the core over seeds, correlation of the arms), each around the mean of its own evaluation."""
    centred = [
        table - table.mean(axis=0)
        for table in (np.array([[pair.base.loss, pair.sub.loss] for pair in pairs]) for pairs in rounds)
        if len(table) > 1
    ]
    if not centred:
        return None, None
    stacked = np.concatenate(centred)  # (pairs, 2)
    squares = stacked.T @ stacked  # sums of squares and products
    df = len(stacked) - len(centred)
    scale = math.sqrt(squares[0, 0] * squares[1, 1])
    return math.sqrt(squares[0, 0] / df), squares[0, 1] / scale if scale > 0 and df > 1 else None


def _pooled_sd(groups: Sequence[Sequence[float]]) -> float | None:
    centred = [np.asarray(values) - np.mean(values) for values in groups if len(values) > 1]
    if not centred:
        return None
    stacked = np.concatenate(centred)
    return math.sqrt(float(stacked @ stacked) / (len(stacked) - len(centred)))
