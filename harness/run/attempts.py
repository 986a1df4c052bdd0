"""How often a run is tried again, and when a person has to look first."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from harness.decide.failures import FAILED, RETRIES, ended_by_machine
from harness.errors import MachineError
from harness.records.record import RunRecord

MACHINE_FAULTS = 5  # killed or lost runs before a person has to look


def settled(core: bool, past: Sequence[RunRecord], before: Collection[str]) -> bool:
    """Nothing more to run for this arm of this pair, whose runs so far are `past`.

    Raises MachineError when the core cannot be trained here, or when runs are killed again and again. Runs from before
    this harness was started (`before` has their stems) do not count for that: a person has looked since.
    """
    statuses = [record.status for record in past]
    if "completed" in statuses or ("refused" in statuses and not core):
        return True
    _ask_a_person(core, [record for record in past if record.spec.stem not in before])
    return not core and _failures(past) >= RETRIES


def _ask_a_person(core: bool, here: Sequence[RunRecord]) -> None:
    machine = sum(map(ended_by_machine, here))
    hopeless = core and (_failures(here) >= RETRIES or any(record.status == "refused" for record in here))
    if machine >= MACHINE_FAULTS or hopeless:
        spec, error = here[-1].spec, here[-1].error or here[-1].status
        fix = "see `blueberry doctor`; then run the same command again"
        raise MachineError(f"{spec.round} pair {spec.pair + 1}, {spec.arm}", f"cannot be trained here: {error}", fix)


def _failures(past: Sequence[RunRecord]) -> int:
    return sum(record.status in FAILED for record in past)
