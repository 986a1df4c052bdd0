"""From a kept run and a person's wishes to samples: which kind of model draws what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.captioned import PreparedCaptions
from harness.data.image_form import ImageForm
from harness.data.image_stream import held_out_images
from harness.data.images import PreparedImages, prepare_images
from harness.errors import UsageError
from harness.generate import pictures
from harness.generate.pictures import Diffusion, Pixels
from harness.generate.text import Sampling
from harness.run import drawn
from harness.run.kept import KeptRun
from harness.run.measure import Prepared, measure_of
from harness.tracks import CaptionTrack, ImageTrack, Track

Say = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """A kept run, its track and the data that it was trained on, None where the names of its classes are enough."""

    root: Path
    kept: KeptRun
    track: Track
    data: Any


@dataclass(frozen=True)
class Labelled:
    """Pictures (n, C, S, S) and the class that each was to show (n,)."""

    pixels: Pixels
    labels: NDArray[np.int64]


def needs_data(kept: KeptRun, track: Track) -> bool:
    """Whether drawing takes more of the data than what is kept with the run: a flow knows numbers of classes alone."""
    return track.metric != "velocity" or kept.data.class_names is None


def prepared_of(kept: KeptRun, track: Track, data: str | None, say: Say) -> Prepared:
    """The data of a kept run; raises UsageError when `data` names another set, or its codes mean something else now."""
    prepared: Prepared = measure_of(track).prepare(track, data, say)
    if prepared.data_id != kept.record.spec.data_id:
        _refuse_other_codes(kept, prepared)
        raise UsageError(
            "--data",
            f"the run was trained on data {kept.record.spec.data_id[:12]}, this is {prepared.data_id[:12]}",
            "name the same source with --data",
        )
    return prepared


def _refuse_other_codes(kept: KeptRun, prepared: Prepared) -> None:
    before = kept.data.visual
    if before is not None and isinstance(prepared, PreparedCaptions) and prepared.visual != before:
        spec = kept.record.spec
        raise UsageError(
            f"{spec.track}/{spec.budget}/{spec.arm}",
            f"was trained on codes of the frozen tokenizer {before[:12]}, which is now {prepared.visual[:12]}",
            "take harness/data/frozen from the commit of the run, or train it again",
        )


def class_names(source: Source) -> tuple[str, ...]:
    """Of the classes that pictures can be asked for."""
    names: tuple[str, ...] = source.kept.data.class_names or source.data.class_names
    return names


def is_varied(track: Track) -> bool:
    """Whether the track serves images that are shifted and turned a little."""
    return (isinstance(track, ImageTrack) and track.augment) or (isinstance(track, CaptionTrack) and track.copies > 1)


def of_classes(source: Source, labels: Sequence[int], sampling: Sampling, diffusion: Diffusion, seed: int) -> Labelled:
    """One picture for each label, from noise or from the track's first caption."""
    track = source.track
    with drawn.loaded(source.root, source.kept, track) as drawer:
        if isinstance(track, ImageTrack):
            return Labelled(pictures.from_noise(drawer, track, labels, diffusion, seed), np.array(labels))
        assert isinstance(track, CaptionTrack)
        found = np.empty((len(labels), track.channels, track.size, track.size), np.uint8)
        for label in sorted(set(labels)):
            places = [i for i, one in enumerate(labels) if one == label]
            caption = track.templates[0].format(class_names(source)[label])
            found[places] = pictures.from_caption(
                drawer, track, source.data, caption, len(places), sampling, seed + label
            )
    return Labelled(found, np.array(labels))


def of_caption(source: Source, caption: str, count: int, sampling: Sampling, seed: int) -> Pixels:
    """Pictures of one caption."""
    track = source.track
    assert isinstance(track, CaptionTrack)
    with drawn.loaded(source.root, source.kept, track) as drawer:
        return pictures.from_caption(drawer, track, source.data, caption, count, sampling, seed)


def beside_rebuilt(source: Source, count: int) -> Pixels:
    """Held-out pictures, each followed by what a visual tokenizer makes of it, (2 n, C, S, S); n is at most `count`."""
    assert isinstance(source.track, ImageTrack)
    pixels = held_out_images(source.data, "validation")[0][:count]
    found = pictures.rebuilt(source.root, source.kept, source.track, pixels)
    return np.stack([pixels, found], axis=1).reshape(-1, *pixels.shape[1:])


def real_images(source: Source, data: str | None, say: Say) -> PreparedImages:
    """The images that a captioned track was made of, or the track's own."""
    if isinstance(source.data, PreparedImages):
        return source.data
    track = source.track
    assert isinstance(track, CaptionTrack)
    return prepare_images(ImageForm(track.channels, track.size), (data or track.source).partition("?")[0], say)
