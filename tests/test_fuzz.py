"""Whatever a worker sends, a disk gives back or a stranger writes: a value, or an error that has a name. Never another.

A few hundred examples each in `make test`, 100,000 in `make test-long`. Manifests and patches have their own fuzz in
tests/submission.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import MachineError
from harness.records.record import EvaluationRecord, RunRecord, write_json
from harness.records.store import _parse
from harness.run import checkpoint, judge, stage, wire
from harness.submission.literals import read_source
from tests.conftest import REPOSITORY
from tests.decide.conftest import make_evaluation, make_run

EXAMPLES = [pytest.param(300, id="some"), pytest.param(100_000, id="many", marks=pytest.mark.long)]
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 1 << 53, 1 << 64, 10**400, 1e308, True, False])
JSON = st.recursive(
    st.none() | NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
BYTES = st.binary(max_size=400)


def every(examples: int, strategy: st.SearchStrategy[Any], holds: Callable[[Any], None]) -> None:
    checks = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
    settings(max_examples=examples, deadline=None, suppress_health_check=checks, database=None)(
        given(strategy)(holds)
    )()


def damaged(whole: bytes) -> st.SearchStrategy[bytes]:
    """Cut short, with a piece replaced, or with a piece twice."""
    place, few = st.integers(0, len(whole)), st.integers(0, 12)

    def replaced(at: int, gone: int, new: bytes) -> bytes:
        return whole[:at] + new + whole[at + gone :]

    pieces = st.binary(max_size=8) | JSON.map(lambda value: json.dumps(value).encode())
    return place.map(lambda at: whole[:at]) | st.builds(replaced, place, few, pieces) | BYTES


def described(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Headers in which every field may be right, wrong or missing."""
    return st.fixed_dictionaries({}, optional={name: JSON | right for name, right in fields.items()})


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("kind", [RunRecord, EvaluationRecord])
def test_a_record_is_read_as_it_was_written_or_named(examples: int, kind: Any, tmp_path: Path) -> None:
    whole = write_json(make_run(sub=True, pair=0) if kind is RunRecord else make_evaluation()).encode()
    path = tmp_path / "record.json"

    def holds(data: bytes) -> None:
        path.write_bytes(data)
        try:
            found = _parse(kind, path)
        except MachineError as error:
            assert str(path) in str(error)
            return
        assert _written_again(found) == found

    def _written_again(found: Any) -> Any:
        return kind.model_validate_json(write_json(found))

    every(examples, damaged(whole), holds)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_a_frame_is_a_header_or_a_wire_error(examples: int) -> None:
    frames = st.one_of(BYTES, (JSON | described(bytes=NUMBERS, kind=st.text())).map(_frame))
    frames = frames | st.builds(lambda frame, at: frame[:at], frames, st.integers(0, 40))

    def holds(data: bytes) -> None:
        read_fd, write_fd = os.pipe()
        os.write(write_fd, data[:60_000])
        os.close(write_fd)
        channel = wire.Channel(read_fd, os.open(os.devnull, os.O_WRONLY))
        channel.deadline = time.monotonic() + 5
        try:
            header = channel.receive()
            assert type(header["bytes"]) is int and header["bytes"] >= 0
            channel.payload(header, 10)
        except wire.WireError as error:
            assert "\n" not in str(error) and len(str(error)) < 200
        finally:
            channel.close()

    every(examples, frames, holds)


def _frame(value: Any) -> bytes:
    body = json.dumps(value).encode()
    return struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("examples", EXAMPLES)
