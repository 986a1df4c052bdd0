"""Training throughput of every tiny track as a share of the floor that its own products set.

    python benchmarks/floor.py

The floor is the summed time of the matrix products and convolutions of one update, forward, backward and optimizer,
replayed with their own operands. Update and replay take turns in one process, in bf16 where the CPU has it. Prints the
medians and keeps the shares in benchmarks/results/floor.json, one record for each precision.
"""

from __future__ import annotations

import importlib
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from products import Products

from harness.tracks import TRACKS, Track
from model_core import train

RESULT = Path(__file__).parent / "results" / "floor.json"
ROUNDS = 16  # of which the first is not counted
PRECISION = train.resolve_precision("auto", torch.device("cpu"))


def measure(track: Track) -> tuple[int, float, float]:
    """Tokens of an update, its seconds and those of its products alone."""
    module = importlib.import_module(f"model_core.{track.module}")
    model = train.build(getattr(module, track.model), module.PRESETS[track.preset], 0, "cpu")
    trainer = train.Trainer(model, 1_000_000, precision=PRECISION)
    batch = model.made_up()
    trainer.update(*batch)
    with Products() as products:
        trainer.update(*batch)
    rounds = [(seconds(trainer.update, *batch), seconds(products.replay)) for _ in range(ROUNDS)]
    update, floor = (statistics.median(times) for times in zip(*rounds[1:], strict=True))
    return model.batch_tokens, update, floor


def seconds(work: Callable[..., object], *given: object) -> float:
    start = time.perf_counter()
    work(*given)
    return time.perf_counter() - start


def main() -> None:
    shares = {}
    for track in TRACKS.values():
        if track.full:
            continue
        tokens, update, floor = measure(track)
        shares[track.name] = floor / update
        print(
            f"{track.name:16} update {1000 * update:6.1f} ms, {tokens / update:7.0f} tokens/s; "
            f"products {1000 * floor:6.1f} ms: share {shares[track.name]:.2f}",
            flush=True,
        )
    facts = {"threads": torch.get_num_threads(), "torch": torch.__version__, "rounds": ROUNDS}
    records = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    records[PRECISION] = {"share of the floor": shares, **facts}
    RESULT.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
