"""`check --probe`: builds a submission's models, trains a small one of each kind for seconds and audits it, before
anything is raced.

Language models are trained on the control source, whose entropy is known: what scores below it has seen the future.
The others get their own data at the budget of the test suite. A probe that passes proves nothing; one that fails saves
a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.data import control
from harness.decide.failures import ENDED
from harness.errors import Fault, MachineError
from harness.records.record import AuditResult
from harness.rules import RULES
from harness.run import arms, host, judge
from harness.run.measure import measure_of
from harness.run.stage import Arm, StageError
from harness.submission.manifest import load_manifest
from harness.submission.patch import apply
from harness.tracks import TRACKS, TextTrack, Track, budget_named

_TINY = TRACKS["llm-tiny"]
assert isinstance(_TINY, TextTrack)
PROBED: dict[str, Track] = {
    "lm": _TINY,
    # there is no track of small experts to race on; the core has a preset of them
    "moe": replace(
        _TINY, name="small experts", module="moe", model="MoELM", preset="debug", vocab_size=49_152, row_tokens=128
    ),
    "flow": TRACKS["flow-tiny"],
    "vqvae": TRACKS["vqvae-tiny"],
    "multimodal": TRACKS["multimodal-tiny"],
}
CONTROL_TOKENS = {"lm": budget_named("smoke").tokens, "moe": budget_named("test").tokens}  # of the control source
Say = Callable[[str], None]


def probe(root: Path, folder: Path, say: Say) -> list[Fault]:
    """What the small models of a checked submission do wrong; nothing when they pass."""
    tracks = _tracks(load_manifest(folder).claims)
    faults = []
    with arms.fresh_folder(root / ".blueberry" / "work" / f"probe-{folder.name}") as work:
        cores = {folder.name: apply(root, folder, work / "patched")}
        with arms.built(work, cores) as built:
            for track in tracks:
                say(f"probing {track.name}")
                faults += _probed(built[folder.name], track, say)
    return faults


def _tracks(claims: Iterable[Any]) -> list[Track]:
    """The laptop-sized track of every kind of model that is claimed."""
    modules = {TRACKS[claim.track].module for claim in claims}
    return [PROBED[module] for module in PROBED if module in modules]


def _probed(arm: Arm, track: Track, say: Say) -> list[Fault]:
    where = f"{arm.name} on {track.name}"
    try:
        audits = _audited(arm, track, say)
    except StageError as error:
        if error.status in ENDED:
            raise MachineError(where, error.error, "see `blueberry doctor`; then run the same command again") from error
        rule = RULES[error.status.replace("_", "-")]
        return [Fault(rule.id, where, error.error, rule.fix)]
    broken = [audit for audit in audits if not audit.ok]
    return [
        Fault(audit.id, where, f"{audit.value:.4g} where the limit is {audit.limit:.4g}", RULES[audit.id].fix)
        for audit in broken
        if audit.id in RULES
    ]


def _audited(arm: Arm, track: Track, say: Say) -> tuple[AuditResult, ...]:
    """Trains, scores and audits one model."""
    measure, test = measure_of(track), budget_named("test")
    controlled = isinstance(track, TextTrack)
    tokens = CONTROL_TOKENS[track.module] if controlled else test.tokens
    prepared: Any = (
        control.prepare_control(track) if isinstance(track, TextTrack) else measure.prepare(track, None, say)
    )
    feed = measure.feed(prepared, track, 0, tokens, 1)
    trained = judge.train(arm, track, tokens, 0, feed, None, lambda *told: None)
    threads, fd = host.threads(), trained.checkpoint.fd
    try:
        asked = measure.held_out(prepared, track, test, "validation", "probe")
        scored = measure.score(arm, track, fd, asked, threads)
        checks = (trained.warm_up, *scored.checks)
        if controlled:
            least = control.floor(track.scored_tokens(test))
            checks += (AuditResult(id="too-good", ok=scored.loss >= least, value=scored.loss, limit=least),)
        if not all(check.ok for check in checks):
            return checks
        return (*checks, *measure.audit(arm, track, fd, asked, scored, None, 2 * test.audit_cuts, threads))
    finally:
        trained.checkpoint.close()
