"""How much one prediction of an honest model differs when a fresh process is asked for it again: what the tolerances of
the audit (`audit_tolerance` in harness/tracks.py) have to leave room for.

Run as `python benchmarks/tolerances.py [CASE ...]`, without a case for all; a case is TRACK-PRECISION or
TRACK-PRECISION-compiled, as they are listed. Each trains a core at the budget of the test suite and then scores and
audits it as a run does, in real workers. Writes benchmarks/results/tolerances.json, a case at a time.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from harness.records.atomic import write_atomically
from harness.run import arms, host, judge
from harness.run.measure import measure_of
from harness.run.probe import PROBED
from harness.submission.patch import unpatched
from harness.submission.root import find_root
from harness.tracks import Track, budget_named, track_named

RESULT = Path(__file__).parent / "results" / "tolerances.json"
BUDGET = budget_named("test")
QUESTIONS = 256
PRECISIONS = ("fp32", "bf16")
RESOLVE = '    if precision != "auto":\n        return precision\n'
EAGER = "compile=False,"
MOE = replace(PROBED["moe"], name="moe-debug")
TRACKS = {
    track.name: track for track in (*map(track_named, ("llm-tiny", "flow-tiny", "vqvae-tiny", "multimodal-tiny")), MOE)
}


@dataclass(frozen=True)
class Case:
    """A core, the precision that it computes in, and whether it is compiled."""

    track: Track
    precision: str
    compiled: bool

    @property
    def name(self) -> str:
        return f"{self.track.name}-{self.precision}" + ("-compiled" if self.compiled else "")

    def edit(self, core: Path) -> None:
        """Writes precision and compilation into a copy of the core, as a patch would."""
        self._replace(core / "train.py", RESOLVE, f"    return {self.precision!r}\n")
        if self.compiled:
            self._replace(core / f"{self.track.module}.py", EAGER, "compile=True,")

    def _replace(self, path: Path, old: str, new: str) -> None:
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path.name}"
        path.write_text(text.replace(old, new))


def cases() -> Iterator[Case]:
    """What can be measured here; the core does not compile its experts."""
    for track in TRACKS.values():
        for precision in PRECISIONS:
            yield Case(track, precision, False)
            if track is not MOE:
                yield Case(track, precision, True)


def measured(case: Case) -> dict[str, float | str]:
    """The largest difference among the audited predictions, their weighted mean, the share of equal ones, and where."""
    measure, track = measure_of(case.track), case.track
    source = track_named("llm-tiny") if track is MOE else track
    data = measure.prepare(source, None, lambda line: print(line, file=sys.stderr))
    with tempfile.TemporaryDirectory(prefix="blueberry-tolerances-") as outside:
        Path(outside).chmod(0o755)
        core = unpatched(find_root(Path.cwd()), None, Path(outside) / "copy")
        case.edit(core.folder)
        with arms.built(Path(outside), {"core": core}) as built:
            feed = measure.feed(data, track, 1, BUDGET.tokens, 1)
            trained = judge.train(built["core"], track, BUDGET.tokens, 1, feed, None, lambda *told: None)
            fd, threads = trained.checkpoint.fd, host.threads()
            asked = measure.held_out(data, track, BUDGET, "validation", "tolerances")
            scored = measure.score(built["core"], track, fd, asked, threads)
            found = measure.audit(built["core"], track, fd, asked, scored, None, QUESTIONS, threads)
            trained.checkpoint.close()
    assert trained.model.precision == case.precision
    largest, mean, _, equal = found
    values = {"largest": largest.value, "mean": mean.value, "equal": equal.value, "tolerance": largest.limit}
    return {"host": host.describe().host_class, **values}


def main() -> None:
    chosen = sys.argv[1:]
    known = {case.name: case for case in cases()}
    for name in chosen or known:
        found = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        found[name] = measured(known[name])
        write_atomically(RESULT, json.dumps(found, indent=1, sort_keys=True) + "\n")
        print(f"{name:32s} {found[name]}")


if __name__ == "__main__":
    main()
