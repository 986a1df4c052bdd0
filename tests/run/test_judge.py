"""The judge against workers that misbehave: real processes that speak the real protocol, badly."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from harness.confine import watch
from harness.data.prepare import PreparedData
from harness.data.stream import TokenStream
from harness.run import arms, host, judge, nll, sandbox, stage
from harness.run.saved import Saves
from harness.run.stage import Arm, StageError
from harness.tracks import track_named

TRACK = track_named("llm-tiny")
PREAMBLE = (
    f"DEVICE = {host.describe().accelerator!r}"
    + """
import json, os, struct, sys, time
sys.path.insert(0, os.path.dirname(__file__))
import wire
channel = wire.Channel(int(sys.argv[1]), int(sys.argv[2]))
checkpoint = f"/proc/self/fd/{sys.argv[3]}"
job = channel.receive()
facts = {"steps": 1, "batch_tokens": 512, "micro_batch": 2, "precision": "fp32", "fitted": False,
         "active_parameters": 3, "peak_memory_bytes": 1, "device": DEVICE, "warm_up": ["a", "a"]}
def ready(): channel.send({"kind": "ready", **facts})
def take(rows=2, tokens=256, points=()):
    channel.send({"kind": "take", "rows": rows, "tokens": tokens, "points": list(points)})
    answer = channel.receive()
    return None if answer["kind"] == "end" else channel.payload(answer, rows * (tokens + 1) * 2)
def raw(points):
    head = f'{{"kind": "take", "rows": 1, "tokens": 1, "points": {points}, "bytes": 0}}'.encode()
    os.write(int(sys.argv[2]), struct.pack("<I", len(head)) + head)
def tensor_file():
    head = json.dumps({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}).encode()
    return struct.pack("<Q", len(head)) + head + bytes(12)
def done(data=None):
    with open(checkpoint, "wb") as file: file.write(tensor_file() if data is None else data)
    channel.send({"kind": "done", **facts})
"""
)


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedData:
    from harness.data.shards import ShardWriter

    folder = tmp_path / "data"
    folder.mkdir()
    writer = ShardWriter(folder, "train", 1 << 20)
    writer.add(np.arange(40_000, dtype=np.uint16) % 4_096)
    writer.close()
    facts = {"data_id": "d", "source": "made up", "tokenizer": None, "vocab_size": 4_096, "overlap_unit": "tokens"}
    counts = {"tokens": {"train": 40_000}, "documents": {"train": 1}, "shards": {"train": 1}}
    return PreparedData(folder=folder, overlap={}, repeated=0, dropped=0, **facts, **counts)


def train(
    tmp_path: Path,
    prepared: PreparedData,
    body: str,
    patience_s: float = stage.PATIENCE_S,
    saves: Saves | None = None,
) -> judge.Trained:
    folder = tmp_path / "arm"
    folder.mkdir()
    shutil.copy(arms.HERE / "wire.py", folder)
    (folder / "worker.py").write_text(PREAMBLE + body)
    feed = nll.feed(prepared, TRACK, 1, 8_192, epochs=1)
    return judge.train(Arm("idea", folder, "p", patience_s), TRACK, 8_192, 1, feed, None, lambda *_: None, saves)


def failure(tmp_path: Path, prepared: PreparedData, body: str, patience_s: float = stage.PATIENCE_S) -> StageError:
    with pytest.raises(StageError) as caught:
        train(tmp_path, prepared, body, patience_s)
    return caught.value


def test_the_meter_ends_at_the_budget_whatever_is_asked_for(tmp_path: Path, prepared: PreparedData) -> None:
    body = "ready()\nn = 0\nwhile take() is not None: n += 1\nassert n == 16, n\ndone()"
    trained = train(tmp_path, prepared, body)
    assert trained.tokens_served == 8_192
    assert trained.model.parameters == 3, "counted in the checkpoint, not told by the worker"
    trained.checkpoint.close()


def test_a_request_that_would_overrun_the_budget_gets_nothing(tmp_path: Path, prepared: PreparedData) -> None:
    trained = train(tmp_path, prepared, "ready()\nassert take(33, 256) is None\ndone()")
    assert trained.tokens_served == 0
    trained.checkpoint.close()


def test_tokens_arrive_in_the_stream_s_order(tmp_path: Path, prepared: PreparedData) -> None:
    expected = TokenStream(prepared, 1, 8_192, 256).take(2, 256)
    assert expected is not None
    body = f"ready()\nassert take()[:20].hex() == {expected.astype('<u2').tobytes()[:20].hex()!r}\n"
    body += "while take() is not None: pass\ndone()"
    train(tmp_path, prepared, body).checkpoint.close()


def test_a_worker_that_never_stops_reporting_cannot_fill_the_run_file(tmp_path: Path, prepared: PreparedData) -> None:
    body = "ready()\nwhile take(rows=1, tokens=1, points=[(1, 8.0)] * 4) is not None: pass\ndone()"
    trained = train(tmp_path, prepared, body)
    assert trained.tokens_served == 8_192 and len(trained.curve) == judge.LONGEST_CURVE
    trained.checkpoint.close()


def test_what_a_worker_says_of_itself_after_the_clock_changes_nothing(tmp_path: Path, prepared: PreparedData) -> None:
    body = "ready()\nwhile take() is not None: pass\nfacts.update(fitted=True, batch_tokens=7, steps=9)\ndone()"
    trained = train(tmp_path, prepared, body)
    assert (trained.model.fitted, trained.model.batch_tokens, trained.model.steps) == (False, 512, 9)
    assert trained.host == host.describe(), "which machine it is, is the judge's to say"
    trained.checkpoint.close()


def test_half_a_character_in_an_error_can_still_be_written_down(tmp_path: Path, prepared: PreparedData) -> None:
    error = failure(tmp_path, prepared, "channel.send({'kind': 'failed', 'error': 'x' + chr(0xd800)})")
    assert error.error.encode("utf-8") and "x" in error.error


STATE = "channel.send({'kind': 'state'}, b'x' * 100)\n"


def test_a_state_is_taken_when_it_was_asked_for_and_once(tmp_path: Path, prepared: PreparedData) -> None:
    saves = Saves(tmp_path / "state", 0.0)
    body = f"ready()\ntake()\n{STATE}while take() is not None: pass\ndone()"
    train(tmp_path, prepared, body, saves=saves).checkpoint.close()
    latest = saves.latest()
    assert latest is not None and (latest.served, bytes(latest.raw)) == (512, b"x" * 100)


def test_a_state_that_was_asked_for_has_to_come(
    tmp_path: Path, prepared: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saving is on the clock: who leaves it out would be the faster for it."""
    monkeypatch.setattr(judge, "LATE_S", 0.0)
    with pytest.raises(StageError, match="was asked for its state and goes on without") as caught:
        train(tmp_path, prepared, "ready()\nwhile take() is not None: pass\ndone()", saves=Saves(tmp_path / "s", 0.0))
    assert caught.value.status == "crashed"


