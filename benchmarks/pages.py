"""How long the site takes with 500 submissions and 10,000 run files: from nothing, and when one submission changed.

    python benchmarks/pages.py [SUBMISSIONS RUN_FILES]

Each is a whole process that reads the store and writes the site; many pages are drawn on every core. Prints seconds
and peak resident memory beside the limits (180 s from nothing, 10 s after a change), exits 1 where one is broken.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from board import BUDGETS, QuickFactory, measure

from harness.records.store import Store

COLD_S, WARM_S = 180.0, 10.0
RENDER = """
import sys
from pathlib import Path

from harness.board import site
from harness.records.store import Store

site.write(Store(Path(sys.argv[1])))
"""


def fill(store: Store, submissions: int, run_files: int) -> int:
    """As many submissions, each with one evaluation of as many runs as it takes; returns the number of files."""
    rng = np.random.default_rng(7)
    factory = QuickFactory(store)
    for budget in BUDGETS:
        factory.calibration(budget)
    pairs = max(3, -(-(run_files - factory.files) // (2 * submissions)) - 4)
    for number in range(submissions):
        effect = 0.0064 * float(rng.choice([0.0, 1.0, 3.0]))
        decide = tuple((effect + 0.0064 * rng.standard_normal(pairs)).tolist())
        confirm = tuple((effect + 0.0064 * rng.standard_normal(4)).tolist())
        faster = float(0.05 * rng.standard_normal())
        budget = BUDGETS[number % len(BUDGETS)]
        factory.evaluation(f"idea-{number:05d}", decide, confirm, faster=faster, budget=budget)
    return factory.files


def timed(store: Store) -> tuple[float, str]:
    """Brings the site up to date; wall time, and that with processor time and the peak of one process in words."""
    before = os.times()
    wall, peak = measure(store.folder, RENDER)
    used = os.times()
    processor = used.children_user + used.children_system - before.children_user - before.children_system
    return wall, f"{wall:.1f} s, {processor:.1f} s of processor time, peak {peak / 1e6:.0f} MB"


def main() -> None:
    submissions, run_files = map(int, sys.argv[1:3] or (500, 10_000))
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        files = fill(store, submissions, run_files)
        print(f"{files} run files of {submissions} submissions, {len(os.sched_getaffinity(0))} cores")
        cold, cold_said = timed(store)
        print(f"from nothing: {cold_said} (limit {COLD_S:.0f} s)")
        QuickFactory(store, written=10 * submissions).evaluation("idea-00000", (0.0, 0.001, -0.001))
        warm, warm_said = timed(store)
        print(f"one submission changed: {warm_said} (limit {WARM_S:.0f} s)")
        if cold > COLD_S or warm > WARM_S:
            sys.exit(1)


if __name__ == "__main__":
    main()
