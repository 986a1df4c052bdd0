"""A provisional evaluation gives way to the one in a sandbox, and to nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from harness.records.replaced import replaced
from tests.decide.conftest import make_evaluation

BARE = make_evaluation(id="bare", official=True, provisional=True, closed="1")


def boxed(**changes: Any) -> Any:
    return make_evaluation(**(dict(id="boxed", official=True, closed="2") | changes))


def test_the_same_patch_in_a_sandbox_takes_its_place() -> None:
    assert replaced([BARE, boxed()]) == {"bare"}


@pytest.mark.parametrize(
    "changes",
    [
        {"closed": None},
        {"provisional": True},
        {"official": False},
        {"patch_sha": "e" * 64},
        {"core_id": "e" * 64},
        {"data_id": "e" * 64},
        {"budget": "1M"},
        {"slug": "other"},
    ],
)
def test_nothing_else_does(changes: dict[str, Any]) -> None:
    assert replaced([BARE, boxed(**changes)]) == set()
