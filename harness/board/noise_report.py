"""The noise page: how much the core differs from itself on every track, which is what every verdict rests on."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.board import figures, plots, tables
from harness.board.entries import entries_of, read
from harness.board.figures import Figure
from harness.board.noise import noise_of
from harness.board.page import page
from harness.decide.bank import Evaluation
from harness.errors import UsageError
from harness.records.atomic import write_atomically
from harness.records.store import Store
from harness.tracks import TRACKS

if TYPE_CHECKING:
    import pandas as pd

NAME = "core"  # no submission can have this name


@dataclass(frozen=True)
class TrackNoise:
    """What the page shows of one track."""

    name: str
    sentence: str
    figures: list[Figure]
    table: pd.DataFrame


def collect(store: Store) -> list[TrackNoise]:
    """Every track with a closed evaluation; raises UsageError where there is none."""
    evaluations = read(store)
    found = [_track(evaluations, name) for name in TRACKS if noise_of(evaluations, name)]
    if not found:
        fix = "`blueberry baseline --track llm-tiny --budget smoke` measures it"
        raise UsageError(f"report {NAME}", f"no noise has been measured in {store.folder}", fix)
    return found


def _track(evaluations: list[Evaluation], name: str) -> TrackNoise:
    own = [item for item in evaluations if item[0].track == name]
    entries = [entry for item in own if item[0].kind == "submission" for entry in entries_of(*item)]
    rates = figures.spent_rates(entries)
    decided = "One claim has" if len(rates) == 1 else f"{len(rates)} claims have"
    sentence = (
        f"{decided} been decided; were none of them true, {sum(rates):.2f} or fewer would be expected to be accepted, "
        "before their second race on fresh seeds."
    )
    return TrackNoise(name, sentence, figures.noise_page(own, name, entries), tables.noise(noise_of(own, name)))


def write(store: Store, folder: Path) -> list[Path]:
    """report.md, report.html and figures/*.svg in `folder`; raises UsageError."""
    tracks = collect(store)
    texts = {f"figures/{figure.name}.svg": figure.svg for track in tracks for figure in track.figures}
    texts["report.md"] = page("noise.md.j2", tracks=tracks)
    texts["report.html"] = page("noise.html.j2", tracks=tracks, inline=plots.inline, unescape=html.unescape)
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return [folder / name for name in sorted(texts)]
