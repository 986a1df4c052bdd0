from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from harness.progress import ProgressReporter
from tests.decide.conftest import make_run


def test_two_arms_that_are_scored_at_once_can_both_say_so_on_a_terminal() -> None:
    specs = [make_run(sub=sub, pair=0).spec for sub in (False, True)]
    with ProgressReporter(10, live=True) as reporter, ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda i: reporter.stage(specs[i % 2], "score"), range(400)))
        reporter.tick(specs[0], 4_096, 5.5, 2.0)
