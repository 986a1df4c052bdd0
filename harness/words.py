"""Plain words for people: what a verdict means for its author, and what a plan comes to."""

from __future__ import annotations

from collections.abc import Sequence

from harness.decide.cells import Cell
from harness.decide.explain import explain
from harness.progress import short_time
from harness.run.contests import Answer
from harness.run.plan import CellPlan

NEXT = {
    "CONFIRMED": "It held on fresh seeds, scored on text that no decision was made on: open a pull request.",
    "REVOKED": "It was accepted, but the gain was gone on fresh seeds. Nothing is published.",
    "ACCEPT_LOSS": "Accepted; the confirmation is still to run. Run the same command again.",
    "ACCEPT_SPEED": "Accepted; the confirmation is still to run. Run the same command again.",
    "REVIEW_TRADEOFF": "A maintainer decides; the line above says why.",
    "REJECT_WORSE": "It makes the result worse. A negative result is welcome on the board: say what you learnt.",
    "INCONCLUSIVE": "All pairs are spent and the interval still holds both a gain and none. A larger budget may tell.",
    "CONTINUE": "Not decided yet. Run the same command again: it resumes.",
    "REJECT_NO_GAIN": "A gain of the size that can be seen here is unlikely by now. More pairs would be wasted.",
    "INVALID": "A rule was broken, so there is no number to speak of.",
}


def answer_text(answer: Answer) -> str:
    """The verdict first, then one sentence for every claim, then what to do."""
    lines = [f"{answer.slug}: {answer.verdict}"]
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
    if plan.seconds_per_pair is not None and plan.seconds_at_most is not None:
        each, most = short_time(plan.seconds_per_pair), short_time(plan.seconds_at_most)
        lines.append(f"  time       {each} a pair, {most} at most")
    else:
        lines.append("  time       unknown here: nothing at this size has been run on this kind of machine")
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
    unit = "nats" if plan.metric == "loss" else "of the log time ratio"
    lines = [
        f"  gain       {plan.least_detectable:.4f} {unit} is found with a chance of 80 %",
        f"  expected   {plan.pairs_without_gain:.1f} pairs without a gain, {plan.pairs_with_gain:.1f} with twice that",
        f"  noise      {plan.bank}",
    ]
    if gain is not None and plan.metric == "loss" and gain < plan.least_detectable / 2:
        lines.append(f"  WARNING    a gain of {gain:g} is below half of what can be seen: choose a larger budget")
    return lines
