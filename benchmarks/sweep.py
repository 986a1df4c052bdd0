"""Sweep of the tiny core's learning rates and schedule on the track's own data, one field at a time around the preset.

Run as `python benchmarks/sweep.py --tokens 1000000`; appends a line a run to benchmarks/results/sweep.csv, so that an
interrupted sweep goes on where it stopped. Every run has seed 0 and hence the same rows in the same order.
What was tried on the way to the preset stands there too (see benchmarks/results/README.md).
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from harness.data.prepare import PreparedData, prepare
from harness.data.stream import TokenStream, held_out_rows
from harness.tracks import track_named
from model_core import lm, train

RESULT = Path(__file__).parent / "results" / "sweep.csv"
FACTORS = {"muon_lr": (0.5, 2.0), "adamw_lr": (0.5, 2.0)}
VALUES = {
    "schedule": ("cosine", "linear", "constant"),
    "decay": (0.2, 0.3, 0.7),
    "adamw_beta2": (0.98,),
    "muon_momentum": (0.7, 0.9),
    "weight_decay": (0.05,),
    "up_lr_scale": (1.0,),
}
FIELDS = (
    "d_model",
    "n_layers",
    "n_heads",
    "n_kv_heads",
    "d_ff",
    "muon_lr",
    "muon_momentum",
    "up_lr_scale",
    "adamw_lr",
    "adamw_beta2",
    "weight_decay",
    "schedule",
    "decay",
)
SCORED_TOKENS = 131_072


class Feed:
    """What a Trainer asks of a stream, over a TokenStream."""

    def __init__(self, stream: TokenStream) -> None:
        self.stream = stream

    def take(self, rows: int, tokens: int) -> torch.Tensor | None:
        taken = self.stream.take(rows, tokens)
        return None if taken is None else torch.from_numpy(taken.astype(np.int64))

    def report(self, tokens_seen: int, loss: float) -> None:
        print(f"{tokens_seen:>10,} tokens  loss {loss:.4f}", file=sys.stderr, end="\r")


def variants() -> Iterator[tuple[str, lm.LMConfig]]:
    """The preset, then each of its neighbours with a name that says what is different."""
    preset = lm.PRESETS["tiny"]
    yield "preset", preset
    for field, factors in FACTORS.items():
        for factor in factors:
            value = getattr(preset, field) * factor
            yield f"{field}={value:g}", dataclasses.replace(preset, **{field: value})
    for field, values in VALUES.items():
        for value in values:
            if value != getattr(preset, field):
                yield f"{field}={value}", dataclasses.replace(preset, **{field: value})


def validation_loss(model: torch.nn.Module, prepared: PreparedData) -> float:
    """Mean nats per token of the held-out rows."""
    predict = train.predictor(model, "auto")
    rows = torch.from_numpy(held_out_rows(prepared, "validation", 256, SCORED_TOKENS).astype(np.int64))
    losses = [
        torch.nn.functional.cross_entropy(predict(part[:, :-1]).flatten(0, 1), part[:, 1:].flatten()).item()
        for part in rows.split(32)
    ]
    return sum(losses) / len(losses)


def trained_loss(
    config: lm.LMConfig, prepared: PreparedData, tokens: int, seed: int = 0, kind: type[lm.LM] = lm.LM
) -> float:
    """Validation loss after training a model of class `kind` on that many tokens."""
    model = train.build(kind, config, seed, "cpu")
    train.Trainer(model, tokens).train(Feed(TokenStream(prepared, seed, tokens, config.max_seq_len)))
    return validation_loss(model, prepared)


def key(config: lm.LMConfig, tokens: int, data_id: str) -> list[str]:
    """What identifies a run in the table: all of its columns but the loss."""
    values = [getattr(config, field) for field in FIELDS]
    return [str(tokens), data_id, *(f"{value:g}" if isinstance(value, float) else str(value) for value in values)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--only", nargs="+", help="names of variants, such as: preset decay=0.5")
    options = parser.parse_args()
    tokens = options.tokens
    prepared = prepare(track_named("llm-tiny"))
    with RESULT.open() as file:
        finished = [row[:-1] for row in csv.reader(file)]
    for name, config in variants():
        row = key(config, tokens, prepared.data_id[:16])
        if row in finished or (options.only and name not in options.only):
            continue
        loss = trained_loss(config, prepared, tokens)
        with RESULT.open("a") as file:
            file.write(",".join([*row, f"{loss:.4f}"]) + "\n")
        print(f"{tokens:>10,} {name:28} {loss:.4f}")


if __name__ == "__main__":
    main()
