"""The root of a submission: nobody else's, for as long as it is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.bot.head import Head
from harness.bot.tree import SHARED, planted

HEAD = Head("0" * 40, "an-idea", {"patch.diff": b"x\n"})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("submissions", *SHARED):
        (tmp_path / name).mkdir()
    return tmp_path


def test_two_that_look_at_one_commit_do_not_pull_the_tree_from_under_each_other(root: Path) -> None:
    with planted(root, HEAD) as running:
        with planted(root, HEAD) as checking:
            assert checking != running
        assert (running / "submissions" / "an-idea" / "patch.diff").read_bytes() == b"x\n"


def test_nothing_is_left_of_it(root: Path) -> None:
    with planted(root, HEAD) as tree:
        pass
    assert not tree.exists() and (root / "model_core").is_dir()