def test_a_state_has_to_hold_what_a_run_could_go_on_from(tmp_path: Path, prepared: PreparedData) -> None:
    with pytest.raises(StageError, match="saves a state of 9 bytes, from which no run could go on"):
        body = f"ready()\ntake()\n{STATE.replace('100', '9')}take()\n{STATE}while take() is not None: pass\ndone()"
        train(tmp_path, prepared, body, saves=Saves(tmp_path / "s", 0.0))


def test_a_train_loss_beyond_what_can_be_drawn_is_kept_as_the_largest(tmp_path: Path, prepared: PreparedData) -> None:
    told = "take(points=[(1, 1e308), (2, -1e308), (3, 8.123456)])"
    trained = train(tmp_path, prepared, f"ready()\n{told}\nwhile take() is not None: pass\ndone()")
    assert [loss for _, loss, _ in trained.curve] == [judge.LARGEST_TOLD, -judge.LARGEST_TOLD, 8.12346]
    trained.checkpoint.close()


@pytest.mark.parametrize(
    ("body", "saves", "says"),
    [
        (f"ready()\n{STATE}", Saves(Path("state"), 0.0), "'state' where take was due"),
        (f"ready()\ntake()\n{STATE}{STATE}", Saves(Path("state"), 0.0), "'state' where take was due"),
        (f"ready()\ntake()\n{STATE}", Saves(Path("state"), 600.0), "'state' where take was due"),
        (f"ready()\ntake()\n{STATE}", None, "'state' where take was due"),
        (f"ready()\ntake()\n{STATE}", Saves(Path("state"), 0.0, largest=99), "bytes = 100"),
    ],
)
def test_no_other_state_is_taken(
    tmp_path: Path, prepared: PreparedData, body: str, saves: Saves | None, says: str
) -> None:
    place = dataclasses.replace(saves, path=tmp_path / "state") if saves else None
    with pytest.raises(StageError) as caught:
        train(tmp_path, prepared, body, saves=place)
    assert caught.value.status == "crashed" and says in caught.value.error


@pytest.mark.parametrize("told", ["None", "['a', 'b']", "['a']", "[1, 1]", "'aa'"])
def test_a_warm_up_that_is_not_shown_to_have_left_nothing_is_refused(
    tmp_path: Path, prepared: PreparedData, told: str
) -> None:
    body = f"facts['warm_up'] = {told}\nready()\nwhile take() is not None: pass\ndone()"
    trained = train(tmp_path, prepared, body)
    assert (trained.warm_up.id, trained.warm_up.ok) == ("warm-up", False)
    trained.checkpoint.close()


def test_dead_parameters_are_what_the_worker_says_in_bounds(tmp_path: Path, prepared: PreparedData) -> None:
    for number, (told, share) in enumerate([("0.25", 0.25), ("2", None), ("'x'", None), ("True", None)]):
        body = f"facts['unmoved'] = {told}\nready()\nwhile take() is not None: pass\ndone()"
        folder = tmp_path / str(number)
        folder.mkdir()
        trained = train(folder, prepared, body)
        assert trained.model.unmoved == share
        trained.checkpoint.close()


