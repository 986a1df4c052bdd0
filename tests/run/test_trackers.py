"""What trackers are told, read back by their own readers; and that none of them can harm a run."""

from __future__ import annotations

import struct
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from harness.decide.cells import judge_cell
from harness.errors import UsageError
from harness.records.record import RunRecord, RunSpec
from harness.run import trackers
from harness.run.evaluate import Outcome
from harness.run.trackers import Place, TensorBoard, TrackedReporter, WandB, chosen
from tests.decide.conftest import make_evaluation, make_run, make_runs

SEED = 987_654_321
CURVE = ((2_048, 7.5, 1.5), (4_096, 6.25, 3.0), (8_192, 5.5, 6.0))


class People:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def note(self, text: str) -> None:
        self.heard.append(text)

    def opened(self, evaluation: str) -> None:
        self.heard.append(f"opened {evaluation}")

    def stage(self, spec: RunSpec, stage: str) -> None:
        self.heard.append(stage)

    def tick(self, spec: RunSpec, tokens: int, loss: float | None, seconds: float) -> None:
        self.heard.append(f"tick {tokens}")

    def finished(self, record: RunRecord) -> None:
        self.heard.append(f"finished {record.spec.arm}")


class Broken:
    def write(self, place: Place, step: int, values: Mapping[str, float], words: Mapping[str, str]) -> None:
        raise ConnectionError("no route to host")

    def end(self, place: Place) -> None: ...


class Hanging(Broken):
    def write(self, place: Place, step: int, values: Mapping[str, float], words: Mapping[str, str]) -> None:
        threading.Event().wait()


def finished(*, sub: bool) -> RunRecord:
    run = make_run(sub=sub, pair=2)
    spec = run.spec.model_copy(update={"seed": SEED})
    metrics = run.metrics.model_copy(update={"accuracy": 0.25, "details": {"hits": 3.0}})
    changes: dict[str, Any] = {"spec": spec, "loss": 4.75, "curve": CURVE, "metrics": metrics, "tokens_served": 8_192}
    return run.model_copy(update={**changes, "evaluation": "e", "train_seconds": 6.5})


def told(reporter: TrackedReporter, record: RunRecord) -> None:
    """A run, as the judge tells it: the last point of its curve comes after the last request for tokens."""
    reporter.stage(record.spec, "train")
    reporter.tick(record.spec, 0, None, 0.0)
    for tokens, loss, seconds in record.curve[:-1]:
        for late in (0, 512):  # several requests between two points of the curve
            reporter.tick(record.spec, tokens + late, loss, seconds)
    reporter.finished(record)


def decided() -> Outcome:
    evaluation, runs = make_evaluation(id="e"), make_runs([0.03] * 4)
    runs = tuple(run.model_copy(update={"tokens_served": 8_192}) for run in runs)
    return Outcome(evaluation, runs, (judge_cell(evaluation, runs, "loss"),))


def read(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def test_tensorboard_reads_back_curve_result_and_verdict(tmp_path: Path) -> None:
    core, idea = finished(sub=False), finished(sub=True)
    with TrackedReporter(People(), {"tensorboard": TensorBoard(tmp_path)}) as reporter:
        reporter.opened("e")
        told(reporter, core)
        told(reporter, idea)
        outcome = decided()
        reporter.decided(outcome)

    for record in (core, idea):
        run = read(tmp_path / ".blueberry" / "tensorboard" / "e" / record.spec.arm / "decide-pair-03")
        assert [(event.step, event.value) for event in run.Scalars("train/loss")] == [t[:2] for t in CURVE]
        assert [event.value for event in run.Scalars("train/seconds")] == [1.5, 3.0, 6.0]
        final = {name: run.Scalars(f"final/{name}")[0] for name in ("loss", "accuracy", "hits", "train_seconds")}
        assert {event.step for event in final.values()} == {8_192}
        assert [event.value for event in final.values()] == [4.75, 0.25, 3.0, 6.5]
    verdict = read(tmp_path / ".blueberry" / "tensorboard" / "e" / outcome.evaluation.slug / "verdict")
    (cell,) = outcome.cells
    assert verdict.Scalars("verdict/loss/gain")[0].value == pytest.approx(cell.gain)
    assert verdict.Scalars("verdict/loss/accepted")[0].value == 1.0 and cell.verdict == "ACCEPT_LOSS"
    assert verdict.Scalars("verdict/loss/pairs")[0].step == 8 * 8_192
    assert b"ACCEPT_LOSS" in verdict.Tensors("verdict/loss")[0].tensor_proto.string_val[0]


def test_no_tracker_learns_a_seed(tmp_path: Path) -> None:
    heard: list[tuple[object, ...]] = []

    class Listening(Broken):
        def write(self, *what: object) -> None:
            heard.append(what)

    with TrackedReporter(People(), {"listening": Listening()}) as reporter:
        reporter.opened("e")
        told(reporter, finished(sub=True))
    assert len(heard) == 3 and str(SEED) not in repr(heard)


def test_a_tracker_that_fails_is_left_out_and_harms_neither_the_run_nor_the_others(tmp_path: Path) -> None:
    people, record = People(), finished(sub=True)
    with TrackedReporter(people, {"broken": Broken(), "tensorboard": TensorBoard(tmp_path)}) as reporter:
        reporter.opened("e")
        told(reporter, record)
    failures = [line for line in people.heard if "broken" in line]
    assert failures == ["broken failed and is left out from here on: ConnectionError: no route to host"]
    assert f"finished {record.spec.arm}" in people.heard and people.heard.count("tick 2048") == 1
    run = read(tmp_path / ".blueberry" / "tensorboard" / "e" / record.spec.arm / "decide-pair-03")
    assert len(run.Scalars("train/loss")) == 3


def test_a_tracker_that_hangs_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "ENDING_S", 0.1)
    people = People()
    with TrackedReporter(people, {"hanging": Hanging()}) as reporter:
        told(reporter, finished(sub=True))
    assert people.heard[-1] == "hanging did not finish within 0 s and may lack the end"


