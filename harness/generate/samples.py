"""From a kept run and a person's wishes to samples: which kind of model draws what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.image_form import ImageForm
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
    """A kept run, its track and the data that it was trained on."""

    root: Path
    kept: KeptRun
    track: Track
    data: Any


@dataclass(frozen=True)
class Labelled:
    """Pictures (n, C, S, S) and the class that each was to show (n,)."""

    pixels: Pixels
    labels: NDArray[np.int64]


def prepared_of(kept: KeptRun, track: Track, data: str | None, say: Say) -> Prepared:
    """The data of a kept run; raises UsageError when `data` names another set."""
    prepared: Prepared = measure_of(track).prepare(track, data, say)
    if prepared.data_id != kept.record.spec.data_id:
        raise UsageError(
            "--data",
            f"the run was trained on data {kept.record.spec.data_id[:12]}, this is {prepared.data_id[:12]}",
            "name the same source with --data",
        )
    return prepared


def class_names(source: Source) -> tuple[str, ...]:
    """Of the classes that pictures can be asked for."""
    names: tuple[str, ...] = source.data.class_names
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
    """Pictures of one caption; raises UsageError where the model reads no captions."""
    track = source.track
    if not isinstance(track, CaptionTrack):
        raise UsageError("--prompt", f"track {track.name} draws classes, not captions", "use --class-label N")
    with drawn.loaded(source.root, source.kept, track) as drawer:
        return pictures.from_caption(drawer, track, source.data, caption, count, sampling, seed)


def real_images(source: Source, data: str | None, say: Say) -> PreparedImages:
    """The images that a captioned track was made of, or the track's own."""
    if isinstance(source.data, PreparedImages):
        return source.data
    track = source.track
    assert isinstance(track, CaptionTrack)
    return prepare_images(ImageForm(track.channels, track.size), (data or track.source).partition("?")[0], say)
