"""The measure of captioned tracks against workers that are honest and that are not: real processes, no torch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.data.captioned import layout_of
from harness.data.captions import NO_TOKEN
from harness.run import arms, captions
from harness.run.stage import Arm
from harness.tracks import TRACKS, CaptionTrack

TINY = TRACKS["multimodal-tiny"]
assert isinstance(TINY, CaptionTrack)
TRACK = replace(TINY, score_rows=16)
LAYOUT = layout_of(TRACK)
# A model that knows the layout and nothing else: what follows a marker or the end, and even odds of all that may come.
PREAMBLE = """
import os, sys
sys.path.insert(0, os.path.dirname(__file__))
import numpy as np
import wire
channel = wire.Channel(int(sys.argv[1]), int(sys.argv[2]))
job = channel.receive()
channel.send({"kind": "ready"})
TEXT, START, END, CODE, ALL = 32, 32, 33, 34, 162
def rows_of(header):
    raw = channel.payload(header, header["rows"] * header["tokens"] * 2)
    return np.frombuffer(raw, "<u2").reshape(header["rows"], header["tokens"])
def logits_of(ids):
    logits = np.full((*ids.shape, ALL), -20.0, np.float32)
    begun = np.cumsum(ids == START, axis=1)
    logits[begun == 0] = np.where(np.arange(ALL) <= START, 0.0, -20.0)
    logits[begun == 1] = np.where(np.arange(ALL) >= END, 0.0, -20.0)
    return logits
def normalised(logits): return logits - np.log(np.exp(logits).sum(-1, keepdims=True))
def score(ids, logits):
    scores = np.take_along_axis(normalised(logits), ids[:, 1:, None].astype(int), -1)[..., 0].astype("<f4")
    hits = (logits.argmax(-1) == ids[:, 1:]).astype(np.uint8)
    channel.send({"kind": "scores"}, scores.tobytes() + hits.tobytes())
def audit(ids, logits, cuts):
    channel.send({"kind": "logits"}, logits[np.arange(len(cuts)), cuts].astype("<f4").tobytes())
"""
HONEST = """
while True:
    header = channel.receive()
    ids = rows_of(header)
    assert ids.max() < ALL, "what fills a row is nothing that a model can read"
    if job["stage"] == "score": score(ids, logits_of(ids[:, :-1]))
    else: audit(ids, logits_of(ids), header["cuts"])
"""
PEEKS_AT_CODES = """
while True:
    header = channel.receive()
    ids = rows_of(header)
    def seeing(ids):
        logits = logits_of(ids)
        after = np.concatenate((ids[:, 1:], ids[:, -1:]), 1)
        rows, columns = np.nonzero(after >= CODE)
        logits[rows, columns, after[rows, columns]] += 1.0
        return logits
    if job["stage"] == "score": score(ids, seeing(ids)[:, :-1])
    else: audit(ids, seeing(ids), header["cuts"])
"""


@pytest.fixture
def checkpoint() -> Iterator[int]:
    fd = os.memfd_create("checkpoint")
    os.write(fd, b"weights")
    yield fd
    os.close(fd)


@pytest.fixture
def rows() -> NDArray[np.uint16]:
    rng = np.random.default_rng(0)
    texts = [rng.integers(3, 32, rng.integers(0, LAYOUT.caption_tokens + 1)).tolist() for _ in range(60)]
    return LAYOUT.rows(texts, rng.integers(0, 128, (60, 16)).astype(np.uint16), bos=0, eos=1)


def arm(tmp_path: Path, body: str) -> Arm:
    folder = tmp_path / "arm"
    folder.mkdir()
    shutil.copy(arms.HERE / "wire.py", folder)
    (folder / "worker.py").write_text(PREAMBLE + body)
    return Arm("idea", folder, "p")


def test_the_loss_is_of_what_is_there_and_captions_and_images_are_told_apart(
    tmp_path: Path, checkpoint: int, rows: NDArray[np.uint16]
) -> None:
    scored = captions.score(arm(tmp_path, HONEST), TRACK, checkpoint, rows, 1)
    counted = (rows[:, 1:] != NO_TOKEN).sum(1)
    assert len(set(counted.tolist())) > 3, "rows of many lengths"
    words = ((rows[:, 1:] != NO_TOKEN) & (rows[:, 1:] < 32)).sum() - len(rows)  # EOS is no word
    text, image = np.log(33), np.log(129)  # 32 words and the marker; 128 codes and the marker
    last = np.log(129 * 1.0) + 20.0  # EOS after the codes: what this model thinks impossible
    expected = (words + 60) * text + (60 * 17) * image + 60 * last
    assert scored.loss == pytest.approx(expected / counted.sum(), rel=1e-4)
    details = scored.metrics.details
    assert details["nats per caption token"] == pytest.approx(text, rel=1e-4)
    assert details["nats per image token"] == pytest.approx(image, rel=1e-4)
    assert details["scored tokens"] == counted.sum()
    assert all(result.ok for result in scored.checks)


def test_an_honest_model_passes_its_audit_and_no_cut_is_behind_the_end(
    tmp_path: Path, checkpoint: int, rows: NDArray[np.uint16]
) -> None:
    idea = arm(tmp_path, HONEST)
    scored = captions.score(idea, TRACK, checkpoint, rows, 1)
    reference = scored.by_item - np.random.default_rng(1).random(scored.by_item.shape, np.float32)
    for against in (None, reference):
        results = captions.audit(idea, TRACK, checkpoint, rows, scored, against, 60, 1)
        assert all(result.ok for result in results)


def test_a_model_that_reads_the_next_code_is_found(tmp_path: Path, checkpoint: int, rows: NDArray[np.uint16]) -> None:
    idea = arm(tmp_path, PEEKS_AT_CODES)
    scored = captions.score(idea, TRACK, checkpoint, rows, 1)
    assert scored.metrics.details["nats per image token"] < np.log(129) - 0.5, "the leak pays"
    results = captions.audit(idea, TRACK, checkpoint, rows, scored, None, 60, 1)
    assert not all(result.ok for result in results)
