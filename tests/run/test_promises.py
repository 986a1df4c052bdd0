"""A closed evaluation whose chain is whole may still not be what was promised before its runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import MachineError
from harness.records.record import write_json
from harness.records.store import Store
from harness.run import promises
from tests.board.board_factory import Factory


@pytest.fixture
def store(tmp_path: Path) -> Store:
    factory = Factory(Store(tmp_path))
    factory.calibration(pairs=3)
    factory.evaluation(confirm=(0.02, 0.03))
    return factory.store


def test_what_was_drawn_from_the_salt_is_kept(store: Store) -> None:
    promises.verify(store)


@pytest.mark.parametrize("salt", ["another", None])
def test_a_salt_that_was_not_promised_is_named(store: Store, salt: str | None) -> None:
    record = store.evaluations()[-1]
    store.put_evaluation(record.model_copy(update={"salt": salt}))
    with pytest.raises(MachineError, match=rf"{record.id}\.json: has a salt whose digest is not"):
        promises.verify(store)


@pytest.mark.parametrize(
    "changes",
    [{"seed": 7}, {"arm": "another"}, {"patch_sha": "e" * 64}, {"core_id": "e" * 64}, {"data_id": "e" * 64}],
)
def test_a_run_of_another_seed_patch_or_cell_is_named(store: Store, changes: dict[str, Any]) -> None:
    record = store.evaluations()[-1]
    run = next(run for run in store.runs(record.id) if run.spec.patch_sha)
    path = store.run_path(record.id, run.spec)
    path.write_text(write_json(run.model_copy(update={"spec": run.spec.model_copy(update=changes)})))
    with pytest.raises(MachineError, match="that is not of its patch, its cell and the seeds of its salt"):
        promises.verify(store)
