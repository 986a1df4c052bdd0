"""Plain words for people: what a verdict means for its author, what a plan comes to, and what follows the core."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.decide.cells import Cell
from harness.decide.explain import explain
from harness.decide.stats import ALPHA
from harness.progress import short_time
from harness.run.contests import Answer
from harness.run.plan import CellPlan
from harness.tracks import track_named

if TYPE_CHECKING:
    from harness.board.promotion import Outcome as Promoted
    from harness.board.status import Status

NEXT = {
    "CONFIRMED": "It held on fresh seeds, scored on text that no decision was made on: open a pull request.",
    "REVOKED": "It was accepted, but the gain was gone on fresh seeds. "
    "It is no record; the board shows it under Tried.",
    "ACCEPT_LOSS": "Accepted; the confirmation is still to run: `blueberry run` goes on with it.",
    "ACCEPT_SPEED": "Accepted; the confirmation is still to run: `blueberry run` goes on with it.",
    "REVIEW_TRADEOFF": "A maintainer decides; the line above says why.",
    "REJECT_WORSE": "It makes the result worse. A negative result is welcome on the board: say what you learnt.",
    "INCONCLUSIVE": "All pairs are spent and the interval still holds both a gain and none. A larger budget may tell.",
    "CONTINUE": "Not decided yet: `blueberry run` goes on where it stopped.",
    "REJECT_NO_GAIN": "A gain of the size that can be seen here is unlikely by now. More pairs would be wasted.",
    "INVALID": "A rule was broken, so there is no number to speak of.",
}


def answer_text(answer: Answer) -> str:
    """The verdict first, then one sentence for every claim, then what to do."""
    given = f" given {', '.join(answer.parents)}" if answer.parents else ""
    lines = [f"{answer.slug}{given}: {answer.verdict}"]
    lines += [f"  {cell.track} {cell.budget} {cell.metric}: {explain(cell)}" for cell in answer.cells]
    lines += [f"  {note}" for cell in answer.cells for note in _notes(cell)]
    lines.append(NEXT[answer.verdict])
    lines += [str(fault) for fault in answer.faults]
    return "\n".join(lines)


def _notes(cell: Cell) -> list[str]:
    notes = []
    if cell.rho is not None:
        notes.append(f"the two arms' losses move together over seeds: rho {cell.rho:.2f}")
    if cell.noisy:
        notes.append("the differences scatter more than twice as much as the bank's: look at the pairs one by one")
    if cell.fades:
        notes.append(
            "the gain on the test split is smaller by more than chance explains: look for validation text in it"
        )
    if cell.data_efficiency_only:
        notes.append("data-efficiency only: the core reaches this loss sooner by training longer")
    return notes


def plan_text(plans: Sequence[CellPlan], gain: float | None) -> str:
    return "\n".join(line for plan in plans for line in _plan_lines(plan, gain))


def _plan_lines(plan: CellPlan, gain: float | None) -> list[str]:
    lines = [
        f"{plan.track} {plan.budget} {plan.metric}",
        f"  pairs      at most {plan.max_pairs}, and {plan.confirm_pairs} to confirm an acceptance",
    ]
    if plan.alpha < ALPHA or plan.k > 1:
        halved = round(math.log2(ALPHA / plan.alpha))
        said = f", halved {halved} times by earlier tries or claims" if halved else ""
        lines.append(f"  held to    an error rate of {plan.alpha:.4g}{said}, shared by {plan.k} claims")
    if plan.seconds_per_pair is not None and plan.seconds_at_most is not None:
        each, most = short_time(plan.seconds_per_pair), short_time(plan.seconds_at_most)
        lines.append(f"  time       {each} a pair, {most} at most")
    else:
        lines.append("  time       unknown: no evaluation of this size has ended on this kind of machine yet")
    if plan.cost_at_most is not None:
        lines.append(f"  money      {plan.cost_at_most:.2f} at most")
    if plan.peak_memory_bytes is not None:
        lines.append(f"  memory     {plan.peak_memory_bytes / 2**20:,.0f} MiB at the peak")
    lines += _sight_lines(plan, gain)
    return lines


def _sight_lines(plan: CellPlan, gain: float | None) -> list[str]:
    if plan.least_detectable is None:
        again = f"blueberry baseline --track {plan.track} --budget {plan.budget}"
        return [f"  gain       unknown without a noise bank: {again}"]
    unit = track_named(plan.track).difference if plan.metric == "loss" else "of the log time ratio"
    lines = [
        f"  gain       {plan.least_detectable:.4f} {unit} is found with a chance of 80 %",
        f"  expected   {plan.pairs_without_gain:.1f} pairs without a gain, {plan.pairs_with_gain:.1f} with twice that",
        f"  noise      {plan.bank}",
    ]
    if gain is not None and plan.metric == "loss" and gain < plan.least_detectable / 2:
        lines.append(f"  WARNING    a gain of {gain:g} is below half of what can be seen: choose a larger budget")
    return lines


def promotion_text(done: Promoted) -> str:
    """What became core, then what has to follow."""
    made = done.promotion
    lines = [f"promoted into model_core/: {', '.join(patch.slug for patch in made.patches)}"]
    lines += [f"  core {made.before[:12]} -> {made.after[:12]}; tracks: {', '.join(done.tracks) or 'none'}"]
    if done.unproven:
        lines.append(f"  measured nowhere on {', '.join(done.unproven)}: whether it is a gain there nobody knows yet")
    if len(made.patches) > 1:
        lines.append("  each was confirmed by itself; what they do together shows in the new baselines")
    lines += [f"  {name} was open and cannot end on the core that it began on" for name in done.cut_off]
    lines += ["to fill the noise bank again:"] if done.refills else []
    for refill in done.refills:
        known = refill.seconds is not None
        took = f"about {short_time(refill.seconds or 0.0)} on {refill.host_class}" if known else "time unknown"
        lines.append(f"  {refill.command}    {took}")
    stale = [one.slug for one in done.standings if one.before and not one.after]
    applies = [one.slug for one in done.standings if one.after]
    broken = [one.slug for one in done.standings if not one.before and not one.after]
    for said, slugs in (
        ("still apply", applies),
        ("need `blueberry rebase`, which is no second try", stale),
        ("did not apply before either", broken),
    ):
        lines += [f"{said}: {', '.join(slugs)}"] if slugs else []
    lines.append("then: make test, blueberry leaderboard, and commit model_core/ and leaderboard/ together")
    return "\n".join(lines)


def status_text(core_id: str, found: Sequence[Status]) -> str:
    """One line a submission, and one for each cell of its present patch."""
    lines = [f"core {core_id[:12]}"]
    width = max((len(one.slug) for one in found), default=0)
    for one in found:
        lines.append(f"{one.slug:<{width}}  {one.state:<12}  {_applies(one)}")
        for cell in one.cells:
            where = "today's core" if cell.today else f"core {cell.core_id[:12]}"
            local = "" if cell.official else ", local"
            patch = "" if cell.present else ", an earlier patch"
            said = f"{cell.track} {cell.budget} {cell.metric}: {cell.state} on {where}{patch}{local}"
            lines.append(f"{'':<{width}}    {said}")
    return "\n".join(lines)


def _applies(one: Status) -> str:
    if one.state == "promoted":
        return "is part of the core"
    if one.applies:
        return "applies"
    if one.fault and ("[patch-stale]" in one.fault or "[manifest-builds-on]" in one.fault):
        return f"does not apply: blueberry rebase {one.slug}"
    return f"does not apply: blueberry check {one.slug}"
