"""Every submission against today's core, in the words of its life."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.board.promotion import promote
from harness.board.status import statuses
from tests.board.test_promotion import FRESH, GOOD, lr, state


@pytest.mark.parametrize(
    ("args", "fields", "word"),
    [
        (((0.031,),), {"close": False}, "running"),
        ((GOOD,), {}, "accepted"),
        ((GOOD, FRESH), {}, "confirmed"),
        ((GOOD, (-0.02, 0.01, -0.01, 0.001)), {}, "revoked"),
        ((GOOD,), {"faster": -0.3}, "review"),
        (((-0.031, -0.027),), {}, "rejected"),
        (((0.3, 0.3),), {"status": "refused"}, "refused"),
        ((GOOD, FRESH), {"invalidated": "the data leaked"}, "invalidated"),
        ((GOOD, FRESH), {"core_id": "0" * 64}, "stale"),
        (((-0.031, -0.027),), {"core_id": "0" * 64}, "rejected"),
        ((GOOD, FRESH), {"patch_sha": "0" * 64}, "checked"),
        ((GOOD, FRESH), {"claimed": False}, "checked"),
    ],
)  # fmt: skip
def test_the_word_follows_from_what_was_measured_where(
    clone: Path, submit: Any, record: Any, args: Any, fields: Any, word: str
) -> None:  # fmt: skip
    record(submit("bold", *lr("0.02")), *args, **fields)
    one = state(clone, "bold")
    assert (one.state, one.applies, len(one.cells)) == (word, True, 1)
    assert one.cells[0].today == ("core_id" not in fields)
    assert one.cells[0].present == ("patch_sha" not in fields)


def test_a_folder_without_a_valid_patch_is_a_draft(clone: Path, submit: Any) -> None:
    (submit("bold", *lr("0.02")) / "patch.diff").unlink()
    one = state(clone, "bold")
    assert (one.state, one.applies, one.title) == ("draft", False, "bold")
    assert one.fault is not None and "patch-missing" in one.fault


def test_after_a_promotion_the_winner_is_promoted_and_its_rival_stale(
    clone: Path, submit: Any, record: Any
) -> None:  # fmt: skip
    record(submit("bold", *lr("0.02")), GOOD, FRESH)
    record(submit("bolder", *lr("0.03")), GOOD, FRESH)
    promote(clone, ["bold"], "Ada", None)
    assert [(one.slug, one.state, one.applies) for one in statuses(clone)] == [
        ("bold", "promoted", False),
        ("bolder", "stale", False),
    ]