def test_points_of_a_curve_are_finite_numbers_or_a_wire_error(examples: int) -> None:
    point = st.tuples(NUMBERS, NUMBERS).map(list)

    def holds(request: dict[str, Any]) -> None:
        try:
            found = judge._points(request)
        except wire.WireError:
            return
        assert all(type(tokens) is int and 0 <= tokens < 1 << 53 and abs(loss) < 1e309 for tokens, loss in found)

    every(examples, described(points=st.lists(point, max_size=6)), holds)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_what_a_worker_says_of_its_model_is_in_bounds_or_a_wire_error(examples: int) -> None:
    counts = ("active_parameters", "steps", "batch_tokens", "micro_batch", "peak_memory_bytes")
    right = {name: st.integers(0, 1 << 53) for name in counts}
    full = st.fixed_dictionaries({**right, "precision": JSON, "fitted": JSON, "unmoved": JSON})

    def holds(told: dict[str, Any]) -> None:
        try:
            found = judge._model_facts(told)
        except wire.WireError:
            return
        assert all(0 <= getattr(found, name) <= 1 << 53 for name in counts)
        assert len(found.precision) <= 8 and found.precision.isprintable()
        assert found.unmoved is None or 0 <= found.unmoved <= 1
        assert judge._warm_up_left_nothing(told).id == "warm-up"

    every(examples, full | described(**right), holds)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_a_number_is_whole_and_in_bounds_or_a_wire_error(examples: int) -> None:
    def holds(header: dict[str, Any]) -> None:
        try:
            found = stage.number(header, "rows", 1, 1 << 24)
        except wire.WireError as error:
            assert len(str(error)) < 200
            return
        assert type(found) is int and 1 <= found <= 1 << 24

    every(examples, described(rows=NUMBERS), holds)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_a_checkpoint_is_counted_or_refused(examples: int) -> None:
    entry = described(dtype=st.sampled_from(["F32", "BF16", "I64"]), shape=st.lists(NUMBERS, max_size=3))
    offsets = st.lists(NUMBERS, max_size=3)
    headers = st.dictionaries(
        st.text(max_size=4), st.builds(lambda one, two: {**one, "data_offsets": two}, entry, offsets)
    )
    head = json.dumps({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}).encode()
    whole = struct.pack("<Q", len(head)) + head + bytes(12)

    def packed(header: Any, rest: bytes) -> bytes:
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + rest

    def holds(data: bytes) -> None:
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.flush()
            try:
                assert checkpoint._count_parameters(file.fileno(), len(data)) >= 0
            except checkpoint.CheckpointError:
                return

    every(examples, damaged(whole) | st.builds(packed, headers | JSON, BYTES), holds)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_a_module_is_read_or_has_a_fault_of_its_syntax(examples: int) -> None:
    whole = (REPOSITORY / "model_core" / "muon.py").read_bytes()[:2_000]

    def holds(data: bytes) -> None:
        text = data.decode(errors="replace")
        found = read_source("model_core/muon.py", text, frozenset(range(1, text.count("\n") + 2)))
        assert {fault.rule for fault in found.faults} <= {"patch-syntax", "patch-literal"} and found.literals >= 0

    every(examples, damaged(whole), holds)


GUIDED = """
import sys, atheris
with atheris.instrument_imports(include=["harness"]):
    from harness.errors import SubmissionError
    from harness.submission.diff import apply_change, parse_diff
    from harness.submission.manifest import parse_manifest

def patch(data):
    found = parse_diff(data.decode(errors="replace"))
    for change in () if found.faults else found.changes:
        assert change.path.startswith("model_core/") and ".." not in change.path
        try:
            apply_change(change, None if change.kind == "new" else "x = 1\\n" * 3)
        except SubmissionError:
            pass

def manifest(data):
    try:
        parse_manifest(data.decode(errors="replace"))
    except SubmissionError:
        pass

atheris.Setup(["fuzz", "-runs=100000", "-timeout=20", sys.argv[2]], globals()[sys.argv[1]])
atheris.Fuzz()
"""


@pytest.mark.long
@pytest.mark.parametrize(("parser", "file"), [("patch", "patch.diff"), ("manifest", "submission.toml")])
def test_inputs_that_are_led_by_coverage_find_nothing_either(parser: str, file: str, tmp_path: Path) -> None:
    """A hundred thousand that grow from the committed submissions towards lines that no other input has reached."""
    pytest.importorskip(
        "atheris", reason="`pip install atheris` where it has a wheel; it is not needed for anything else"
    )
    for folder in (REPOSITORY / "submissions").iterdir():
        (tmp_path / folder.name).write_bytes((folder / file).read_bytes())
    command = [sys.executable, "-c", GUIDED, parser, str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=3_600, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
