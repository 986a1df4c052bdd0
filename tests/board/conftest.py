import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.records.store import Store
from harness.run.arms import track_core_id
from harness.submission import scratch
from harness.submission.patch import patch_sha
from harness.tracks import track_named

sys.path.insert(0, str(Path(__file__).parent))

from board_factory import Factory

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def factory(tmp_path: Path) -> Factory:
    """Writes evaluations into an empty store."""
    return Factory(Store(tmp_path / "leaderboard"))


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A project with the real core and no submissions yet."""
    shutil.copytree(REPOSITORY / "model_core", tmp_path / "model_core", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "submissions").mkdir()
    return tmp_path


@pytest.fixture
def submit(clone: Path) -> Callable[..., Path]:
    """submissions/SLUG, packed: `old` replaced by `new` in lm.py."""

    def make(slug: str, old: str, new: str) -> Path:
        made = scratch.new(clone, slug)
        text = (made.scratch / "lm.py").read_text()
        assert text.count(old) == 1
        (made.scratch / "lm.py").write_text(text.replace(old, new))
        scratch.pack(clone, slug)
        return made.folder

    return make


@pytest.fixture
def record(clone: Path) -> Callable[..., Any]:
    """An official evaluation of a submission as it is, on today's core."""
    factory = Factory(Store(clone / "leaderboard"))

    def make(folder: Path, *args: Any, **fields: Any) -> Any:
        own = {
            "patch_sha": patch_sha(folder),
            "core_id": track_core_id(clone, track_named("llm-tiny")),
            "provisional": False,
        }
        return factory.evaluation(folder.name, *args, **({"sandbox": "landlock"} | own | fields))

    return make
