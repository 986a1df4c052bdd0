"""Files of pictures, and how many a worker draws for one answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from harness.generate import pictures
from harness.generate.pictures import Diffusion
from harness.run import drawing
from harness.run.drawn import Drawer
from harness.run.wire import WireError
from harness.tracks import TRACKS, ImageTrack


class Told(Drawer):
    """In the place of a worker: remembers the request and answers with zeros, `spare` bytes too many."""

    def __init__(self, spare: int = 0) -> None:
        self.spare = spare

    def draw(self, header: dict[str, Any], raw: bytes) -> Iterator[bytes]:
        self.header = header
        yield bytes(len(raw) // 2 * 16 * 16 * 4)
        yield bytes(self.spare)


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 1, 16, 16)).astype(np.uint8)


def test_single_pictures_of_an_earlier_call_are_removed_and_other_files_stay(tmp_path: Path) -> None:
    pictures.write(noise(9), 3, tmp_path, "generated", single=True)
    (tmp_path / "individual" / "sample_of_mine.png").write_text("stays")
    files = pictures.write(noise(2), 2, tmp_path, "generated", single=True)
    left = {path.name for path in (tmp_path / "individual").iterdir()}
    assert left == {"sample_000.png", "sample_001.png", "sample_of_mine.png"} and all(path.exists() for path in files)
    pictures.write(noise(2), 2, tmp_path, "generated", single=False)
    assert {path.name for path in (tmp_path / "individual").iterdir()} == {"sample_of_mine.png"}


@pytest.mark.parametrize(
    ("tokens", "diffusion", "at_once"),
    [
        (64, Diffusion(1, 1.0), 64),  # no more than fit
        (64, Diffusion(50, 2.0), 40),
        (256, Diffusion(50, 2.0), 10),  # the 48M model
        (256, Diffusion(50, 1.0), 20),  # without guidance, half of the work
        (256, Diffusion(10_000, 2.0), 1),
    ],
)
def test_the_more_work_an_image_takes_the_fewer_are_drawn_for_one_answer(
    tokens: int, diffusion: Diffusion, at_once: int
) -> None:
    drawer, track = Told(), TRACKS["flow-tiny"]
    assert isinstance(track, ImageTrack)
    found = pictures.from_noise(drawer, replace(track, image_tokens=tokens), [3, 4], diffusion, 7)
    assert drawer.header["at_once"] == at_once and found.shape == (2, 1, 16, 16)


def test_another_number_of_pictures_than_was_asked_for_is_no_answer() -> None:
    track = TRACKS["flow-tiny"]
    assert isinstance(track, ImageTrack)
    with pytest.raises(WireError, match="2052 bytes of samples where 2048 were asked for"):
        pictures.from_noise(Told(spare=4), track, [3, 4], Diffusion(1, 1.0), 7)


class Scaled:
    """A velocity field that depends on the class alone."""

    config = SimpleNamespace(channels=1, image_size=16, n_classes=10)

    def __call__(self, x_t: Any, t: Any, labels: Any) -> Any:
        return x_t * labels[:, None, None, None]


def test_a_picture_is_the_same_however_many_are_drawn_at_once() -> None:
    labels = np.arange(6, dtype="<u2").tobytes()

    def drawn(at_once: int) -> bytes:
        request = {"steps": 1, "guidance": 1, "seed": 5, "at_once": at_once}
        return b"".join(drawing.images(torch, Scaled(), "cpu", request, labels))

    assert len(drawn(6)) == 6 * 256 * 4 and drawn(1) == drawn(2) == drawn(6)
