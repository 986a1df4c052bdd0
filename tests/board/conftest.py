import sys
from pathlib import Path

import pytest

from harness.records.store import Store

sys.path.insert(0, str(Path(__file__).parent))

from board_factory import Factory


@pytest.fixture
def factory(tmp_path: Path) -> Factory:
    """Writes evaluations into an empty store."""
    return Factory(Store(tmp_path / "leaderboard"))
