"""How much memory a training of every preset takes at its own batch, and what it is made of.

    python benchmarks/memory.py [PRESET...]        a preset: module.name, such as lm.88m; all of them by default

What is held at the end of a forward pass: weights, gradients, the optimizer's state and the averaged weights in fp32,
and what autograd saves for the backward pass. The last is counted, each piece of memory once, in a forward pass of one
row and of two, with the attention that GPUs use, and is linear in rows. A visual tokenizer holds most in the middle of
the pass: the distances of all vectors from all codes beside what is saved by then, which counts where it is more than
what is saved at the end. It is of the uncompiled core, so that
torch.compile may need less; freed memory that an allocator keeps and the libraries themselves are not in it. For tiny
presets, the largest growth of a process that trains three updates on the CPU stands beside it: attention is not fused
there, and what an update frees is kept.
"""

from __future__ import annotations

import dataclasses
import importlib
import multiprocessing
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from harness.tracks import TRACKS
from model_core import layers, muon, train, vqvae

MODELS = {track.module: track.model for track in TRACKS.values()}
MIB = 2**20


def presets() -> list[str]:
    return [f"{module}.{name}" for module in MODELS for name in importlib.import_module(f"model_core.{module}").PRESETS]


def parts_of(preset: str) -> tuple[type, Any]:
    module, name = preset.split(".")
    core = importlib.import_module(f"model_core.{module}")
    return getattr(core, MODELS[module]), core.PRESETS[name]


def saved_bytes(model: layers.Model, rows: int) -> tuple[int, int]:
    """What a forward pass of that many rows holds for the backward pass at its end, without the weights, and what it
    holds at the distances of a tokenizer, 0 where there are none."""
    held = {p.untyped_storage().data_ptr(): 0 for p in model.parameters()}
    kept, passing = [], [0]

    def keep(value: torch.Tensor) -> torch.Tensor:
        kept.append(value)  # so that its address is not given away again
        storage = value.untyped_storage()
        held.setdefault(storage.data_ptr(), storage.nbytes())
        return value

    def nearest(z: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
        distances = 4 * len(codebook) * z[..., 0].numel()
        passing.append(sum(held.values()) + distances)
        return found_nearest(z, codebook)

    batch = [part[:rows] for part in model.made_up()]
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value)
    found_nearest, vqvae.nearest = vqvae.nearest, nearest
    with hooks, train.autocast(torch.device("cpu"), "bf16"):
        loss = model.loss(*batch)  # holds the graph, and with it what was saved
    vqvae.nearest = found_nearest
    assert loss.requires_grad
    return sum(held.values()), max(passing)


def computed(preset: str) -> str:
    """The arithmetic, a line for one preset."""
    kind, config = parts_of(preset)
    eager = dataclasses.replace(config, compile=False)
    model = train.build(kind, eager, 0, "cpu")
    model.train()
    rows, counted = config.batch_size, zip(saved_bytes(model, 1), saved_bytes(model, 2), strict=True)
    saved = max(one + (rows - 1) * (two - one) for one, two in counted)
    weights = 4 * model.parameter_count()
    groups = muon.groups(model)
    state = sum(
        p.numel() * (4 if group["kind"] == "muon" else 8)  # momentum; mean and mean square
        for group in groups
        for p in group["params"]
    )
    average = weights if config.ema else 0
    total = weights + weights + state + average + saved
    numbers = " + ".join(f"{value / MIB:,.0f}" for value in (weights, weights, state, average, saved))
    return f"| {preset} | {rows} | {numbers} | {total / MIB:,.0f} |"


def peak() -> int:
    """The most memory that this process has held (VmHWM), in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def grow(preset: str, pipe: Connection) -> None:
    kind, config = parts_of(preset)
    before = peak()
    model = train.build(kind, config, 0, "cpu")
    trainer = train.Trainer(model, 1_000_000)
    for _ in range(3):
        trainer.update(*model.made_up())
    pipe.send(peak() - before)


def measured(preset: str) -> str:
    if not preset.endswith(".tiny"):
        return ""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=grow, args=(preset, theirs))
    process.start()
    growth = ours.recv()
    process.join()
    return f" {growth / MIB:,.0f} |"


def main() -> None:
    layers.attend = layers.attend_fused
    print("| preset | rows | weights + gradients + optimizer + average + saved, MiB | sum | grown on the CPU |")
    print("|---|---|---|---|---|")
    for preset in sys.argv[1:] or presets():
        print(computed(preset) + (measured(preset) or " |"), flush=True)


if __name__ == "__main__":
    main()
