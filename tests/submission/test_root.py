from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.submission.root import find_folder, find_root, is_slug


def test_the_root_is_the_nearest_parent_with_submissions_and_model_core(root: Path) -> None:
    inner = root / "submissions" / "wider" / "core"
    inner.mkdir(parents=True)
    assert find_root(inner) == root
    assert find_root(root) == root
    (inner / "submissions").mkdir()
    (inner / "model_core").mkdir()
    assert find_root(inner) == inner


def test_outside_a_clone_the_way_in_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="change into a clone"):
        find_root(tmp_path)


def test_a_submission_is_found_by_slug_or_path_and_a_reference_too(root: Path) -> None:
    (root / "submissions" / "wider").mkdir()
    (root / "baselines" / "adamw").mkdir()
    assert find_folder(root, "wider") == root / "submissions" / "wider"
    assert find_folder(root, "submissions/wider/") == root / "submissions" / "wider"
    assert find_folder(root, "adamw") == root / "baselines" / "adamw"


@pytest.mark.parametrize("name", ["widr", "../model_core", "..", "", "/", "wider/../../model_core", "core", "x" * 300])
def test_what_is_no_submission_is_not_found_wherever_it_points(root: Path, name: str) -> None:
    (root / "submissions" / "wider").mkdir()
    with pytest.raises(UsageError) as refused:
        find_folder(root, name)
    assert len(str(refused.value)) < 400
    if name == "widr":
        assert "did you mean wider?" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "good"),
    [("abc", True), ("a-1", True), ("a" * 40, True), ("ab", False), ("a" * 41, False), ("Abc", False), ("core", False)],
)
def test_a_slug_is_3_to_40_of_a_to_z_digits_and_inner_hyphens(name: str, good: bool) -> None:
    assert is_slug(name) is good
