"""Which cells of a submission a command races."""

from __future__ import annotations

import pytest

from harness.errors import UsageError
from harness.run.contests import Options, chosen_cells
from harness.submission.manifest import Manifest

CLAIMS = [
    {"track": "llm-tiny", "budget": "smoke", "metric": "loss"},
    {"track": "llm-tiny", "budget": "smoke", "metric": "speed"},
    {"track": "llm-tiny", "budget": "1M", "metric": "loss"},
    {"track": "flow-tiny", "budget": "1M", "metric": "loss"},
]
MANIFEST = Manifest.model_validate({"title": "An idea", "authors": [{"name": "Ada"}], "idea": "why", "claims": CLAIMS})


def cells(**options: str) -> list[tuple[str, str, tuple[str, ...], bool, int]]:
    return [
        (cell.track.name, cell.budget.name, cell.metrics, cell.claimed)
        for cell in chosen_cells(MANIFEST, Options(**options))
    ]


def test_without_options_all_claims_are_raced_cheapest_first() -> None:
    assert cells() == [
        ("llm-tiny", "smoke", ("loss", "speed"), True),
        ("flow-tiny", "1M", ("loss",), True),
        ("llm-tiny", "1M", ("loss",), True),
    ]


def test_an_option_chooses_among_the_claims() -> None:
    assert cells(track="flow-tiny") == [("flow-tiny", "1M", ("loss",), True)]
    assert [cell[:2] for cell in cells(budget="1M")] == [("flow-tiny", "1M"), ("llm-tiny", "1M")]
    assert [cell[:2] for cell in cells(track="llm-tiny", budget="1M")] == [("llm-tiny", "1M")]


def test_what_is_not_claimed_can_be_tried_and_is_no_official_row() -> None:
    assert cells(track="flow-tiny", budget="smoke") == [("flow-tiny", "smoke", ("loss",), False)]
    with pytest.raises(UsageError, match="not a cell that the manifest claims"):
        chosen_cells(MANIFEST, Options(track="flow-tiny", budget="smoke", official=True))
