"""One plain sentence for a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.tracks import track_named

if TYPE_CHECKING:
    from harness.decide.cells import Cell, Interval

_LEADS = {
    "ACCEPT_LOSS": "accepted",
    "ACCEPT_SPEED": "accepted",
    "REVIEW_TRADEOFF": "for people to weigh",
    "REJECT_WORSE": "rejected",
    "REJECT_NO_GAIN": "rejected",
    "INCONCLUSIVE": "inconclusive",
    "CONTINUE": "undecided so far",
}


def explain(cell: Cell) -> str:
    """The verdict on a cell, what it rests on, and what the confirm round made of it."""
    if cell.verdict == "INVALID":
        return f"invalid: {cell.reason}"
    parts = [f"{_LEADS[cell.verdict]}: {_gain(cell)}"]
    if cell.verdict not in ("ACCEPT_LOSS", "ACCEPT_SPEED"):
        parts.append(cell.reason)
    if cell.verdict == "REVIEW_TRADEOFF":
        parts.append(_net_gain(cell))
    if cell.data_efficiency_only:
        parts.append(f"data-efficiency only ({_net_gain(cell)})")
    if cell.noisy:
        parts.append(f"its own spread {_number(cell.spread)} is more than twice the bank's {_number(cell.s0)}")
    parts.append(_confirmation(cell))
    return "; ".join(part for part in parts if part)


def _gain(cell: Cell) -> str:
    used = f"{cell.pairs} of at most {cell.max_pairs} pairs"
    if cell.gain is None:
        return used
    gain = f"gain {_number(cell.gain)} {_unit(cell)}"
    if cell.metric == "speed":
        gain += f" (trains in {cell.time_ratio:.4g} of the core's time)"
    if cell.interval is None or cell.p is None:
        return f"{gain}, {used}"
    sign = "<=" if cell.p <= cell.alpha else ">"
    level = 100 * (1 - 2 * cell.alpha / cell.k)
    return (
        f"{gain}, {level:.4g} % repeated interval {_range(cell.interval)}, "
        f"sequential p {cell.p:.3g} {sign} {cell.alpha:.3g}, {used}"
    )


def _unit(cell: Cell) -> str:
    if cell.metric == "speed":
        return "in log time"
    return track_named(cell.track).difference


def _net_gain(cell: Cell) -> str:
    if cell.net_gain is None:
        return "net gain unknown without an exchange rate"
    bounds = f", repeated interval {_range(cell.net_interval)}" if cell.net_interval else ""
    return f"net gain {_number(cell.net_gain)} in log time{bounds}"


def _confirmation(cell: Cell) -> str:
    confirm = cell.confirm
    if confirm is None:
        return ""
    if confirm.confirmed is None:
        return f"{confirm.done} of {confirm.needed} pairs on fresh seeds confirm it so far" if confirm.done else ""
    if confirm.gain is None or confirm.done < confirm.needed:
        return "revoked: unstable on fresh seeds"
    word = "confirmed" if confirm.confirmed else "revoked"
    return f"{word} on {confirm.done} fresh seeds: gain {_number(confirm.gain)} {_unit(cell)}"


def _range(interval: Interval) -> str:
    return f"[{_number(interval[0])}, {_number(interval[1])}]"


def _number(value: float | None) -> str:
    """Four decimals, or two digits where that would round a small number away."""
    if value is None:
        return "unknown"
    return f"{value:.2g}" if 0 < abs(value) < 0.0005 else f"{value:.4f}"
