from pathlib import Path

import pytest

from harness.errors import MachineError
from harness.records import ledger
from harness.records.record import EvaluationRecord, RunRecord, RunSpec
from harness.records.store import Store


def closed_evaluation(store: Store, name: str) -> EvaluationRecord:
    spec = RunSpec(
        arm="core",
        patch_sha=None,
        core_id="c",
        track="llm-tiny",
        budget="test",
        tokens=8_192,
        seed=7,
        round="decide",
        pair=0,
        order=0,
        attempt=1,
        data_id="d",
    )
    store.put_run(RunRecord(evaluation=name, spec=spec, status="completed", loss=3.5))
    evaluation = EvaluationRecord(
        id=name,
        slug="idea",
        patch_sha="p",
        track="llm-tiny",
        budget="test",
        metrics=("loss",),
        max_pairs=4,
        confirm_pairs=2,
        core_id="c",
        core_digest="cc",
        data_id="d",
        salt_sha256="s",
        closed="2026-01-01T00:00:00+00:00",
        runs=store.run_digests(name),
    )
    store.put_evaluation(evaluation)
    return evaluation


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    for name in ("first", "second", "third"):
        closed_evaluation(store, name)
        ledger.append(store, name)
    return store


def test_an_honest_chain_verifies(store: Store) -> None:
    ledger.verify(store)
    assert len((store.folder / "ledger.jsonl").read_text().splitlines()) == 3


def test_appending_twice_changes_nothing(store: Store) -> None:
    before = (store.folder / "ledger.jsonl").read_bytes()
    ledger.append(store, "second")
    assert (store.folder / "ledger.jsonl").read_bytes() == before


def test_a_dropped_line_breaks_the_chain(store: Store) -> None:
    path = store.folder / "ledger.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[2])
    with pytest.raises(MachineError, match=r"ledger\.jsonl:2: does not follow"):
        ledger.verify(store)


def test_an_edited_evaluation_is_found(store: Store) -> None:
    path = store.evaluation_path("second")
    path.write_text(path.read_text().replace('"max_pairs": 4', '"max_pairs": 5'))
    with pytest.raises(MachineError, match=r"second\.json: was changed after"):
        ledger.verify(store)


def test_an_edited_run_file_is_found(store: Store) -> None:
    path = next((store.folder / "runs" / "third").glob("*.json"))
    path.write_text(path.read_text().replace("3.5", "3.4"))
    with pytest.raises(MachineError, match=f"{path.name}: is not what"):
        ledger.verify(store)


def test_a_removed_run_file_is_found(store: Store) -> None:
    path = next((store.folder / "runs" / "first").glob("*.json"))
    path.unlink()
    with pytest.raises(MachineError, match="is missing"):
        ledger.verify(store)


def test_a_closed_evaluation_that_the_ledger_does_not_list_is_told(store: Store) -> None:
    path = store.folder / "ledger.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(MachineError, match=r"third\.json: is closed, but"):
        ledger.verify(store)
