"""Sweep of the recipes of the image and captioned cores on their own data, around the preset.

    python benchmarks/image_sweep.py vqvae-tiny --tokens 1000000 preset restart_below=0 codebook=ema
    python benchmarks/image_sweep.py flow-tiny muon_lr=0.01 muon_lr=0.01,ema=0.99

Every argument is one run, of seed 0 and hence of the same images in the same order: fields of the preset that are
different, joined by commas. Appends a line a run to benchmarks/results/image_sweep.csv, with a digest of the whole
recipe, since a preset changes; what stands there already is not run again. `codebook=ema` takes the codebook of van den
Oord et al. 2017, appendix A.1: each code is the moving average of the vectors that chose it, and has no gradient.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import hashlib
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from harness.data.captions import NO_TOKEN
from harness.run.measure import measure_of
from harness.tracks import Track, budget_named, track_named
from model_core import flow, multimodal, train, vqvae

RESULT = Path(__file__).parent / "results" / "image_sweep.csv"
RECIPES = {"flow": flow, "vqvae": vqvae, "multimodal": multimodal}


class AverageCodebook(vqvae.Codebook):
    """A codebook without gradient: counts and sums of the vectors that chose a code, averaged over updates."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.register_buffer("sums", torch.zeros(config.n_codes, config.code_dim), persistent=False)
        self.register_buffer("counts", torch.zeros(config.n_codes), persistent=False)

    @torch.no_grad()
    def follow(self, z: torch.Tensor, codes: torch.Tensor, decay: float = 0.99) -> None:
        chosen = F.one_hot(codes, len(self.counts)).float()
        self.counts.lerp_(chosen.sum(0), 1 - decay)
        self.sums.lerp_(chosen.T @ z, 1 - decay)
        seen = self.counts > 1e-5
        self.weight.copy_(torch.where(seen[:, None], self.sums / self.counts.clamp_min(1e-5)[:, None], self.weight))


class AverageVQVAE(vqvae.VQVAE):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.codebook = AverageCodebook(config)

    def init_weights(self, seed: int) -> None:
        super().init_weights(seed)
        self.codebook.sums.zero_()
        self.codebook.counts.zero_()
        self.codebook.weight.register_hook(torch.zeros_like)  # the optimizer leaves it alone

    def assign(self, z: torch.Tensor) -> torch.Tensor:
        before = self.codebook.frequency < self.config.restart_below
        codes = super().assign(z)
        if self.training:
            vectors = z.detach().flatten(0, 2)
            moved = before[:, None] & (self.config.restart_below > 0)
            self.codebook.sums.copy_(torch.where(moved, self.codebook.weight, self.codebook.sums))
            self.codebook.counts.masked_fill_(moved[:, 0], 1.0)
            self.codebook.follow(vectors, codes.flatten())
        return codes


class Feed:
    """What a Trainer asks of a stream, over the judge's feed."""

    def __init__(self, feed: Any) -> None:
        self.feed = feed

    def take(self, rows: int) -> Any:
        batch = self.feed.stream.take(rows)
        if batch is None:
            return None
        if isinstance(batch, tuple):
            pixels, labels = batch
            return torch.from_numpy(pixels) / 127.5 - 1, torch.from_numpy(labels.astype(np.int64))
        ids = torch.from_numpy(batch.astype(np.int64))
        return ids.masked_fill(ids == NO_TOKEN, -1)

    def report(self, tokens_seen: int, loss: torch.Tensor) -> None:
        if tokens_seen % 50 == 0:
            print(f"{tokens_seen:>10,} tokens  loss {loss:.4f}", file=sys.stderr, end="\r")


@torch.no_grad()
def validation(track: Track, model: Any, asked: Any) -> tuple[float, str]:
    """The track's own loss, and what else it tells."""
    model.eval()
    predict = train.predictor(model, "auto")
    if track.metric == "velocity":
        given = (torch.from_numpy(value) for value in (asked.x_t, asked.t, asked.labels))
        parts = [predict(*part) for part in zip(*(value.split(64) for value in given), strict=True)]
        return F.mse_loss(torch.cat(parts), torch.from_numpy(asked.velocity)).item(), ""
    if track.metric == "reconstruction":
        images = torch.from_numpy(asked)
        codes = torch.cat([model.encode(part) for part in images.split(64)])
        found = torch.cat([model.decode(part) for part in codes.split(64)])
        used, perplexity = vqvae.usage(codes, model.config.n_codes)
        return F.mse_loss(found, images).item(), f"{used} codes, perplexity {perplexity:.1f}"
    ids = torch.from_numpy(asked.astype(np.int64))
    there = ids[:, 1:] != NO_TOKEN
    ids = ids.masked_fill(ids == NO_TOKEN, 0)
    losses = [F.cross_entropy(predict(part[:, :-1]).mT, part[:, 1:], reduction="none") for part in ids.split(64)]
    nats = torch.cat(losses)
    image = there & (ids[:, 1:] >= model.config.first_code)
    return nats[there].mean().item(), f"image {nats[image].mean():.4f}"


def recipe_of(track: Track, variant: str) -> tuple[type, Any]:
    """The model's class and its config."""
    wanted = {} if variant == "preset" else dict(part.split("=") for part in variant.split(","))
    module = RECIPES[track.module]
    preset = module.PRESETS[track.preset]
    kind = AverageVQVAE if wanted.pop("codebook", "") == "ema" else getattr(module, track.model)
    fields = {name: type(getattr(preset, name))(value) for name, value in wanted.items()}
    return kind, dataclasses.replace(preset, **fields)


def digest(kind: type, config: Any) -> str:
    return hashlib.sha256(f"{kind.__name__} {sorted(dataclasses.asdict(config).items())}".encode()).hexdigest()[:12]


def trained(track: Track, kind: type, config: Any, tokens: int) -> tuple[float, str, float]:
    measure, budget = measure_of(track), budget_named("1M")
    prepared = measure.prepare(track, None, print)
    model = train.build(kind, config, 0, "cpu")
    started = time.perf_counter()
    train.Trainer(model, tokens).train(Feed(measure.feed(prepared, track, 0, tokens, 1_000)))
    seconds = time.perf_counter() - started
    return *validation(track, model, measure.held_out(prepared, track, budget, "validation", "sweep")), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("track", nargs="?", default="vqvae-tiny")
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("variants", nargs="*", default=["preset"])
    options = parser.parse_intermixed_args()
    track = track_named(options.track)
    done = {(row[0], row[1], row[3]) for row in csv.reader(RESULT.open())}
    for variant in options.variants:
        kind, config = recipe_of(track, variant)
        recipe = digest(kind, config)
        if (track.name, str(options.tokens), recipe) in done:
            continue
        loss, also, seconds = trained(track, kind, config, options.tokens)
        with RESULT.open("a", newline="") as file:
            csv.writer(file).writerow([track.name, options.tokens, variant, recipe, f"{loss:.5f}", also])
        print(f"{track.name} {options.tokens:>10,} {variant:30} {loss:.5f}  {also}  ({seconds:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
