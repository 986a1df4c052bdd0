from __future__ import annotations

import os
from pathlib import Path

from harness.run import host


def test_processors_of_one_name_and_different_instructions_are_different_classes() -> None:
    flags = set(Path("/proc/cpuinfo").read_text().split())
    known = [name for flag, name in host.INSTRUCTION_SETS.items() if flag in flags]
    named = host.describe().host_class
    assert f"{len(os.sched_getaffinity(0))} threads" in named
    if known:
        assert f"with {known[0]}," in named


def test_a_worker_never_sees_the_seed_of_its_run() -> None:
    seen = {host.worker_seed("salt", seed, key) for seed in range(100) for key in (0, 1)}
    assert len(seen) == 200 and not seen & set(range(100))
