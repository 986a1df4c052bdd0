"""Pictures from a trained image model: drawn from noise, from a caption, or rebuilt from their codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.captioned import PreparedCaptions, layout_of, text_tokenizer_of
from harness.data.image_stream import held_out_images
from harness.data.images import PreparedImages
from harness.data.visual import frozen_tokenizer
from harness.errors import UsageError
from harness.generate.text import Sampling
from harness.run import drawn, host, reconstruction
from harness.run.drawn import Drawer
from harness.run.images import as_floats
from harness.run.kept import KeptRun
from harness.tracks import CaptionTrack, ImageTrack

Pixels = NDArray[np.uint8]  # (n, C, S, S)


@dataclass(frozen=True)
class Diffusion:
    """How the path from noise to an image is followed."""

    steps: int
    guidance: float  # 1: none; above it, the class is exaggerated


def from_noise(drawer: Drawer, track: ImageTrack, labels: Sequence[int], diffusion: Diffusion, seed: int) -> Pixels:
    """One picture of a flow model for each class in `labels`; the number of classes stands for none of them."""
    header = {"steps": diffusion.steps, "guidance": diffusion.guidance, "seed": seed}
    parts = drawer.draw(header, np.array(labels, "<u2").tobytes())
    found = np.concatenate([np.frombuffer(raw, "<f4") for raw in parts])
    return as_pixels(found.reshape(len(labels), track.channels, track.size, track.size))


def from_caption(
    drawer: Drawer,
    track: CaptionTrack,
    prepared: PreparedCaptions,
    caption: str,
    count: int,
    sampling: Sampling,
    seed: int,
) -> Pixels:
    """Pictures of one caption."""
    layout, text = layout_of(track), text_tokenizer_of(prepared, track)
    prompt = layout.prompt(text.ids(caption, layout.caption_tokens), text.bos)
    header = {"rows": count, "sampling": asdict(sampling), "seed": seed}
    parts = drawer.draw(header, np.array(prompt, "<u2").tobytes())
    codes = np.concatenate([np.frombuffer(raw, "<u2") for raw in parts]).reshape(count, track.image_tokens)
    if codes.max() >= track.n_codes:
        raise UsageError("this run", f"draws codes up to {codes.max()}", f"the track has {track.n_codes}")
    return frozen_tokenizer(track.visual).images(codes)


def rebuilt(root: Path, kept: KeptRun, track: ImageTrack, prepared: PreparedImages, count: int) -> Pixels:
    """Held-out pictures, each followed by what a visual tokenizer makes of its codes, (2 count, C, S, S)."""
    pixels, _ = held_out_images(prepared, "validation")
    given = as_floats(pixels[:count])
    with drawn.on_kept(root, kept) as (arm, fd):
        codes = reconstruction.encoded(arm, track, fd, given, track.score_rows, host.threads())
        found = reconstruction.decoded(arm, track, fd, codes, track.score_rows, host.threads())
    return np.stack([pixels[:count], as_pixels(found)], axis=1).reshape(-1, *pixels.shape[1:])


def as_pixels(images: NDArray[np.floating[Any]]) -> Pixels:
    """Images in -1..1 as 0..255."""
    pixels: Pixels = np.clip(np.rint((np.nan_to_num(images) + 1) * 127.5), 0, 255).astype(np.uint8)
    return pixels


def write(pixels: Pixels, per_row: int, folder: Path, name: str, single: bool) -> list[Path]:
    """A grid `name`.png of pictures, `per_row` in a row with two pixels between; with `single`, also one file each."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    count, channels, size, _ = pixels.shape
    rows = -(-count // per_row)
    step = size + 2
    grid = np.full((rows * step + 2, per_row * step + 2, channels), 255, np.uint8)
    for i, picture in enumerate(pixels.transpose(0, 2, 3, 1)):
        y, x = (2 + place * step for place in divmod(i, per_row))
        grid[y : y + size, x : x + size] = picture
    written = [folder / f"{name}.png"]
    _image(grid).resize((grid.shape[1] * _zoom(size), grid.shape[0] * _zoom(size)), Image.Resampling.NEAREST).save(
        written[0]
    )
    if single:
        (folder / "individual").mkdir(exist_ok=True)
        for i, picture in enumerate(pixels.transpose(0, 2, 3, 1)):
            written.append(folder / "individual" / f"sample_{i:03d}.png")
            _image(picture).save(written[-1])
    return written


def _zoom(size: int) -> int:
    """Small pictures are enlarged in a grid, so that people can see them."""
    return max(1, 64 // size)


def _image(pixels: NDArray[np.uint8]) -> Any:
    from PIL import Image

    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
