"""What all verbs share: the application, what a verb says, where it is, and the options that several have."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Decides, without a human at the stopwatch, whether a change to the training core is a gain.",
)

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
Slug = Annotated[str, typer.Argument(help="Folder in submissions/ (or baselines/).", show_default=False)]
TrackOption = Annotated[str | None, typer.Option("--track", help="Track; see `blueberry tracks`.")]
BudgetOption = Annotated[str | None, typer.Option("--budget", help="smoke, 1M, 8M, 20M, 100M or 1B.")]
PairsOption = Annotated[int | None, typer.Option("--pairs", min=2, max=100, help="Most pairs before a verdict.")]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="embedded, hub:NAME@REVISION or files:PATH; for images also cifar10; ?tokenizer=PATH may follow.",
    ),
]
FitOption = Annotated[str, typer.Option("--fit", help="auto, or rows of a micro-batch; updates stay as large.")]
EpochsOption = Annotated[int, typer.Option("--epochs", min=1, help="Passes over the data that are allowed.")]
SystemsOnly = Annotated[bool, typer.Option("--systems-only", help="A maintainer's label: it changes speed alone.")]
LogOption = Annotated[list[str] | None, typer.Option("--log", help="tensorboard or wandb; may be given twice.")]
Official = Annotated[bool, typer.Option("--official", help="Into leaderboard/: for maintainers and the bot.")]


@dataclass(frozen=True)
class Said:
    """What a verb has to say: lines for people, an object for programs, and the exit code."""

    text: str
    data: dict[str, Any] = field(default_factory=dict)
    exit_code: int = 0


def root() -> Path:
    from harness.submission.root import find_root

    return find_root(Path.cwd())


def finite(value: float | None) -> float | None:
    """NaN passes every bound."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number")
    return value


def say(line: str) -> None:
    """One line of progress for people."""
    print(line, file=sys.stderr, flush=True)


def micro_batch(fit: str) -> int | None:
    """The --fit option: None for auto."""
    from harness.errors import UsageError

    if fit == "auto":
        return None
    if not fit.isdecimal() or not 1 <= int(fit[:9]) <= 1 << 20:
        raise UsageError("--fit", f"{fit!r} is neither auto nor a number of rows", "use --fit auto, or --fit 4")
    return int(fit)
