"""The kinds of failure that a person can be told about, and the exit code of each.

Three parties can be at fault: the submission (exit 1), the person at the keyboard (exit 2), the machine (exit 3).
Anything else is a defect of the harness and is left to crash.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, said so that the reader can mend it."""

    rule: str  # id of a rule in harness/rules.py, or "usage" / "machine"
    where: str  # file and line, or the verb and its argument
    what: str  # what was found there
    fix: str  # what to do about it

    def __str__(self) -> str:
        return f"{self.where}: {self.what} [{self.rule}]\n    mend: {self.fix}"

    def to_json(self) -> dict[str, str]:
        return asdict(self)


class HarnessError(Exception):
    """Base of the errors that carry faults; `exit_code` is what the command line exits with."""

    exit_code = 3

    def __init__(self, *faults: Fault) -> None:
        self.faults = faults
        super().__init__("\n".join(str(fault) for fault in faults))


class SubmissionError(HarnessError):
    """The submission breaks a rule."""

    exit_code = 1


class UsageError(HarnessError):
    """The command was called in a way that cannot work."""

    exit_code = 2

    def __init__(self, where: str, what: str, fix: str) -> None:
        super().__init__(Fault("usage", where, what, fix))


class MachineError(HarnessError):
    """The machine cannot do what was asked: no disk, no memory, no data, a store in use."""

    exit_code = 3

    def __init__(self, where: str, what: str, fix: str) -> None:
        super().__init__(Fault("machine", where, what, fix))
