"""Trains the core's visual tokenizer once and keeps it, so that the losses of captioned tracks stay comparable.

The same processes as in any run: the judge serves and scores, a worker trains. harness/data/visual.py reads what is
kept here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from harness.data.images import PreparedImages
from harness.data.visual import FROZEN, Frozen
from harness.errors import MachineError, UsageError
from harness.records.atomic import write_atomically
from harness.records.record import RunSpec
from harness.run import arms, host, judge, reconstruction
from harness.run.race import Reporter
from harness.run.stage import Arm, StageError
from harness.submission.patch import unpatched
from harness.tracks import Budget, ImageTrack, Track

SEED = 0  # fixed: the same command gives the same tokenizer on the same kind of machine


@dataclass(frozen=True)
class Freezing:
    """What is trained, and on what."""

    root: Path
    track: ImageTrack
    budget: Budget
    data: PreparedImages
    epochs: int


def freeze(root: Path, track: Track, budget: Budget, data: str | None, epochs: int, reporter: Reporter) -> Frozen:
    """Trains, scores on validation and writes weights and facts into harness/data/frozen/.

    Raises UsageError for a track that is no visual tokenizer's, MachineError when the core cannot be trained here.
    """
    if not isinstance(track, ImageTrack) or track.metric != "reconstruction":
        raise UsageError(f"--track {track.name}", "is no visual tokenizer", "choose vqvae-tiny or vqvae")
    folder = root / "harness" / "data" / "frozen"  # of this clone
    if (root / "harness" / "__init__.py").exists() and folder.resolve() != FROZEN.resolve():
        fix = f"`make setup` in {root}, and its own .venv/bin/blueberry"
        raise UsageError(str(root), f"the harness that runs is another clone's, and would read {FROZEN}", fix)
    prepared = reconstruction.prepare(track, data, reporter.note)
    reconstruction.check_budget(prepared, track, budget.tokens, epochs)
    freezing = Freezing(root, track, budget, prepared, epochs)
    with arms.fresh_folder(root / ".blueberry" / "work" / f"freeze-{track.name}") as work:
        cores = {"core": unpatched(root, None, work / "core")}
        with arms.built(work, cores) as built:
            try:
                content, frozen = _trained(freezing, built["core"], reporter)
            except StageError as error:
                fix = "mend the core or the machine (`blueberry doctor`)"
                raise MachineError(track.name, f"the tokenizer cannot be trained here: {error}", fix) from error
    write_atomically(folder / f"{track.name}.safetensors", content)
    write_atomically(folder / f"{track.name}.json", frozen.model_dump_json(indent=1) + "\n")
    return frozen


def _trained(freezing: Freezing, arm: Arm, reporter: Reporter) -> tuple[bytes, Frozen]:
    """The weights as a safetensors file, and what is to be known of them."""
    track, data, tokens = freezing.track, freezing.data, freezing.budget.tokens
    spec = RunSpec(
        arm="core",
        patch_sha=None,
        core_id=arms.track_core_id(freezing.root, track),
        track=track.name,
        budget=freezing.budget.name,
        tokens=tokens,
        seed=SEED,
        round="calibrate",
        pair=0,
        order=0,
        attempt=1,
        data_id=data.data_id,
    )
    feed = reconstruction.feed(data, track, SEED, tokens, freezing.epochs)
    reporter.stage(spec, "train")
    seed = host.worker_seed("", SEED, 0)
    trained = judge.train(arm, track, tokens, seed, feed, None, lambda *told: reporter.tick(spec, *told))
    sealed = trained.checkpoint
    try:
        asked = reconstruction.held_out(data, track, freezing.budget, "validation", "")
        scored = reconstruction.score(arm, track, sealed.fd, asked, host.threads())
        content = os.pread(sealed.fd, os.fstat(sealed.fd).st_size, 0)
    finally:
        sealed.close()
    frozen = Frozen(
        track=track.name,
        core_id=spec.core_id,
        data_id=data.data_id,
        tokens=trained.tokens_served,
        seed=SEED,
        sha256=sealed.sha256,
        loss=scored.loss,
        codes_in_use=scored.codes_in_use,
        perplexity=scored.perplexity,
    )
    return content, frozen
