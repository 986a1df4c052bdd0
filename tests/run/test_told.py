"""What a worker is told of its run: the job of every stage of every track, with nothing in it that helps a cheat."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.data.captioned import layout_of
from harness.run import captions, checkpoint, host, images, judge, nll, race, reconstruction, seeds, stage, velocity
from harness.run.measure import measure_of
from harness.run.stage import Arm, StageError
from harness.tracks import TRACKS, CaptionTrack, ImageTrack, Track
from tests.decide.conftest import make_run
from tests.run.test_race import bench_at

SALT = "5a17" * 16
SPEC = make_run(sub=True, pair=0, seed=3_141_592_653).spec
MODEL = {"stage", "metric", "module", "model", "preset", "method", "threads"}
KEYS = {
    "train": {*MODEL, "resumes", "seed", "budget_tokens", "micro_batch", "row_tokens", "image"},
    "score": MODEL,
    "audit": MODEL,
    "answer": {*MODEL, "inputs", "answer"},
}


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The jobs of all workers that are asked for; none is started."""
    told: list[dict[str, Any]] = []

    @contextlib.contextmanager
    def started(arm: Arm, job: dict[str, Any], fd: int, threads: int) -> Iterator[Any]:
        told.append({**job, "threads": threads})
        raise StageError("crashed", "not started")
        yield

    monkeypatch.setattr(stage, "started", started)
    return told


def hold_nothing(jobs: list[dict[str, Any]], folder: Path) -> None:
    """No seed of the run, no salt or digest of it, no path, and no word that nobody has thought about."""
    for job in jobs:
        assert set(job) <= KEYS[job["stage"]]
        text = json.dumps(job)
        for secret in (SALT, SALT[:16], seeds.digest(SALT), str(SPEC.seed), f"{SPEC.seed:x}", str(folder), os.sep):
            assert secret not in text


def feed_of(track: Track) -> Any:
    stream: Any = SimpleNamespace(row_tokens=9, served=0)
    if isinstance(track, ImageTrack):
        return images.Feed(stream, (track.channels, track.size, track.size))
    return captions.Feed(stream) if isinstance(track, CaptionTrack) else nll.Feed(stream)


@pytest.mark.parametrize("name", TRACKS)
def test_a_training_worker_is_told_no_seed_of_its_run_no_salt_and_no_path(
    name: str, jobs: list[dict[str, Any]], tmp_path: Path
) -> None:
    arms = {"idea": Arm("idea", tmp_path, "p")}
    run = race._Run(SPEC, "")
    race._train(bench_at(tmp_path, track=TRACKS[name], secret=SALT, arms=arms), run, feed_of(TRACKS[name]))
    assert run.failure is not None and run.failure.error == "not started"
    judge.rehearse(arms["idea"], TRACKS[name])
    assert [job["seed"] for job in jobs] == [host.worker_seed(SALT, SPEC.seed, 0), 0], "made of both, and of no use"
    hold_nothing(jobs, tmp_path)


def questions(track: Track) -> tuple[Any, Any]:
    """Held-out data of a track's form, and what could have been committed to."""
    rows = np.zeros((4, 9), np.uint16)
    scores, hits, errors = np.zeros((4, 8), np.float32), np.zeros((4, 8), np.uint8), np.ones(4)
    if isinstance(track, CaptionTrack):
        return rows, captions.Scored(scores, hits, rows[:, 1:], layout_of(track))
    if not isinstance(track, ImageTrack):
        return rows, nll.Scored(scores, hits)
    pictures = np.zeros((4, track.channels, track.size, track.size), np.float32)
    if track.metric == "reconstruction":
        return pictures, reconstruction.Scored(errors, np.zeros((4, track.image_tokens), np.uint16), track.n_codes)
    t = np.zeros(4, np.float32)
    return velocity.Questions(pictures, t, np.zeros(4, np.int64), pictures), velocity.Scored(errors, t, t > 0)


@pytest.mark.parametrize("name", TRACKS)
def test_workers_that_are_scored_and_audited_are_told_no_more_than_where_their_model_is(
    name: str, jobs: list[dict[str, Any]], tmp_path: Path
) -> None:
    track, arm, fd = TRACKS[name], Arm("idea", tmp_path, "p"), checkpoint.create()
    measure: Any = measure_of(track)
    asked, scored = questions(track)
    with pytest.raises(StageError, match="not started"):
        measure.score(arm, track, fd, asked, 1)
    with pytest.raises(StageError, match="not started"):
        measure.audit(arm, track, fd, asked, scored, None, 4, 1)
    if isinstance(track, ImageTrack) and track.metric == "reconstruction":
        with pytest.raises(StageError, match="not started"):
            reconstruction.decoded(arm, track, fd, scored.codes, 4, 1)
    os.close(fd)
    assert len(jobs) >= 2
    hold_nothing(jobs, tmp_path)
