from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.records.store import Store
from harness.run.arms import track_core_id
from harness.run.calibrate import _find
from harness.tracks import budget_named, track_named
from tests.conftest import REPOSITORY
from tests.decide.conftest import make_evaluation

TRACK = track_named("llm-tiny")


@pytest.mark.parametrize(
    ("changes", "found"),
    [({}, True), ({"invalidated": "a rule was broken"}, False), ({"epochs": 2}, False), ({"max_pairs": 4}, False)],
)
def test_a_calibration_that_does_not_stand_is_made_again(tmp_path: Path, changes: dict[str, Any], found: bool) -> None:
    store = Store(tmp_path)
    fields = dict(kind="calibration", slug="core", patch_sha=None, budget="smoke", max_pairs=8, closed="1", data_id="d")
    store.put_evaluation(make_evaluation(core_id=track_core_id(REPOSITORY, TRACK), **fields | changes))
    calibration: Any = SimpleNamespace(
        root=REPOSITORY,
        store=store,
        track=TRACK,
        budget=budget_named("smoke"),
        data=SimpleNamespace(data_id="d"),
        pairs=8,
        epochs=1,
    )
    assert (_find(calibration) is not None) == found
