import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import MachineError
from harness.records.atomic import write_atomically
from harness.records.record import EvaluationRecord, RunRecord, RunSpec, write_json
from harness.records.store import Store


def spec(pair: int = 0, attempt: int = 1) -> RunSpec:
    return RunSpec(
        arm="core",
        patch_sha=None,
        core_id="c",
        track="llm-tiny",
        budget="test",
        tokens=8_192,
        seed=7,
        round="decide",
        pair=pair,
        order=0,
        attempt=attempt,
        data_id="d",
    )


def record(pair: int = 0, loss: float = 3.5) -> RunRecord:
    return RunRecord(evaluation="e", spec=spec(pair), status="completed", loss=loss)


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put_run(record())
    assert store.runs("e") == [record()]


def test_a_run_file_is_never_overwritten(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.put_run(record(loss=3.5))
    before = path.read_bytes()
    with pytest.raises(AssertionError, match="written twice"):
        store.put_run(record(loss=2.0))
    assert path.read_bytes() == before


def test_a_start_marker_goes_when_the_run_file_is_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.begin("e", spec())
    assert list(tmp_path.glob("runs/e/*.started"))
    store.put_run(record())
    assert not list(tmp_path.glob("runs/e/*.started"))


def test_an_orphaned_marker_becomes_a_killed_run_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.begin("e", spec(pair=3))
    assert [run.status for run in store.bury_orphans("e", "none")] == ["killed"]
    assert store.bury_orphans("e", "none") == []
    assert [(run.status, run.spec.pair) for run in store.runs("e")] == [("killed", 3)]


def test_a_marker_beside_its_run_file_is_no_orphan(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put_run(record())
    store.begin("e", spec())
    assert store.bury_orphans("e", "none") == []
    assert store.runs("e") == [record()]


@pytest.mark.parametrize("damage", [b"", b"{", b"\x00" * 50, b'{"schema": 1}', "truncated"])
def test_a_damaged_run_file_is_named_and_the_others_are_left_alone(tmp_path: Path, damage: bytes | str) -> None:
    store = Store(tmp_path)
    path = store.put_run(record(pair=0))
    other = store.put_run(record(pair=1))
    path.write_bytes(path.read_bytes()[:-30] if isinstance(damage, str) else damage)
    with pytest.raises(MachineError, match=path.name):
        store.runs("e")
    assert RunRecord.model_validate_json(other.read_bytes()) == record(pair=1)


def test_a_folder_in_the_place_of_a_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "evaluations" / "x.json").mkdir(parents=True)
    with pytest.raises(MachineError, match=r"x\.json: cannot be read: Is a directory"):
        Store(tmp_path).evaluations()


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", "1e41", "-1e308"])
@pytest.mark.parametrize("told", ["loss", "curve"])
def test_a_loss_that_could_not_be_squared_or_drawn_is_not_a_record(tmp_path: Path, told: str, value: str) -> None:
    """One such number, once it is in the ledger, would stop whatever reads the board."""
    store = Store(tmp_path)
    measured = record(loss=4.0).model_copy(update={told: 3.5 if told == "loss" else ((1, 3.5, 1.0),)})
    path = store.put_run(measured)
    path.write_text(path.read_text().replace("3.5", value))
    with pytest.raises(MachineError, match=told):
        store.runs("e")


def test_a_second_harness_on_one_store_is_told_who_holds_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from harness.records.store import Store\n"
        "with Store(Path(sys.argv[1])).lock(): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(MachineError, match=f"process {holder.pid}"), Store(tmp_path).lock():
            pass
        holder.stdin.close()
    with Store(tmp_path).lock():
        pass


def test_a_full_disk_leaves_the_old_file_and_no_half_of_a_new_one(tmp_path: Path) -> None:
    target = tmp_path / "file.json"
    write_atomically(target, "old\n")
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from harness.errors import MachineError; from harness.records.atomic import write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "try: write_atomically(Path(sys.argv[1]), 'x' * 5000)\n"
        "except MachineError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(target)], capture_output=True, text=True, check=True)
    assert "cannot be written" in done.stdout and "mend:" in done.stdout
    assert target.read_text() == "old\n"
    assert os.listdir(tmp_path) == ["file.json"]


def test_a_record_is_written_the_same_way_twice() -> None:
    assert write_json(record()) == write_json(RunRecord.model_validate_json(write_json(record())))


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValueError, match="Extra inputs"):
        EvaluationRecord.model_validate({"surprise": 1})


def test_a_record_of_a_newer_harness_is_told_as_such(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.evaluation_path("later")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"schema": 2, "id": "later"}))
    with pytest.raises(MachineError, match="written by a newer harness"):
        store.evaluation("later")
