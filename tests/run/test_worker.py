"""What a worker says of its own training, on the real cores."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from harness.run import worker
from harness.tracks import track_named
from model_core import train

TINY = ["llm-tiny", "flow-tiny", "vqvae-tiny", "multimodal-tiny"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """On a busy machine several wait for each other far longer than these models take."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def trainer(name: str) -> Any:
    track = track_named(name)
    recipe = importlib.import_module(f"model_core.{track.module}")
    model = train.build(getattr(recipe, track.model), recipe.PRESETS[track.preset], 1, torch.device("cpu"))
    return train.Trainer(model, 8_192, precision="fp32", micro_batch=1)


@pytest.mark.parametrize("name", TINY)
def test_the_warm_up_of_the_core_leaves_nothing_and_one_update_leaves_a_trace(name: str) -> None:
    one = trainer(name)
    before = worker.fingerprint(torch, one)
    one.warm_up()
    assert worker.fingerprint(torch, one) == before
    one.rehearse()
    assert worker.fingerprint(torch, one) != before


def test_a_draw_or_an_optimizer_s_memory_or_one_weight_is_a_trace() -> None:
    one = trainer("llm-tiny")
    seen = {worker.fingerprint(torch, one)}
    torch.rand(1)
    seen.add(worker.fingerprint(torch, one))
    with torch.no_grad():
        one.model.final_norm.weight[3] += 1e-6
    seen.add(worker.fingerprint(torch, one))
    one.optimizer.state[one.model.final_norm.weight] = {"exp_avg": torch.zeros(2)}
    seen.add(worker.fingerprint(torch, one))
    assert len(seen) == 4


def test_a_weight_that_never_moves_is_seen() -> None:
    model = trainer("llm-tiny").model
    before = worker.sampled(model)
    with torch.no_grad():
        for parameter in list(model.parameters())[1:]:
            parameter += 1e-3
    moved = [not torch.equal(*two) for two in zip(before, worker.sampled(model), strict=True)]
    assert moved == [False] + [True] * (len(moved) - 1)
