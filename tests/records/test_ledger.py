import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import MachineError, UsageError
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


@pytest.fixture(scope="module")
def closed_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return made(tmp_path_factory.mktemp("store"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return made(tmp_path)


def made(folder: Path) -> Store:
    store = Store(folder)
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


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_no_bit_of_a_closed_store_can_flip_unseen(closed_store: Store, data: st.DataObject) -> None:
    files = sorted(path for path in closed_store.folder.rglob("*.json*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    before = path.read_bytes()
    place = data.draw(st.integers(0, 8 * len(before) - 1))
    flipped = bytearray(before)
    flipped[place // 8] ^= 1 << place % 8
    path.write_bytes(flipped)
    try:
        with pytest.raises(MachineError) as raised:
            ledger.verify(closed_store)
        assert str(closed_store.folder) in str(raised.value)
    finally:
        path.write_bytes(before)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_no_file_of_a_closed_store_can_lose_its_end_unseen(closed_store: Store, data: st.DataObject) -> None:
    files = sorted(path for path in closed_store.folder.rglob("*.json*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    before = path.read_bytes()
    path.write_bytes(before[: data.draw(st.integers(0, len(before) - 1))])
    try:
        with pytest.raises(MachineError):
            ledger.verify(closed_store)
    finally:
        path.write_bytes(before)


def test_an_evaluation_from_before_a_field_existed_can_be_invalidated(tmp_path: Path) -> None:
    store = Store(tmp_path)
    closed_evaluation(store, "old")
    path = store.evaluation_path("old")
    older = json.loads(path.read_text())
    del older["epochs"], older["systems_only"]
    path.write_text(json.dumps(older, indent=1, sort_keys=True) + "\n")
    ledger.append(store, "old")
    assert ledger.invalidate(store, "old", "found later").invalidated == "found later"
    ledger.verify(store)


def test_an_invalidated_evaluation_keeps_its_place_and_says_why(store: Store) -> None:
    ledger.invalidate(store, "second", "audit-causality: found later")
    ledger.verify(store)
    assert store.evaluation("second").invalidated == "audit-causality: found later"
    assert len((store.folder / "ledger.jsonl").read_text().splitlines()) == 4
    with pytest.raises(UsageError, match="already"):
        ledger.invalidate(store, "second", "again")
    with pytest.raises(UsageError, match="no closed evaluation"):
        ledger.invalidate(store, "fourth", "unknown")


def test_an_invalidation_by_hand_or_one_that_is_taken_back_is_found(store: Store) -> None:
    path = store.evaluation_path("second")
    before = path.read_text()
    path.write_text(before.replace('"invalidated": null', '"invalidated": "I did not like it"'))
    with pytest.raises(MachineError, match=r"second\.json: was changed after"):
        ledger.verify(store)
    path.write_text(before)
    ledger.invalidate(store, "second", "a rule was broken")
    path.write_text(before)
    with pytest.raises(MachineError, match=r"second\.json: was changed after"):
        ledger.verify(store)


def test_nothing_else_can_be_changed_under_cover_of_an_invalidation(store: Store) -> None:
    path = store.evaluation_path("second")
    ledger.invalidate(store, "second", "a rule was broken")
    path.write_text(path.read_text().replace('"max_pairs": 4', '"max_pairs": 5'))
    with pytest.raises(MachineError, match=r"second\.json: was changed after"):
        ledger.verify(store)


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_evaluations_of_two_machines_merge_through_git_without_conflict(tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    git(first, "init", "-q", "-b", "main")
    shutil.copy(Path(__file__).parent.parent.parent / ".gitattributes", first)
    grow(first, "common")
    git(tmp_path, "clone", "-q", "first", "second")
    grow(first, "here")
    grow(first, "here-too")
    grow(tmp_path / "second", "there")
    git(tmp_path / "second", "pull", "-q", "--no-rebase", "--no-edit", "origin", "main")

    merged = Store(tmp_path / "second" / "leaderboard")
    ledger.verify(merged)
    grow(tmp_path / "second", "after")
    ledger.verify(merged)
    lines = [json.loads(line) for line in (merged.folder / "ledger.jsonl").read_text().splitlines()]
    assert lines[0]["evaluation"] == "common" and len(lines) == 5
    assert len(lines[-1]["previous"]) == 2, "it follows both"
    assert [len(line["previous"]) for line in lines[:-1]] == [1, 1, 1, 1]


def grow(clone: Path, name: str) -> None:
    """Another closed evaluation, committed."""
    store = Store(clone / "leaderboard")
    closed_evaluation(store, name)
    ledger.append(store, name)
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", name)


def test_a_copy_of_a_listed_evaluation_under_another_name_is_found(store: Store) -> None:
    """Its row would stand on the runs of another."""
    copy = store.evaluation_path("second").with_name("zz.json")
    copy.write_text(store.evaluation_path("second").read_text().replace('"title": "', '"title": "Better: '))
    with pytest.raises(MachineError, match=r"zz\.json: holds evaluation second"):
        ledger.verify(store)
