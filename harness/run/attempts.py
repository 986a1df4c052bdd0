"""How often a run is tried again, and when a person has to look first."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from harness.decide.failures import FAILED
from harness.errors import MachineError
from harness.records.record import RunRecord

ATTEMPTS = 2  # a crash, a time-out or a divergence is tried once more; then it is the arm's own
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
    return not core and _failures(past) >= ATTEMPTS


def _ask_a_person(core: bool, here: Sequence[RunRecord]) -> None:
    # a run that its harness left behind has no host, and is no fault of the machine: people interrupt long runs
    machine = sum(record.status in ("killed", "infrastructure") and record.host is not None for record in here)
    hopeless = core and (_failures(here) >= ATTEMPTS or any(record.status == "refused" for record in here))
    if machine >= MACHINE_FAULTS or hopeless:
        spec, error = here[-1].spec, here[-1].error or here[-1].status
        fix = "see `blueberry doctor`; then run the same command again"
        raise MachineError(f"{spec.round} pair {spec.pair + 1}, {spec.arm}", f"cannot be trained here: {error}", fix)


def _failures(past: Sequence[RunRecord]) -> int:
    return sum(record.status in FAILED for record in past)
