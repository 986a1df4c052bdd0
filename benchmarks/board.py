"""How long a board of 10,000 run files takes, and how much memory: one whole process, from start to LEADERBOARD.md.

    python benchmarks/board.py [RUN_FILES]

Prints seconds and peak resident memory beside the limits (3 s, 500 MB for 10,000), exits 1 where one is broken.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "board"))

from board_factory import Factory  # noqa: E402

from harness.records.record import RunRecord, write_json  # noqa: E402
from harness.records.store import Store  # noqa: E402

LIMIT_S, LIMIT_BYTES = 3.0, 500e6
BUDGETS = ("smoke", "1M", "8M", "20M")
RENDER = """
import sys
from pathlib import Path

from harness.board import leaderboard
from harness.records.store import Store

leaderboard.write(Store(Path(sys.argv[1])))
"""


class QuickFactory(Factory):
    """Writes run files without waiting for the disk."""

    files = 0

    def write(self, run: RunRecord) -> None:
        self.files += 1
        path = self.store.run_path(run.evaluation, run.spec)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(write_json(run), encoding="utf-8")


def fill(store: Store, run_files: int) -> int:
    """Submissions of which half change nothing and the others gain up to three sd; returns the number of files."""
    rng = np.random.default_rng(7)
    factory = QuickFactory(store, defaults={"official": False})  # local rows: official ones also get a report each
    for budget in BUDGETS:
        factory.calibration(budget)
    while factory.files < run_files:
        effect = 0.0064 * float(rng.choice([0.0, 0.0, 1.0, 3.0]))
        pairs = 6 if effect == 0.0064 else 3
        decide = tuple((effect + 0.0064 * rng.standard_normal(pairs)).tolist())
        confirm = tuple((effect + 0.0064 * rng.standard_normal(4)).tolist()) if effect > 0.01 else ()
        budget = BUDGETS[factory.written % len(BUDGETS)]
        factory.evaluation(f"idea-{factory.written:05d}", decide, confirm, faster=0.01, budget=budget)
    return factory.files


def measure(folder: Path, program: str = RENDER) -> tuple[float, float]:
    """Wall time in seconds and peak resident bytes of a fresh interpreter that runs the program on a store."""
    started = time.perf_counter()
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", program, str(folder)], os.environ)
    _, status, usage = os.wait4(pid, 0)
    assert status == 0, "nothing could be written"
    return time.perf_counter() - started, usage.ru_maxrss * 1024


def main() -> None:
    run_files = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        files = fill(store, run_files)
        results = []
        for _ in range(3):
            (store.folder / "LEADERBOARD.md").unlink(missing_ok=True)
            results.append(measure(store.folder))
        seconds, peak = min(results)
        print(f"{files} run files of {len(store.evaluations())} evaluations, best of 3 fresh processes")
        print(f"time {seconds:.2f} s (limit {LIMIT_S} s)")
        print(f"peak memory {peak / 1e6:.0f} MB (limit {LIMIT_BYTES / 1e6:.0f} MB)")
        if run_files <= 10_000 and (seconds > LIMIT_S or peak > LIMIT_BYTES):
            sys.exit(1)


if __name__ == "__main__":
    main()
