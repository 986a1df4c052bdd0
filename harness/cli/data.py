"""Verbs on data: prepare, show, freeze."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.surface import DataOption, EpochsOption, Json, Said, app, root, say

data_app = typer.Typer(no_args_is_help=True, help="Prepare, show or freeze what a track needs.", rich_markup_mode=None)
app.add_typer(data_app, name="data")


@data_app.command("prepare")
def data_prepare(
    track: Annotated[str, typer.Option("--track")] = "llm-tiny", data: DataOption = None, as_json: Json = False
) -> Said:
    """Prepare the data of a track, or find it in the cache."""
    from harness.run.measure import measure_of
    from harness.tracks import track_named

    chosen = track_named(track)
    measure = measure_of(chosen)
    described = measure.describe(measure.prepare(chosen, data, say))
    return Said("\n".join(f"{key}: {value}" for key, value in described.items()), {"ok": True, **described})


@data_app.command("show")
def data_show(
    track: Annotated[str, typer.Option("--track")] = "llm-tiny", data: DataOption = None, as_json: Json = False
) -> Said:
    """Show tokens, documents, overlap and digest; what is not in the cache yet is prepared first."""
    return data_prepare(track, data, as_json)


@data_app.command("freeze")
def data_freeze(
    track: Annotated[str, typer.Option("--track", help="vqvae-tiny or vqvae.")],
    budget: Annotated[str, typer.Option("--budget", help="Training tokens.")] = "8M",
    data: DataOption = None,
    epochs: EpochsOption = 1,
    as_json: Json = False,
) -> Said:
    """Train the core's visual tokenizer once and keep it for the captioned tracks; a new one makes all their rows
    incomparable with the old."""
    from harness.progress import ProgressReporter
    from harness.run.freeze import freeze
    from harness.tracks import budget_named, track_named

    here, chosen, size = root(), track_named(track), budget_named(budget)
    with ProgressReporter(1) as reporter:
        frozen = freeze(here, chosen, size, data, epochs, reporter)
    text = (
        f"mean squared error {frozen.loss:.5f}, {frozen.codes_in_use} codes in use, perplexity {frozen.perplexity:.1f}"
    )
    return Said(text, {"ok": True, **frozen.model_dump()})
