"""Verbs on a trained model: generate, quality, export."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.surface import DataOption, Json, Said, app, finite, root, say
from harness.errors import UsageError

Run = Annotated[str, typer.Argument(help="A run file, or TRACK/BUDGET/ARM.", show_default=False)]
Prompt = Annotated[str | None, typer.Option(help="What text goes on from, or the caption of pictures.")]
Temperature = Annotated[float, typer.Option(min=0.0, callback=finite, help="0 takes the likeliest token.")]
TopK = Annotated[int, typer.Option(min=0, help="Only so many of the likeliest tokens; 0: all.")]
TopP = Annotated[
    float, typer.Option(min=0.0, max=1.0, callback=finite, help="Only the likeliest that have so much probability.")
]
Penalty = Annotated[
    float, typer.Option("--repetition-penalty", min=1.0, callback=finite, help="Makes what was said less likely.")
]
Steps = Annotated[int, typer.Option("--num-steps", min=1, max=10_000, help="From noise to an image.")]
Guidance = Annotated[
    float, typer.Option("--cfg-scale", min=0.0, callback=finite, help="1: none; more exaggerates the class.")
]
Samples = Annotated[int, typer.Option("--num-samples", min=1, max=4_096, help="Pictures.")]
PerClass = Annotated[int, typer.Option("--samples-per-class", min=1, max=1_024)]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Equal seeds draw equal samples.")]
Folder = Annotated[Path, typer.Option("--output-dir", help="Where pictures go.")]

_DRAWN = {"temperature", "top_k", "seed"}
_PICTURED = {"num_samples", "output_dir"}
_CLASSES = {"class_label", "class_grid", "samples_per_class", "seed"}
# by the track's metric: which of their options the verbs here look at; --data and --json are for all
OPTIONS = {
    "nll": {*_DRAWN, "prompt", "interactive", "max_new_tokens", "top_p", "repetition_penalty"},
    "captions": {*_DRAWN, *_PICTURED, *_CLASSES, "prompt", "top_p"},
    "velocity": {*_PICTURED, *_CLASSES, "num_steps", "cfg_scale"},
    "reconstruction": _PICTURED,
}
APART = (  # where both are given, the second would be ignored
    ("interactive", "prompt"),
    ("prompt", "class_label"),
    ("prompt", "class_grid"),
    ("class_grid", "class_label"),
    ("class_grid", "num_samples"),
)


@app.command()
def generate(
    context: typer.Context,
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

    found = _found(context, run)
    _check_together(context)
    source = _source(found, data)
    sampling = Sampling(temperature, top_k, top_p, repetition_penalty)
    if source.track.metric == "nll":
        return _text(source, prompt, interactive, sampling, max_new_tokens, seed, as_json)
    if source.track.metric == "reconstruction":
        from harness.generate.samples import beside_rebuilt

        return _written(beside_rebuilt(source, num_samples), 8, output_dir, "rebuilt")
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
    context: typer.Context,
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
    """How good generated or rebuilt pictures are: read by a classifier of real ones, and their distance from those."""
    from harness.generate.pictures import Diffusion
    from harness.generate.quality import measured
    from harness.generate.samples import class_names, of_classes, real_images
    from harness.generate.text import Sampling

    found = _found(context, run)
    if found.track.metric == "nll":
        raise UsageError(run, "draws no pictures", "choose a run of an image or captioned track")
    source, drawn = _source(found, data, whole=True), None
    if source.track.metric != "reconstruction":
        labels = [label for label in range(len(class_names(source))) for _ in range(samples_per_class)]
        sampling, diffusion = Sampling(temperature, top_k, 1.0, 1.0), Diffusion(num_steps, cfg_scale)
        drawn = of_classes(source, labels, sampling, diffusion, seed)
    told = measured(source, real_images(source, data, say), drawn, say)
    return Said(_told(told, "rebuilt" if drawn is None else "generated"), {"ok": True, **asdict(told)})


@app.command()
def export(
    run: Run,
    output_dir: Annotated[Path | None, typer.Option("--output-dir", help="Where it goes.", show_default=False)] = None,
    data: DataOption = None,
    as_json: Json = False,
) -> Said:
    """A language model as a folder that transformers loads, its code and tokenizer beside it."""
    from harness.generate.export import export as exported
    from harness.generate.export import text_track
    from harness.generate.samples import prepared_of
    from harness.run.kept import find
    from harness.tracks import track_named

    kept = find(root(), run)
    spec = kept.record.spec
    track = text_track(track_named(spec.track), run)
    folder = output_dir or Path("exported") / f"{spec.track}-{spec.budget}-{spec.arm}"
    prepared: Any = prepared_of(kept, track, data, say)
    exported(kept, track, prepared, folder)
    text = f'{folder}: AutoModelForCausalLM.from_pretrained("{folder}", trust_remote_code=True)'
    return Said(text, {"ok": True, "folder": str(folder)})


def _told(found: Any, kind: str) -> str:
    rows = [(kind, found.accuracy, found.distance), ("real", found.real_accuracy, found.real_distance)]
    if found.rebuilt_accuracy is not None:
        rows.insert(1, ("real, through the tokenizer", found.rebuilt_accuracy, found.rebuilt_distance))
    lines = [f"{name}: {share:.1%} read as their class, Frechet distance {far:.3f}" for name, share, far in rows]
    return "\n".join([*lines, f"distances are of {found.compared} images each, from other real ones"])


def _found(context: typer.Context, run: str) -> Any:
    """The kept run that a verb names, without its data; raises UsageError for what was asked of it in vain."""
    from harness.generate.samples import Source
    from harness.run import sandbox
    from harness.run.kept import find
    from harness.tracks import track_named

    sandbox.require_in_ci()
    here = root()
    kept = find(here, run)
    track = track_named(kept.record.spec.track)
    _check_options(context, track.name, track.metric)
    if "output_dir" in OPTIONS[track.metric] & set(context.params):
        _check_folder(context.params["output_dir"])
    return Source(here, kept, track, None)


def _source(found: Any, data: str | None, whole: bool = False) -> Any:
    """What a verb draws from; `whole`: with its data, also where drawing alone could do without."""
    from harness.generate.samples import needs_data, prepared_of

    needed = whole or data is not None or needs_data(found.kept, found.track)
    return replace(found, data=prepared_of(found.kept, found.track, data, say)) if needed else found


def _check_options(context: typer.Context, track: str, metric: str) -> None:
    """Raises UsageError for an option that would be ignored, as it is for tracks of another kind."""
    from harness.tracks import TRACKS

    known = set().union(*OPTIONS.values()) & set(context.params)
    if foreign := sorted(_given(context, known) - OPTIONS[metric]):
        meant = ", ".join(other.name for other in TRACKS.values() if foreign[0] in OPTIONS[other.metric])
        own = ", ".join(map(_flag, sorted(known & OPTIONS[metric]))) or "none of its kind"
        what = f"is for {meant}; the run is of {track}"
        raise UsageError(_flag(foreign[0]), what, f"leave it out; {track} takes {own}")


def _given(context: typer.Context, names: set[str]) -> set[str]:
    """Those of the options that stand on the command line."""
    return {name for name in names if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"}


def _check_together(context: typer.Context) -> None:
    """Raises UsageError for an option that another one would make meaningless."""
    for first, second in APART:
        if _given(context, {first, second}) == {first, second}:
            raise UsageError(_flag(second), f"says nothing beside {_flag(first)}", "leave one of the two out")
    if _given(context, {"samples_per_class", "class_grid"}) == {"samples_per_class"}:
        fix = "add --class-grid, or say --num-samples"
        raise UsageError("--samples-per-class", "is the length of a row of the class grid", fix)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _check_folder(folder: Path) -> None:
    """Before anything is drawn; raises UsageError where a file is in the way of the folder of pictures."""
    for place in (folder / "individual", folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise UsageError("--output-dir", f"{place} is a file", "name a folder, which may be new")


def _text(
    source: Any, prompt: str | None, interactive: bool, sampling: Any, most: int, seed: int, as_json: bool
) -> Said:
    """Writes as the model does: piece by piece to stdout, unless a program reads it."""
    from harness.generate.text import continued, text_of
    from harness.run import drawn

    text = text_of(source.data)
    written = []
    tell: Callable[[str], None] = (lambda piece: None) if as_json else _tell
    with drawn.loaded(source.root, source.kept, source.track) as drawer:
        for number, given in enumerate(_prompts() if interactive else [prompt or ""]):
            tell(given)
            pieces = []
            for piece in continued(drawer, text, given, sampling, most, seed + number):
                pieces.append(piece)
                tell(piece)
            tell("\n")
            written.append({"prompt": given, "text": "".join(pieces)})
    return Said("", {"ok": True, "written": written})


def _tell(piece: str) -> None:
    print(piece, end="", flush=True)


def _prompts() -> Any:
    while True:
        print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        yield line.rstrip("\n")


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
