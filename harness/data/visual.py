"""Frozen visual tokenizers: what turns the images of the captioned tracks into codes, and drawn codes into images.

A loss per code can be compared only while the codes mean the same, so a tokenizer is trained once (`blueberry data
freeze`), kept in `frozen/` with its digest, and read here without the core: model_core/vqvae.py may change, this must
not. Computed in float32 by numpy, channels last.

Shapes: n images, C channels of an image, S its side, h = w = S/4 the grid of its codes, G = h w, K codes of D numbers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import MachineError, UsageError

FROZEN = Path(__file__).parent / "frozen"
BATCH_IMAGES = 16  # at a time: some 100 MB of intermediate arrays at 128 pixels
Array = NDArray[np.float32]


class Frozen(BaseModel):
    """Where a frozen tokenizer comes from and how good it is; the `.json` beside its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    track: str
    core_id: str  # of the core that it was trained with
    data_id: str
    tokens: int  # that it was trained on
    seed: int
    sha256: str  # of the weights
    loss: float  # mean squared error of held-out images, from their codes alone
    codes_in_use: int
    perplexity: float  # of the codes


@dataclass(frozen=True)
class VisualTokenizer:
    """A frozen VQ-VAE. Weights are those of model_core/vqvae.py, by the names that they had there."""

    facts: Frozen
    weights: dict[str, Array]

    def codes(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Images (n, C, S, S) -> (n, G) codes, row by row."""
        parts = [self._encode(pixels[i : i + BATCH_IMAGES]) for i in range(0, len(pixels), BATCH_IMAGES)]
        return np.concatenate(parts)

    def images(self, codes: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Codes (n, G) -> images (n, C, S, S)."""
        parts = [self._decode(codes[i : i + BATCH_IMAGES]) for i in range(0, len(codes), BATCH_IMAGES)]
        return np.concatenate(parts)

    def through(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What is left of images (n, C, S, S) in their codes."""
        return self.images(self.codes(pixels))

    def _encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint16]:
        x = pixels.transpose(0, 2, 3, 1).astype(np.float32) / 127.5 - 1  # (n, S, S, C)
        x = _relu(self._convolved("encoder.down1", x, stride=2))
        x = _relu(self._convolved("encoder.down2", x, stride=2))
        x = self._residual("encoder", self._convolved("encoder.conv", x))
        z = self._convolved("encoder.project", _relu(x)).reshape(len(pixels), -1, self._codebook.shape[1])  # (n, G, D)
        distance = np.square(self._codebook).sum(-1) - 2 * (z @ self._codebook.T)  # (n, G, K), less |z|^2
        nearest: NDArray[np.uint16] = distance.argmin(-1).astype(np.uint16)
        return nearest

    def _decode(self, codes: NDArray[np.integer]) -> NDArray[np.uint8]:
        side = round(codes.shape[1] ** 0.5)
        z = self._codebook[codes].reshape(len(codes), side, side, -1)
        x = self._residual("decoder", self._convolved("decoder.conv", z))
        x = _relu(self._doubled("decoder.up1", _relu(x)))
        x = self._doubled("decoder.up2", x)  # (n, S, S, C)
        pixels: NDArray[np.uint8] = np.clip(np.rint((x + 1) * 127.5), 0, 255).astype(np.uint8)
        return pixels.transpose(0, 3, 1, 2)

    @property
    def _codebook(self) -> Array:
        return self.weights["codebook.weight"]

    def _residual(self, part: str, x: Array) -> Array:
        block = 0
        while f"{part}.blocks.{block}.conv.weight" in self.weights:
            hidden = _relu(self._convolved(f"{part}.blocks.{block}.conv", _relu(x)))
            x = x + self._convolved(f"{part}.blocks.{block}.mix", hidden)
            block += 1
        return x

    def _convolved(self, name: str, x: Array, stride: int = 1) -> Array:
        """Convolution that keeps the side, or divides it by the stride: a product for each place of the kernel."""
        kernel = self.weights[f"{name}.weight"]  # (out, in, k, k)
        side, around = x.shape[1] // stride, (kernel.shape[-1] - 1) // 2
        padded = np.pad(x, ((0, 0), (around, around), (around, around), (0, 0)))
        y = np.zeros((len(x), side, side, len(kernel)), np.float32)
        for i, j in np.ndindex(*kernel.shape[2:]):
            rows, columns = (slice(at, at + stride * (side - 1) + 1, stride) for at in (i, j))
            y += padded[:, rows, columns] @ kernel[:, :, i, j].T
        return y + self.weights.get(f"{name}.bias", np.float32(0))

    def _doubled(self, name: str, x: Array) -> Array:
        """Transposed convolution with stride 2: every vector adds its products to the 4 x 4 places around it."""
        kernel = self.weights[f"{name}.weight"]  # (in, out, 4, 4)
        side = 2 * x.shape[1]
        y = np.zeros((len(x), side + 2, side + 2, kernel.shape[1]), np.float32)
        for i, j in np.ndindex(4, 4):
            y[:, i : i + side : 2, j : j + side : 2] += x @ kernel[:, :, i, j]
        return y[:, 1:-1, 1:-1] + self.weights[f"{name}.bias"]


def frozen_tokenizer(name: str) -> VisualTokenizer:
    """The frozen tokenizer of the track `name`; UsageError when none was frozen, MachineError when it is damaged."""
    from safetensors.numpy import load

    weights, facts = weights_path(name), FROZEN / f"{name}.json"
    if not weights.exists():
        raise UsageError(
            f"tokenizer {name}", "has not been frozen yet", f"a maintainer runs `blueberry data freeze --track {name}`"
        )
    try:
        content = weights.read_bytes()
        said = Frozen.model_validate_json(facts.read_text(encoding="utf-8"))
        if hashlib.sha256(content).hexdigest() != said.sha256:
            raise ValueError("its weights do not have the digest that is recorded beside them")
        return VisualTokenizer(said, load(content))
    except (OSError, ValueError, ValidationError) as error:
        raise MachineError(str(weights), f"cannot be used: {error}", "restore both files from git") from error


def weights_path(name: str) -> Path:
    """Where the weights of the frozen tokenizer of a track are, or will be."""
    return FROZEN / f"{name}.safetensors"


def _relu(x: Array) -> Array:
    return np.maximum(x, np.float32(0))
