"""Run files as the judge writes them, made from losses and times."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.records.record import EvaluationRecord, Host, ModelFacts, RunRecord, RunSpec

HOST = Host(accelerator="cpu", cpu="Test CPU", threads=2, torch="2.13", python="3.12", system="Linux x86_64")
FACTS = ModelFacts(
    parameters=1, active_parameters=1, steps=1, batch_tokens=1, micro_batch=1, precision="bf16", peak_memory_bytes=0
)


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "decision_vectors.json").read_text())


def make_run(
    *,
    sub: bool,
    pair: int,
    round: str = "decide",
    loss: float | None = 4.0,
    seconds: float | None = 100.0,
    status: str = "completed",
    attempt: int = 1,
    seed: int | None = None,
    track: str = "llm-tiny",
    budget: str = "8M",
    calibration: bool = False,
    fitted: bool = False,
    host: Host | None = HOST,
    precision: str = "bf16",
    error: str | None = None,
    curve: tuple[tuple[int, float, float], ...] = ((1, 8.0, 1.0),),
) -> RunRecord:
    patched = sub and not calibration
    spec = RunSpec(
        arm="idea" if patched else "core",
        patch_sha="f" * 64 if patched else None,
        core_id="c" * 64,
        track=track,
        budget=budget,
        tokens=8_000_000,
        seed=1_000 + pair if seed is None else seed,
        round=round,
        pair=pair,
        order=(pair + sub) % 2,
        attempt=attempt,
        data_id="d" * 64,
        init_key=int(sub and calibration),
    )
    return RunRecord(
        evaluation="e",
        spec=spec,
        status=status,
        loss=loss if status == "completed" else None,
        train_seconds=seconds,
        curve=curve,
        model=FACTS.model_copy(update={"fitted": fitted, "precision": precision}),
        host=host,
        error=error,
    )


def make_runs(D: Sequence[float], R: Sequence[float] | None = None, **common: Any) -> tuple[RunRecord, ...]:
    """Both arms of each pair: the baseline's loss is 4 and its time 100 s, drifting a little from seed to seed."""
    runs = []
    for i, d in enumerate(D):
        base = 4.0 + 0.01 * ((7 * i) % 5)
        seconds = 100.0 + i
        r = R[i] if R is not None else 0.0
        runs.append(make_run(sub=False, pair=i, loss=base, seconds=seconds, **common))
        runs.append(make_run(sub=True, pair=i, loss=base - d, seconds=seconds * math.exp(r), **common))
    return tuple(runs)


def make_evaluation(**changes: Any) -> EvaluationRecord:
    fields: dict[str, Any] = dict(
        id="e",
        slug="idea",
        patch_sha="f" * 64,
        track="llm-tiny",
        budget="8M",
        metrics=("loss",),
        max_pairs=10,
        confirm_pairs=4,
        s0=0.0064,
        s0_time=0.0035,
        d0=4.0,
        d0_time=4.0,
        kappa=0.43,
        core_id="c" * 64,
        core_digest="c" * 64,
        data_id="d" * 64,
        salt_sha256="5" * 64,
    )
    return EvaluationRecord(**(fields | changes))


@pytest.fixture
def run_file() -> Callable[..., RunRecord]:
    return make_run


@pytest.fixture
def run_files() -> Callable[..., tuple[RunRecord, ...]]:
    return make_runs


@pytest.fixture
def evaluation_file() -> Callable[..., EvaluationRecord]:
    return make_evaluation
