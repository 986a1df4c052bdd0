from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import MachineError
from harness.records import promotions
from harness.records.promotions import Promoted, Promotion

WIDE = Promoted(slug="wide", patch_sha="1" * 64, evaluations=("e1",))
DEEP = Promoted(slug="deep", patch_sha="2" * 64, evaluations=("e2",), word="worth its time")
FIRST = Promotion(date="2026-01-01", by="Ada", before="a" * 64, after="b" * 64, patches=(WIDE,), forced=("x@3",))
SECOND = Promotion(date="2026-01-02", by="Bob", before="b" * 64, after="c" * 64, patches=(DEEP,))


def test_promotions_are_read_as_they_were_written_one_a_line(tmp_path: Path) -> None:
    assert promotions.read(tmp_path) == ()
    for one in (FIRST, SECOND):
        (tmp_path / promotions.NAME).write_text(promotions.text_with(tmp_path, one))
    assert promotions.read(tmp_path) == (FIRST, SECOND)
    assert (tmp_path / promotions.NAME).read_text().count("\n") == 2


def test_patches_are_found_by_name_and_so_are_forced_rebases() -> None:
    found = promotions.by_name((FIRST, SECOND))
    assert found == {"wide@" + "1" * 64: FIRST, "deep@" + "2" * 64: SECOND}
    assert promotions.forced((FIRST, SECOND)) == {"x@3"}


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / promotions.NAME).write_text(promotions.text_with(tmp_path, FIRST) + "{}\n")
    with pytest.raises(MachineError, match=r"promotions\.jsonl:2: is not a promotion"):
        promotions.read(tmp_path)
