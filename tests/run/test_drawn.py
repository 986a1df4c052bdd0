"""Whose fault it is when a kept run cannot be drawn from."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import HarnessError, MachineError, UsageError
from harness.records.record import RunRecord, RunSpec, Status
from harness.run import drawn
from harness.run.kept import KeptRun
from harness.run.stage import StageError


def kept_run(folder: Path, arm: str) -> KeptRun:
    spec = RunSpec(
        arm=arm,
        patch_sha=None if arm == "core" else "p",
        core_id="c",
        track="flow-tiny",
        budget="test",
        tokens=8,
        seed=1,
        round="decide",
        pair=0,
        order=0,
        attempt=1,
        data_id="d",
    )
    (folder / "model_core").mkdir()
    (folder / "weights").write_bytes(b"weights")
    record = RunRecord(evaluation="e", spec=spec, status="completed")
    return KeptRun(record, folder / "weights", folder / "model_core")


@pytest.mark.parametrize(
    ("arm", "status", "error", "mend"),
    [
        ("idea", "crashed", UsageError, "mend the patch"),
        ("idea", "diverged", UsageError, "mend the patch"),
        ("idea", "timed_out", MachineError, "a faster machine; or mend the patch"),
        ("idea", "killed", MachineError, "doctor"),
        ("core", "crashed", MachineError, "doctor"),
        ("core", "timed_out", MachineError, "ask for less at a time"),
    ],
)
def test_a_patch_is_blamed_for_its_own_faults_alone(
    tmp_path: Path, arm: str, status: Status, error: type[HarnessError], mend: str
) -> None:
    with pytest.raises(error) as caught, drawn.on_kept(tmp_path, kept_run(tmp_path, arm)) as (built, fd):
        assert built.name == arm and (built.folder / "drawing.py").exists() and fd > 0
        raise StageError(status, "what happened")
    (fault,) = caught.value.faults
    assert fault.where == f"flow-tiny/test/{arm}" and fault.what == "what happened" and mend in fault.fix
    assert arm != "core" or "patch" not in fault.fix
