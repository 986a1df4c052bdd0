"""A billion tokens through meter, stream, wire and run file, to a worker that counts them and learns nothing."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from harness.data.prepare import PreparedData
from harness.data.shards import SHARD_TOKENS, ShardWriter
from harness.records.record import RunRecord, RunSpec
from harness.records.store import Store
from harness.run import arms, host
from harness.run.kept import CODE
from harness.run.race import Bench, race
from harness.run.stage import Arm
from harness.tracks import budget_named, track_named

TRACK = track_named("llm-tiny")
WORKER = (
    f"DEVICE = {host.describe().accelerator!r}"
    + """
import json, math, os, struct, sys
sys.path.insert(0, os.path.dirname(__file__))
import wire
channel = wire.Channel(int(sys.argv[1]), int(sys.argv[2]))
stage = channel.receive()["stage"]
facts = {"steps": 0, "batch_tokens": 2048, "micro_batch": 8, "precision": "fp32", "fitted": False,
         "active_parameters": 1, "peak_memory_bytes": 1, "device": DEVICE, "warm_up": ["a", "a"]}
channel.send({"kind": "ready", **facts})
counted = steps = 0
while stage == "train":
    points = [(counted, 8.0)] if steps % 4882 == 0 else []
    channel.send({"kind": "take", "rows": 8, "tokens": 256, "points": points})
    answer = channel.receive()
    if answer["kind"] == "end":
        head = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
        with open(f"/proc/self/fd/{sys.argv[3]}", "wb") as file:
            file.write(struct.pack("<Q", len(head)) + head + bytes(4))
        channel.send({"kind": "done", **facts, "steps": counted})  # tells the tokens that arrived
        break
    counted += len(channel.payload(answer, 8 * 257 * 2)) // 2 - 8
    steps += 1
while stage != "train":  # every token is as likely as any other
    header = channel.receive()
    if stage == "score":
        n = header["rows"] * (header["tokens"] - 1)
        channel.payload(header, header["rows"] * header["tokens"] * 2)
        channel.send({"kind": "scores"}, struct.pack("<f", -math.log(4096)) * n + bytes(n))
    else:
        channel.payload(header, header["rows"] * header["tokens"] * 2)
        channel.send({"kind": "logits"}, bytes(4 * 4096 * header["rows"]))
"""
)


class Silent:
    """A reporter for nobody."""

    def note(self, text: str) -> None: ...
    def opened(self, evaluation: str) -> None: ...
    def stage(self, spec: RunSpec, stage: str) -> None: ...
    def tick(self, spec: RunSpec, tokens: int, loss: float | None, seconds: float) -> None: ...
    def finished(self, record: RunRecord) -> None: ...


def memory(name: str) -> int:
    """VmRSS or VmHWM of this process, KiB."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


@pytest.fixture
def corpus(tmp_path: Path) -> PreparedData:
    """A billion synthetic tokens to train on, and held-out splits."""
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    tokens = {"train": 10**9 + SHARD_TOKENS, "validation": 140_000, "test": 140_000}
    shards = {}
    for split, count in tokens.items():
        writer = ShardWriter(folder, split, SHARD_TOKENS)
        for first in range(0, count, 1 << 20):
            writer.add(rng.integers(0, 4_096, min(1 << 20, count - first), dtype=np.uint16))
        writer.close()
        shards[split] = len(list(folder.glob(f"{split}-*.tokens.npy")))
    facts = {"data_id": "d", "source": "made up", "tokenizer": None, "vocab_size": 4_096, "overlap_unit": "tokens"}
    documents = dict.fromkeys(tokens, 1)
    return PreparedData(
        folder=folder, overlap={}, repeated=0, dropped=0, tokens=tokens, documents=documents, shards=shards, **facts
    )


@pytest.mark.long
def test_a_billion_tokens_reach_a_worker_and_a_run_file_to_the_token_in_flat_memory(
    tmp_path: Path, corpus: PreparedData, capsys: pytest.CaptureFixture[str]
) -> None:
    budget = budget_named("1B")
    folder = tmp_path / "arms" / "core"
    folder.mkdir(parents=True)
    (folder / "worker.py").write_text(WORKER)
    (folder / CODE).mkdir()  # which is kept with the weights
    shutil.copy(arms.HERE / "wire.py", folder)
    bench = Bench(
        store=Store(tmp_path / "store"),
        evaluation="counting",
        track=TRACK,
        budget=budget,
        data=corpus,
        secret="",
        arms={"core": Arm("core", folder, None)},
        work=tmp_path / "work",
        kept=tmp_path / "kept",
        before=frozenset(),
        micro_batch=None,
        epochs=1,
        reporter=Silent(),
    )
    terms = dict(arm="core", patch_sha=None, core_id="c", track=TRACK.name, budget="1B", tokens=budget.tokens)
    spec = RunSpec(**terms, seed=1, round="decide", pair=0, order=0, attempt=1, data_id="d")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = memory("VmRSS")

    race(bench, [spec])

    (record,) = bench.store.runs("counting")
    whole = budget.tokens // 2_048 * 2_048
    assert record.status == "completed" and record.model is not None and record.train_seconds
    assert record.tokens_served == whole == record.model.steps, "the judge's meter and the worker's own count"
    assert record.loss == pytest.approx(np.log(4_096))
    assert all(audit.ok for audit in record.audits)
    size = bench.store.run_path("counting", spec).stat().st_size
    grown = memory("VmHWM") - before
    with capsys.disabled():
        print(
            f"\n{whole:,} tokens at {whole / record.train_seconds / 1e6:.1f}M tokens/s, {grown / 1024:.0f} MiB at most"
        )
    assert size < 64 * 1024 and len(record.curve) == 101
    assert grown < 128 * 1024  # KiB; a shard is 16 MiB
