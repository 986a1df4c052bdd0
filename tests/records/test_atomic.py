"""Several files at once: all of them or none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import MachineError
from harness.records.atomic import write_together


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a").write_text("old a")
    (tmp_path / "gone").write_text("old gone")
    return tmp_path


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_files_are_replaced_made_and_removed_together(folder: Path) -> None:
    write_together({folder / "a": b"new a", folder / "deep" / "b": b"new b", folder / "gone": None})
    assert contents(folder) == {"a": "new a", "deep/b": "new b"}


@pytest.mark.parametrize("failing", range(3))
def test_where_one_cannot_be_put_into_its_place_all_are_as_before(
    folder: Path, failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(folder)
    names = ["a", "b", "gone"]
    replace, unlink = os.replace, Path.unlink

    def refused(path: object) -> None:
        if Path(str(path)).name == names[failing]:
            raise OSError(28, "No space left on device")

    def failing_replace(source: str, target: Path) -> None:
        refused(target)
        replace(source, target)

    def failing_unlink(path: Path, missing_ok: bool = False) -> None:
        refused(path if path.name == "gone" else "")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr("harness.records.atomic.os.replace", failing_replace)
    monkeypatch.setattr(Path, "unlink", failing_unlink)
    with pytest.raises(MachineError, match="No space left"):
        write_together({folder / "a": b"new a", folder / "b": b"new b", folder / "gone": None})
    assert contents(folder) == before


def test_a_file_that_cannot_be_written_at_all_leaves_the_others_untouched(folder: Path) -> None:
    before = contents(folder)
    with pytest.raises(MachineError, match="cannot be written"):
        write_together({folder / "b": b"new b", folder / "a" / "below-a-file": b"x"})
    assert contents(folder) == before
