"""Pictures from a trained image model: drawn from noise, from a caption, or rebuilt from their codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.captioned import PreparedCaptions, layout_of, text_tokenizer_of
from harness.data.visual import frozen_tokenizer
from harness.generate.text import Sampling
from harness.run import drawn, host, reconstruction
from harness.run.drawn import Drawer
from harness.run.images import as_floats
from harness.run.kept import KeptRun
from harness.run.stage import StageError
from harness.tracks import CaptionTrack, ImageTrack

Pixels = NDArray[np.uint8]  # (n, C, S, S)
# A worker answers image by image or some at a time, so that a slow machine still answers in time
MOST_AT_ONCE = 64
READ_AT_ONCE = 1 << 18  # tokens that a flow model reads for one answer
CODES_AT_ONCE = 1 << 13  # that are drawn for one answer


@dataclass(frozen=True)
class Diffusion:
    """How the path from noise to an image is followed."""

    steps: int
    guidance: float  # 1: none; above it, the class is exaggerated


def from_noise(drawer: Drawer, track: ImageTrack, labels: Sequence[int], diffusion: Diffusion, seed: int) -> Pixels:
    """One picture of a flow model for each class in `labels`; the number of classes stands for none of them."""
    evaluations = diffusion.steps * (1 if diffusion.guidance == 1 else 2)
    at_once = _at_once(READ_AT_ONCE, track.image_tokens * evaluations)
    header = {"steps": diffusion.steps, "guidance": diffusion.guidance, "seed": seed, "at_once": at_once}
    shape = (len(labels), track.channels, track.size, track.size)
    return as_pixels(drawer.array(header, np.array(labels, "<u2").tobytes(), "<f4", shape))


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
    at_once = _at_once(CODES_AT_ONCE, track.image_tokens)
    header = {"rows": count, "sampling": asdict(sampling), "seed": seed, "at_once": at_once}
    codes = drawer.array(header, np.array(prompt, "<u2").tobytes(), "<u2", (count, track.image_tokens))
    if codes.max() >= track.n_codes:
        raise StageError("crashed", f"draw: a code {codes.max()}, where the track has {track.n_codes}")
    return frozen_tokenizer(track.visual).images(codes)


def _at_once(limit: int, for_one: int) -> int:
    return max(1, min(MOST_AT_ONCE, limit // for_one))


def rebuilt(root: Path, kept: KeptRun, track: ImageTrack, pixels: Pixels) -> Pixels:
    """What a visual tokenizer makes of pictures by way of their codes."""
    with drawn.on_kept(root, kept) as (arm, fd):
        codes = reconstruction.encoded(arm, track, fd, as_floats(pixels), track.score_rows, host.threads())
        if codes.max() >= track.n_codes:
            raise StageError("crashed", f"draw: a code {codes.max()}, where the track has {track.n_codes}")
        return as_pixels(reconstruction.decoded(arm, track, fd, codes, track.score_rows, host.threads()))


def as_pixels(images: NDArray[np.floating[Any]]) -> Pixels:
    """Images in -1..1 as 0..255."""
    pixels: Pixels = np.clip(np.rint((np.nan_to_num(images) + 1) * 127.5), 0, 255).astype(np.uint8)
    return pixels


def write(pixels: Pixels, per_row: int, folder: Path, name: str, single: bool) -> list[Path]:
    """A grid `name`.png of pictures, `per_row` in a row with two pixels between; with `single`, also one file each."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for old in (folder / "individual").glob("sample_[0-9][0-9][0-9].png"):  # of an earlier call, perhaps a larger one
        old.unlink()
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
