"""A small classifier of real images, trained here: what generated ones are judged by, without any download."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.data.cache import build_once
from harness.data.image_stream import ImageStream
from harness.data.images import PreparedImages

FORMAT = 1  # raise it when a classifier would be built or trained differently
UPDATES = 400
BATCH = 128
FEATURES = 64
SIDE = 32  # larger images are averaged down to it
SEED = 0
BATCH_IMAGES = 500  # classified at a time


class Classifier(nn.Module):  # type: ignore[misc]
    """Three convolutions and two linear layers; (B, C, S, S) in -1..1 -> logits (B, classes)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(64 * 4 * 4, FEATURES),
            nn.ReLU(),
        )
        self.head = nn.Linear(FEATURES, classes)

    def features(self, images: Tensor) -> Tensor:
        """(B, FEATURES)."""
        side = images.shape[-1]
        if side > SIDE:
            images = F.avg_pool2d(images, side // SIDE)
        found: Tensor = self.body(images)
        return found

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


def classifier_of(prepared: PreparedImages, varied: bool, progress: Callable[[str], None]) -> Classifier:
    """The classifier of a prepared set: from the cache, or trained now on its train split.

    `varied`: on images that are shifted and turned a little, as the track serves them.
    """
    model = Classifier(prepared.form.channels, len(prepared.class_names))

    def build(folder: Path) -> None:
        progress(f"training a classifier of {prepared.source}")
        _train(model, prepared, varied)
        torch.save(model.state_dict(), folder / "classifier.pt")

    kind = "varied" if varied else "plain"
    key = f"classifier-{FORMAT}-torch-{torch.__version__}-{prepared.data_id[:16]}-{kind}"
    folder = build_once(key, build, progress)
    model.load_state_dict(torch.load(folder / "classifier.pt", weights_only=True))
    model.eval()
    return model


def _train(model: Classifier, prepared: PreparedImages, varied: bool) -> None:
    torch.manual_seed(SEED)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.reset_parameters()
    stream = ImageStream(prepared, SEED, UPDATES * BATCH, 1, epochs=UPDATES, augment=varied)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=UPDATES)
    while (batch := stream.take(BATCH)) is not None:
        images, labels = _tensor(batch[0]), torch.from_numpy(batch[1].astype(np.int64))
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()


@torch.no_grad()  # type: ignore[untyped-decorator]
def judged(model: Classifier, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Classes (n,) and features (n, FEATURES) of images (n, C, S, S)."""
    classes: list[Any] = []
    features: list[Any] = []
    for start in range(0, len(pixels), BATCH_IMAGES):
        found = model.features(_tensor(pixels[start : start + BATCH_IMAGES]))
        features.append(found.double().numpy())
        classes.append(model.head(found).argmax(-1).numpy())
    return np.concatenate(classes), np.concatenate(features)


def _tensor(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32)) / 127.5 - 1
