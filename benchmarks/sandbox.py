"""What the sandbox costs: the start of a worker, `import torch`, and training, in every backend that works here.

Run as `python benchmarks/sandbox.py`; starts are the median of 20, trainings of 65,536 tokens go round the backends and
are told as ratios to the time without a sandbox in the same round. Writes benchmarks/results/sandbox.json.
"""

from __future__ import annotations

import functools
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.run import arms, judge, sandbox
from harness.run.measure import measure_of
from harness.submission.patch import unpatched
from harness.submission.root import find_root
from harness.tracks import budget_named, track_named

RESULT = Path(__file__).parent / "results" / "sandbox.json"
STARTS, ROUNDS = 20, 3
NOTHING, TORCH = "pass\n", "import torch\n"


def backends() -> list[sandbox.Backend]:
    return ["none", *(backend for backend, trouble in sandbox.examined() if not trouble)]


def started(program: str, backend: sandbox.Backend) -> float:
    """Seconds from the launch of a program to its end."""
    with tempfile.TemporaryDirectory(prefix="blueberry-cost-") as outside:
        folder = Path(outside) / "arm"
        folder.mkdir()
        Path(outside).chmod(0o755)
        (folder / "worker.py").write_text(program)
        begun = time.perf_counter()
        worker = sandbox.launch(folder, (), 1, backend=backend)
        worker.process.wait()
        seconds = time.perf_counter() - begun
        assert worker.kill() == 0, worker.printed
    return seconds


@contextmanager
def within(backend: sandbox.Backend) -> Iterator[None]:
    """Every worker of the block in this backend."""
    launch = sandbox.launch
    sandbox.launch = functools.partial(launch, backend=backend)
    try:
        yield
    finally:
        sandbox.launch = launch


def trained(root: Path, backend: sandbox.Backend) -> float:
    """Seconds by the judge's clock for the core at the smoke budget."""
    track, budget = track_named("llm-tiny"), budget_named("smoke")
    measure = measure_of(track)
    prepared = measure.prepare(track, None, print)
    with tempfile.TemporaryDirectory() as place, within(backend):
        Path(place).chmod(0o755)
        with arms.built(Path(place), {"core": unpatched(root, None, Path(place) / "core")}) as built:
            feed = measure.feed(prepared, track, 0, budget.tokens, 1)
            done = judge.train(built["core"], track, budget.tokens, 0, feed, None, lambda *told: None)
            done.checkpoint.close()
    return done.seconds


def main() -> None:
    root, found = find_root(Path.cwd()), {}
    for backend in backends():
        starts = {
            name: statistics.median(started(program, backend) for _ in range(STARTS if program == NOTHING else 5))
            for name, program in (("start", NOTHING), ("import torch", TORCH))
        }
        found[backend] = {f"{name}, s": round(seconds, 3) for name, seconds in starts.items()}
    rounds = [{backend: trained(root, backend) for backend in backends()} for _ in range(ROUNDS)]
    for backend in backends():
        ratios = [one[backend] / one["none"] for one in rounds]
        found[backend]["training time, ratio"] = round(statistics.median(ratios), 4)
        found[backend]["of all rounds"] = [round(ratio, 4) for ratio in ratios]
        print(backend, found[backend])
    RESULT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
