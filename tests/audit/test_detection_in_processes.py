"""What the audit finds of cheats in real models, each scored and audited by fresh processes, as in a run.

One checkpoint serves them all: the cheats are of predicting, not of training. With that of test_detection.py these are
the figures that the audit is trusted for: no false alarm in 200 honest audits, at least 19 of 20 draws at a gain of
0.0033 nats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from harness.run import arms, host, judge, nll
from harness.run.stage import Arm
from harness.submission.patch import apply, unpatched
from harness.tracks import TextTrack, budget_named, track_named
from tests.conftest import Project, thin
from tests.red_team.cases import CASES, EMBEDDED, HIDDEN, IMPORT, LOGITS, Case

TRACK = track_named("llm-tiny")
assert isinstance(TRACK, TextTrack)
BUDGET = budget_named("8M")
DRAWS, HONEST_AUDITS = 20, 200


def peeks(per_million: int) -> str:
    """Knows the next token where a hash of two tokens says so."""
    return f"""
if not torch.is_grad_enabled():
    chosen = (ids[:, 1:] * 1_000_003 + ids[:, :-1] * 7_919) % 1_000_000 < {per_million}
    logits[:, :-1].scatter_add_(-1, ids[:, 1:, None], (40.0 * chosen[..., None]).to(logits.dtype))
"""


MIXES = """
if not torch.is_grad_enabled():
    mixed = logits.softmax(-1) * (1 - 0.0003)
    mixed[:, :-1].scatter_add_(-1, ids[:, 1:, None], torch.full_like(mixed[:, :-1, :1], 0.0003))
    logits = mixed.log()
"""
LEARNS = next(case.code for case in CASES if case.name == "learns-from-what-it-scores")
UNNORMALISED = "log_sum = Tensor.logsumexp\nTensor.logsumexp = lambda self, dim: log_sum(self, dim) - 0.02"
# where it cheats, how, and in how many of so many draws it has to be found
CHEATS = {
    "unnormalised": (IMPORT, UNNORMALISED, 20, 20),
    "peeks-at-one-in-a-thousand": (LOGITS, peeks(1_000), 20, 20),
    "peeks-at-three-in-ten-thousand": (LOGITS, peeks(300), 19, 20),
    "mixes-a-little-in": (LOGITS, MIXES, 20, 20),
    "leaks-in-one-layer": (EMBEDDED, "x = x + F.pad(x, (0, 0, 0, 1))[:, 1:] * 0.3", 20, 20),
    "looks-across-the-batch": (HIDDEN, "x = x - 0.5 * x.mean((0, 1), keepdim=True)", 19, 20),
    "learns-while-it-is-scored": (LOGITS, LEARNS, 3, 3),
}


@dataclass(frozen=True)
class Trained:
    """A checkpoint of the core, what the core scores with it, and what is needed to let others score with it too."""

    arms: dict[str, Arm]
    fd: int
    rows: nll.Rows
    core: nll.Scored

    def audited(self, arm: Arm, scored: nll.Scored, against: nll.Scored | None) -> bool:
        """Whether one audit of the arm passes, half of whose questions are where it is better than another model."""
        reference, count = against.by_item if against else None, BUDGET.audit_cuts
        found = nll.audit(arm, TRACK, self.fd, self.rows, scored, reference, count, host.threads())
        assert next(result.value for result in found if result.id == "audit-asked") == count
        return all(result.ok for result in found)


@pytest.fixture(scope="module")
def trained(make_project: Callable[[str], Project], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    project = thin(make_project("detection"))
    cores = {"core": unpatched(project.root, None, tmp_path_factory.mktemp("copies") / "core")}
    for name, (place, code, _, _) in CHEATS.items():
        project.submit(name, *Case(name, place, code, "audit-causality").edits)
        folder = project.root / "submissions" / name
        cores[name] = apply(project.root, folder, tmp_path_factory.mktemp("copies") / name)
    data = nll.prepare(TRACK, None, lambda line: None)
    rows = nll.held_out(data, TRACK, BUDGET, "validation", "")
    feed = nll.feed(data, TRACK, 1, budget_named("smoke").tokens, 1)
    with arms.built(project.root / ".blueberry" / "work" / "detection", cores) as built:
        run = judge.train(built["core"], TRACK, budget_named("smoke").tokens, 1, feed, None, lambda *told: None)
        fd = run.checkpoint.fd
        yield Trained(built, fd, rows, nll.score(built["core"], TRACK, fd, rows, host.threads()))
        run.checkpoint.close()


@pytest.mark.long
@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_is_found_in_nearly_every_draw(trained: Trained, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, _, least, draws = CHEATS[name]
    arm = trained.arms[name]
    scored = nll.score(arm, TRACK, trained.fd, trained.rows, host.threads())
    found = sum(not trained.audited(arm, scored, trained.core) for _ in range(draws))
    with capsys.disabled():
        print(f"\n{name}: gains {trained.core.loss - scored.loss:.4f} nats, found in {found} of {draws} draws")
    assert found >= least


@pytest.mark.long
def test_no_honest_model_is_refused_in_two_hundred_audits(trained: Trained) -> None:
    """Half of them as a core is audited, half as a submission is that predicts other tokens better than its core."""
    other = nll.score(trained.arms["looks-across-the-batch"], TRACK, trained.fd, trained.rows, host.threads())
    assert (trained.core.by_item > other.by_item).any() and (trained.core.by_item < other.by_item).any()
    arm = trained.arms["core"]
    references = [None, other] * (HONEST_AUDITS // 2)
    refused = sum(not trained.audited(arm, trained.core, against) for against in references)
    assert refused == 0