MISBEHAVIOUR = [
    ("sys.exit(3)", "exited with 3"),
    ("print('last words'); sys.exit(1)", "last words"),
    ("ready(); done()", "'done' where take was due"),
    ("channel.send({'kind': 'x' * 60_000})", f"sent '{'x' * 40}' where ready was due"),
    ("channel.send({'kind': ['\\x1b[31m'] * 4})", "where ready was due"),
    ("ready(); take(rows=0)", "rows = 0"),
    ("ready(); take(rows=1 << 30)", "rows ="),
    ("ready(); take(rows=True)", "rows = True"),
    ("ready(); take(points=[['a', 'b']])", "not numbers"),
    ("ready(); raw('[[1e999, 1]]')", "not numbers"),
    ("ready(); raw('[[1, 1e999]]')", "out of bounds"),
    ("ready(); raw('[[1, NaN]]')", "NaN in a header"),
    ("ready(); take(points={'a': 1})", "not numbers"),
    ("ready(); take(points=[[-1, 8.0]])", "out of bounds"),
    ("os.write(int(sys.argv[2]), b'\\xff' * 64)", "a header of"),
    ("channel.send({'kind': 'failed', 'error': 'ValueError: so'})", "ValueError: so"),
    ("ready()\nwhile take() is not None: pass\ndone(b'')", "no checkpoint was written"),
    ("ready()\nwhile take() is not None: pass\ndone(b'\\x80\\x04pickle....')", "checkpoint cannot be used"),
    ("facts['steps'] = -1\nready()\nwhile take() is not None: pass\ndone()", "steps = -1"),
]


@pytest.mark.parametrize(("body", "said"), MISBEHAVIOUR, ids=[body[:40] for body, _ in MISBEHAVIOUR])
def test_misbehaviour_is_a_crash_of_the_run_with_one_line(
    tmp_path: Path, prepared: PreparedData, body: str, said: str
) -> None:
    error = failure(tmp_path, prepared, body)
    assert error.status == "crashed"
    assert said in error.error and "\n" not in error.error and len(error.error) < 1_100


def test_a_worker_that_stops_talking_and_lives_on_is_blamed(
    tmp_path: Path, prepared: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "ENDING_S", 0.5)
    error = failure(tmp_path, prepared, "os.close(int(sys.argv[1])); os.close(int(sys.argv[2])); time.sleep(30)")
    assert error.status == "crashed" and "went on" in error.error


@pytest.mark.skipif(sandbox.name() == "none", reason="without a sandbox nobody can say who killed it")
def test_a_worker_that_was_killed_for_nothing_that_it_used_is_run_again_and_not_blamed(
    tmp_path: Path, prepared: PreparedData
) -> None:
    assert failure(tmp_path, prepared, "os.kill(os.getpid(), 9)").status == "killed"


@pytest.mark.skipif(sandbox.name() == "none", reason="without a sandbox nothing bounds its memory")
def test_a_worker_that_takes_too_much_memory_is_blamed(
    tmp_path: Path, prepared: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "default_bounds", lambda: watch.Bounds(256 << 20, 64))
    error = failure(tmp_path, prepared, "held = []\nwhile True: held.append(bytearray(os.urandom(1 << 22)))")
    assert error.status == "crashed" and "memory" in error.error


def test_a_worker_that_trains_on_another_device_than_the_file_would_say_is_the_machine_s_fault(
    tmp_path: Path, prepared: PreparedData
) -> None:
    found = failure(tmp_path, prepared, "facts['device'] = 'an abacus'\nready()\ntake()")
    assert found.status == "infrastructure" and "an abacus" in found.error


def test_a_worker_that_never_gets_ready_is_timed_out(tmp_path: Path, prepared: PreparedData) -> None:
    assert failure(tmp_path, prepared, "time.sleep(60)", patience_s=0.5).status == "timed_out"


def test_a_worker_that_prints_without_end_does_not_fill_the_judge(tmp_path: Path, prepared: PreparedData) -> None:
    body = "sys.stdout.write('x' * 5_000_000); sys.stdout.flush(); sys.exit(1)"
    assert len(failure(tmp_path, prepared, body).error) < 1_000


def test_writing_after_the_clock_has_stopped_changes_nothing(tmp_path: Path, prepared: PreparedData) -> None:
    body = (
        "ready()\nwhile take() is not None: pass\nfile = open(checkpoint, 'r+b', buffering=0)\ndone()\n"
        "time.sleep(0.002)\nwhile True: file.seek(0); file.write(b'late')"
    )
    trained = train(tmp_path, prepared, body)
    assert b"late" not in os.pread(trained.checkpoint.fd, 1_000, 0)
    trained.checkpoint.close()