def test_a_run_that_is_cut_off_leaves_what_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "INTERRUPTED_S", 60.0)
    record = finished(sub=True)
    with pytest.raises(KeyboardInterrupt), TrackedReporter(People(), {"t": TensorBoard(tmp_path)}) as reporter:
        reporter.opened("e")
        reporter.tick(record.spec, 2_048, 7.5, 1.5)
        raise KeyboardInterrupt
    run = read(tmp_path / ".blueberry" / "tensorboard" / "e" / record.spec.arm / "decide-pair-03")
    assert [event.step for event in run.Scalars("train/loss")] == [2_048]


def test_another_attempt_and_another_initialisation_are_runs_of_their_own() -> None:
    spec = finished(sub=True).spec
    changed = [spec, spec.model_copy(update={"attempt": 2}), spec.model_copy(update={"init_key": 1})]
    assert [Place.of("e", one).run for one in changed] == [
        "decide-pair-03",
        "decide-pair-03-attempt-2",
        "decide-pair-03-rekeyed",
    ]


def test_what_an_earlier_command_decided_is_not_told_again(tmp_path: Path) -> None:
    with TrackedReporter(People(), {"tensorboard": TensorBoard(tmp_path)}) as reporter:
        reporter.decided(decided())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_one_message_that_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for module in [module for module in sys.modules if module.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)  # which is how Python notes what cannot be imported
    with pytest.raises(UsageError) as error:
        chosen([name], tmp_path)
    (fault,) = error.value.faults
    assert fault.where == f"--log {name}" and f"[{name}]" in fault.fix


def log_records(raw: bytes) -> Iterator[bytes]:
    """Of a LevelDB log behind the seven bytes of W&B's own header: pieces of (checksum, length, kind, content)."""
    place, whole = 7, b""
    while place + 7 <= len(raw):
        left = 32_768 - place % 32_768
        if left < 7:  # no piece begins so near the end of a block
            place += left
            continue
        length, kind = struct.unpack_from("<HB", raw, place + 4)
        whole += raw[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # all of a record, or its last piece
            yield whole
            whole = b""


def test_wandb_offline_leaves_a_run_folder_for_every_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb", exc_type=ImportError)
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    core, idea = finished(sub=False), finished(sub=True)
    people = People()
    with TrackedReporter(people, {"wandb": WandB(tmp_path)}) as reporter:
        reporter.opened("e")
        told(reporter, core)
        told(reporter, idea)
        reporter.decided(decided())
    assert not [line for line in people.heard if "failed" in line]

    wandb.teardown()  # as the end of the command does: its writer is another process
    files = sorted((tmp_path / ".blueberry" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 3, "two arms and a verdict"
    told_of = {}
    for file in files:
        records = [Record.FromString(raw) for raw in log_records(file.read_bytes())]
        (run,) = (record.run for record in records if record.HasField("run"))
        assert run.run_group == "e" and run.job_type in (core.spec.arm, idea.spec.arm)
        told_of[run.display_name] = [
            {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
            for record in records
            if record.HasField("history")
        ]
        assert str(SEED).encode() not in file.read_bytes()
    history = told_of[f"{idea.spec.arm} decide-pair-03"]
    assert [(int(one["_step"]), float(one["train/loss"])) for one in history] == [t[:2] for t in CURVE]
    assert float(history[-1]["final/loss"]) == 4.75
