"""Verbs that draw from a trained model: generate, quality."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.surface import DataOption, Json, Said, app, root, say
from harness.errors import UsageError

Run = Annotated[str, typer.Argument(help="A run file, or TRACK/BUDGET/ARM.", show_default=False)]
Prompt = Annotated[str | None, typer.Option(help="What text goes on from, or the caption of pictures.")]
Temperature = Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token.")]
TopK = Annotated[int, typer.Option(min=0, help="Only so many of the likeliest tokens; 0: all.")]
TopP = Annotated[float, typer.Option(min=0.0, max=1.0, help="Only the likeliest that have so much probability.")]
Penalty = Annotated[float, typer.Option("--repetition-penalty", min=1.0, help="Makes what was said less likely.")]
Steps = Annotated[int, typer.Option("--num-steps", min=1, max=10_000, help="From noise to an image.")]
Guidance = Annotated[float, typer.Option("--cfg-scale", min=0.0, help="1: none; more exaggerates the class.")]
Samples = Annotated[int, typer.Option("--num-samples", min=1, max=4_096, help="Pictures.")]
PerClass = Annotated[int, typer.Option("--samples-per-class", min=1, max=1_024)]
Seed = Annotated[int, typer.Option(help="Equal seeds draw equal samples.")]
Folder = Annotated[Path, typer.Option("--output-dir", help="Where pictures go.")]


@app.command()
def generate(
    run: Run,
    prompt: Prompt = None,
    interactive: Annotated[bool, typer.Option("--interactive", help="Ask for one prompt after the other.")] = False,
    max_new_tokens: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
    temperature: Temperature = 0.8,
    top_k: TopK = 50,
    top_p: TopP = 0.95,
    repetition_penalty: Penalty = 1.0,
    num_samples: Samples = 16,
    class_label: Annotated[int | None, typer.Option("--class-label", min=0, help="Of all pictures.")] = None,
    class_grid: Annotated[bool, typer.Option("--class-grid", help="A row of pictures for each class.")] = False,
    samples_per_class: PerClass = 8,
    num_steps: Steps = 50,
    cfg_scale: Guidance = 2.0,
    seed: Seed = 0,
    output_dir: Folder = Path("generated"),
    data: DataOption = None,
    as_json: Json = False,
) -> Said:
    """Text, pictures or pictures of captions from a finished run."""
    from harness.generate.pictures import Diffusion
    from harness.generate.text import Sampling

    source = _source(run, data)
    sampling = Sampling(temperature, top_k, top_p, repetition_penalty)
    if source.track.metric == "nll":
        return _text(source, prompt, interactive, sampling, max_new_tokens, seed, as_json)
    if source.track.metric == "reconstruction":
        return _written(_rebuilt(source, num_samples), 8, output_dir, "rebuilt")
    if prompt is not None:
        from harness.generate.samples import of_caption

        pixels = of_caption(source, prompt, num_samples, sampling, seed)
        return _written(pixels, int(num_samples**0.5), output_dir, "generated")
    labels, per_row = _labels(source, class_label, class_grid, samples_per_class, num_samples, seed)
    from harness.generate.samples import of_classes

    drawn = of_classes(source, labels, sampling, Diffusion(num_steps, cfg_scale), seed)
    return _written(drawn.pixels, per_row, output_dir, "class_grid" if class_grid else "generated")


@app.command()
def quality(
    run: Run,
    samples_per_class: PerClass = 50,
    temperature: Temperature = 1.0,
    top_k: TopK = 0,
    num_steps: Steps = 50,
    cfg_scale: Guidance = 2.0,
    seed: Seed = 0,
    data: DataOption = None,
    as_json: Json = False,
) -> Said:
    """How good generated pictures are: read by a classifier of the real ones, and their distance from those."""
    from harness.generate.classifier import classifier_of
    from harness.generate.pictures import Diffusion
    from harness.generate.quality import quality as measured
    from harness.generate.samples import class_names, is_varied, of_classes, real_images
    from harness.generate.text import Sampling

    source = _source(run, data)
    if source.track.metric not in ("velocity", "captions"):
        raise UsageError(run, "draws no pictures of classes", "choose a run of a flow or multimodal track")
    labels = [label for label in range(len(class_names(source))) for _ in range(samples_per_class)]
    drawn = of_classes(source, labels, Sampling(temperature, top_k, 1.0, 1.0), Diffusion(num_steps, cfg_scale), seed)
    real = real_images(source, data, say)
    found = measured(classifier_of(real, is_varied(source.track), say), real, drawn.pixels, drawn.labels)
    text = (
        f"{found.images} pictures: {found.accuracy:.1%} are read as the class asked for; "
        f"of real ones {found.real_accuracy:.1%} as theirs\n"
        f"Frechet distance from real ones: {found.distance:.3f}, of other real ones {found.real_distance:.3f}"
    )
    return Said(text, {"ok": True, **asdict(found)})


def _source(run: str, data: str | None) -> Any:
    from harness.generate.samples import Source, prepared_of
    from harness.run import sandbox
    from harness.run.kept import find
    from harness.tracks import track_named

    sandbox.require_in_ci()
    here = root()
    kept = find(here, run)
    track = track_named(kept.record.spec.track)
    return Source(here, kept, track, prepared_of(kept, track, data, say))


def _text(
    source: Any, prompt: str | None, interactive: bool, sampling: Any, most: int, seed: int, as_json: bool
) -> Said:
    """Writes as the model does: piece by piece to stdout, unless a program reads it."""
    from harness.generate.text import continued, text_of
    from harness.run import drawn

    text = text_of(source.data)
    written = []
    with drawn.loaded(source.root, source.kept, source.track) as drawer:
        for number, given in enumerate(_prompts() if interactive else [prompt or ""]):
            pieces = []
            for piece in continued(drawer, text, given, sampling, most, seed + number):
                pieces.append(piece)
                if not as_json:
                    print(piece if len(pieces) > 1 else given + piece, end="", flush=True)
            if not as_json:
                print(flush=True)
            written.append({"prompt": given, "text": "".join(pieces)})
    return Said("", {"ok": True, "written": written})


def _prompts() -> Any:
    while True:
        print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        yield line.rstrip("\n")


def _rebuilt(source: Any, count: int) -> Any:
    from harness.generate.pictures import rebuilt

    return rebuilt(source.root, source.kept, source.track, source.data, count)


def _labels(
    source: Any, class_label: int | None, class_grid: bool, per_class: int, count: int, seed: int
) -> tuple[list[int], int]:
    """The class of every picture, and how many stand in a row."""
    import random

    from harness.generate.samples import class_names

    classes = len(class_names(source))
    if class_label is not None and class_label >= classes:
        raise UsageError("--class-label", f"{class_label}, but there are {classes} classes", f"0 to {classes - 1}")
    if class_grid:
        return [label for label in range(classes) for _ in range(per_class)], per_class
    if class_label is not None:
        return [class_label] * count, max(1, int(count**0.5))
    return [random.Random(seed).randrange(classes) for _ in range(count)], max(1, int(count**0.5))


def _written(pixels: Any, per_row: int, folder: Path, name: str) -> Said:
    from harness.generate.pictures import write

    files = [str(path) for path in write(pixels, per_row, folder, name, single=len(pixels) <= 64)]
    return Said(
        files[0] + (f" and {len(files) - 1} single pictures" if files[1:] else ""), {"ok": True, "files": files}
    )
