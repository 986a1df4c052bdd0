"""Kept runs: the last of each arm, whole, by name or by run file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import MachineError, UsageError
from harness.records.record import RunRecord, RunSpec
from harness.run import kept
from harness.run.stage import Arm


def record(sha: str, arm: str = "idea") -> RunRecord:
    spec = RunSpec(
        arm=arm,
        patch_sha="p",
        core_id="c",
        track="llm-tiny",
        budget="test",
        tokens=8,
        seed=1,
        round="decide",
        pair=0,
        order=0,
        attempt=1,
        data_id="d",
    )
    return RunRecord(evaluation="e", spec=spec, status="completed", loss=1.0, checkpoint_sha256=sha)


def keep(root: Path, content: bytes, sha: str, name: str = "idea", data: kept.TrainedOn = kept.UNKNOWN) -> None:
    folder = root / "arm"
    (folder / "model_core").mkdir(parents=True, exist_ok=True)
    (folder / "model_core" / "lm.py").write_text(f"# {sha}\n")
    fd = os.memfd_create("checkpoint")
    os.write(fd, content)
    kept.keep(kept.cell_folder(root, "llm-tiny", "test"), Arm(name, folder, "p"), record(sha, name), fd, data)
    os.close(fd)


def test_the_last_run_of_an_arm_is_kept_with_its_code(tmp_path: Path) -> None:
    keep(tmp_path, b"first", "1")
    keep(tmp_path, b"second", "2")
    found = kept.find(tmp_path, "llm-tiny/test/idea")
    assert found.weights.read_bytes() == b"second" and (found.code / "lm.py").read_text() == "# 2\n"
    assert found.record == record("2")
    names = {path.name for path in kept.cell_folder(tmp_path, "llm-tiny", "test").iterdir()}
    assert names == {"idea"}, "nothing half-done is left"


def test_a_run_file_names_its_run_until_a_later_one_takes_its_place(tmp_path: Path) -> None:
    keep(tmp_path, b"first", "1")
    file = tmp_path / "run.json"
    file.write_text(record("1").model_dump_json(by_alias=True))
    assert kept.find(tmp_path, str(file)).weights.read_bytes() == b"first"
    keep(tmp_path, b"second", "2")
    with pytest.raises(UsageError, match="replaced by a later run"):
        kept.find(tmp_path, str(file))


@pytest.mark.parametrize("name", ["idea", "llm-tiny/test/other", "llm-tiny/test", "../../../etc", "a/../b", "x.json"])
def test_what_is_not_there_is_one_message_that_names_what_is(tmp_path: Path, name: str) -> None:
    keep(tmp_path, b"first", "1")
    with pytest.raises(UsageError) as error:
        kept.find(tmp_path, name)
    if not name.endswith(".json"):
        assert "llm-tiny/test/idea" in str(error.value)


def test_the_names_of_the_classes_and_the_tokenizer_are_kept_with_the_weights(tmp_path: Path) -> None:
    keep(tmp_path, b"first", "1")
    assert kept.find(tmp_path, "llm-tiny/test/idea").data == kept.UNKNOWN, "text has neither"
    told = kept.TrainedOn(class_names=("cat", "dog"), visual="f" * 64)
    keep(tmp_path, b"second", "2", data=told)
    assert kept.find(tmp_path, "llm-tiny/test/idea").data == told
    file = kept.cell_folder(tmp_path, "llm-tiny", "test") / "idea" / kept.DATA
    file.write_text("{")
    with pytest.raises(MachineError, match="delete it"):
        kept.find(tmp_path, "llm-tiny/test/idea")
    file.unlink()  # as in a run that was kept before these were
    assert kept.find(tmp_path, "llm-tiny/test/idea").data == kept.UNKNOWN


def test_a_damaged_run_file_is_the_machines_fault(tmp_path: Path) -> None:
    keep(tmp_path, b"first", "1")
    (kept.cell_folder(tmp_path, "llm-tiny", "test") / "idea" / kept.RUN).write_text("{")
    with pytest.raises(MachineError):
        kept.find(tmp_path, "llm-tiny/test/idea")
