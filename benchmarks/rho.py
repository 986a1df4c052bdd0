"""Correlation between seeds of a core and a patch that adds a tensor, which sets how many pairs a verdict needs.

Run as `python benchmarks/rho.py`; 24 runs at 65,536 tokens, then writes benchmarks/results/rho.json.

Both arms of a pair read the same rows in the same order. With a generator for each tensor they also begin from the same
weights wherever both have them; with one generator for all tensors, the new tensor shifts every draw after it (here
all but the embedding and the first attention).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from sweep import trained_loss

from harness.data.prepare import PreparedData, prepare
from harness.tracks import track_named
from model_core import layers, lm

RESULT = Path(__file__).parent / "results" / "rho.json"
SEEDS = range(6)
TOKENS = 65_536


class GatedAttention(layers.Attention):
    """Attention that reads its input scaled by 2 sigmoid(x g), token by token: close to 1 at the start."""

    def __init__(self, d_model: int, n_heads: int, n_kv_heads: int) -> None:
        super().__init__(d_model, n_heads, n_kv_heads)
        self.gate = layers.Linear(d_model, 1)

    def forward(self, x: torch.Tensor, rotary: torch.Tensor, cache: layers.Cache | None = None) -> torch.Tensor:
        return super().forward(x * 2 * torch.sigmoid(self.gate(x)), rotary, cache)


class GatedLM(lm.LM):
    """The core with a new tensor in every block."""

    def __init__(self, config: lm.LMConfig) -> None:
        super().__init__(config)
        for block in self.blocks:
            block.attention = GatedAttention(config.d_model, config.n_heads, config.n_kv_heads)


@contextmanager
def one_generator(seed: int) -> Iterator[None]:
    """Initialisation draws every tensor from one generator, as most training code does."""
    keyed, shared = layers.generator, torch.Generator().manual_seed(seed)
    layers.generator = lambda *key: shared if "init" in key else keyed(*key)
    try:
        yield
    finally:
        layers.generator = keyed


def losses(kind: type[lm.LM], prepared: PreparedData, common: bool) -> list[float]:
    found = []
    for seed in SEEDS:
        if common:
            with one_generator(seed):
                found.append(trained_loss(lm.PRESETS["tiny"], prepared, TOKENS, seed, kind))
        else:
            found.append(trained_loss(lm.PRESETS["tiny"], prepared, TOKENS, seed, kind))
        print(f"{kind.__name__:8} one generator: {common!s:5} seed {seed}  {found[-1]:.4f}", flush=True)
    return found


def summary(base: list[float], patch: list[float]) -> dict[str, float | list[float]]:
    differences = np.subtract(base, patch)
    rho = float(np.corrcoef(base, patch)[0, 1])
    return {
        "base": base,
        "patch": patch,
        "rho": rho,
        "sd_run": float(np.sqrt((np.var(base, ddof=1) + np.var(patch, ddof=1)) / 2)),
        "sd_pair": float(differences.std(ddof=1)),
        "mean_gain": float(differences.mean()),
        "se_of_fisher_z": 1 / math.sqrt(len(base) - 3),
    }


def main() -> None:
    prepared = prepare(track_named("llm-tiny"))
    result = {
        "tokens": TOKENS,
        "keyed by tensor": summary(losses(lm.LM, prepared, False), losses(GatedLM, prepared, False)),
        "one generator": summary(losses(lm.LM, prepared, True), losses(GatedLM, prepared, True)),
    }
    RESULT.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    for name in ("keyed by tensor", "one generator"):
        values = result[name]
        print(
            f"{name:16} rho {values['rho']:.3f}  sd of a run {values['sd_run']:.4f}  of a pair {values['sd_pair']:.4f}"
        )


if __name__ == "__main__":
    main()
