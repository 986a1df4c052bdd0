from __future__ import annotations

import pytest

from harness.submission.files import hidden_fault, is_hidden


@pytest.mark.parametrize(
    "character", list("\u200b\u200d\u2060\ufeff\u202e\u2066\u00ad\u061c\u3164\ufe0f\U000e0041\x00\x1b")
)
def test_what_a_reader_cannot_see_is_hidden(character: str) -> None:
    assert is_hidden(character)


@pytest.mark.parametrize("character", list("aé中≤→λ🫐 "))
def test_what_a_reader_can_see_is_not(character: str) -> None:
    assert not is_hidden(character)


def test_the_first_hidden_character_is_placed_and_the_others_are_counted() -> None:
    fault = hidden_fault("a\nb\u200b\n\u200b\u202e", "patch.diff", "patch")
    assert fault is not None
    assert fault.where == "patch.diff:2"
    assert "ZERO WIDTH SPACE, and 2 more" in fault.what
