"""The last completed run of each arm at a track and budget: its checkpoint, code, run file and what its data was.

Kept outside git for whoever wants to see what was trained (`blueberry generate`). The code stays with the weights, so
that they can be used after the core has moved.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.data.captioned import PreparedCaptions
from harness.data.images import PreparedImages
from harness.errors import MachineError, UsageError
from harness.records.atomic import disk_trouble
from harness.records.record import RunRecord
from harness.run.stage import Arm

WEIGHTS, CODE, RUN, DATA = "checkpoint.safetensors", "model_core", "run.json", "data.json"


class TrainedOn(BaseModel):
    """What is to be known of a run's data without the data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_names: tuple[str, ...] | None = None  # of images
    visual: str | None = None  # sha256 of the frozen tokenizer that made codes of them

    @staticmethod
    def of(prepared: object) -> TrainedOn:
        if isinstance(prepared, PreparedCaptions):
            return TrainedOn(class_names=prepared.class_names, visual=prepared.visual)
        return TrainedOn(class_names=prepared.class_names if isinstance(prepared, PreparedImages) else None)


UNKNOWN = TrainedOn()  # of text, and of runs from before this was kept


@dataclass(frozen=True)
class KeptRun:
    """A completed run with everything that drawing from it takes."""

    record: RunRecord
    weights: Path
    code: Path
    data: TrainedOn = UNKNOWN


def cell_folder(root: Path, track: str, budget: str) -> Path:
    return root / ".blueberry" / "checkpoints" / f"{track}-{budget}"


def keep(folder: Path, arm: Arm, record: RunRecord, fd: int, data: TrainedOn = UNKNOWN) -> None:
    """Puts a completed run in the place of the arm's last one; a reader never sees half of it."""
    place = folder / record.spec.arm
    part, old = (folder / f".{record.spec.arm}.{os.getpid()}.{state}" for state in ("part", "old"))
    with disk_trouble(place):
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(arm.folder / CODE, part / CODE, ignore=shutil.ignore_patterns("__pycache__"))
        with open(f"/proc/self/fd/{fd}", "rb") as source, open(part / WEIGHTS, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 24)
        (part / RUN).write_text(record.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8")
        (part / DATA).write_text(data.model_dump_json(indent=1) + "\n", encoding="utf-8")
        if place.exists():
            place.rename(old)
        part.rename(place)
        shutil.rmtree(old, ignore_errors=True)


def find(root: Path, name: str) -> KeptRun:
    """The kept run that `name` names: TRACK/BUDGET/ARM, or the path of a run file.

    Raises UsageError when there is none, or when a later run of that arm has taken its place.
    """
    path = Path(name)
    if path.suffix == ".json":
        wanted = _read(path, UsageError)
        spec = wanted.spec
        kept = _kept(cell_folder(root, spec.track, spec.budget) / spec.arm, root, name)
        if kept.record.checkpoint_sha256 != wanted.checkpoint_sha256:
            latest = f"{spec.track}/{spec.budget}/{spec.arm}"
            raise UsageError(name, "its checkpoint was replaced by a later run's", f"use {latest}, or run it again")
        return kept
    parts = name.strip("/").split("/")
    if len(parts) != 3 or any(part.startswith(".") for part in parts):
        raise UsageError(name, "is neither a run file nor TRACK/BUDGET/ARM", _known(root))
    track, budget, arm = parts
    return _kept(cell_folder(root, track, budget) / arm, root, name)


def _kept(folder: Path, root: Path, name: str) -> KeptRun:
    if not (folder / RUN).is_file():
        raise UsageError(name, "no checkpoint of it is on this machine", _known(root))
    return KeptRun(_read(folder / RUN, MachineError), folder / WEIGHTS, folder / CODE, _trained_on(folder / DATA))


def _trained_on(path: Path) -> TrainedOn:
    if not path.exists():
        return UNKNOWN
    try:
        return TrainedOn.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MachineError(str(path), f"cannot be read: {str(error)[:200]}", "delete it, or run again") from error


def _read(path: Path, trouble: type[UsageError] | type[MachineError]) -> RunRecord:
    try:
        return RunRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, ValidationError) as error:
        raise trouble(str(path), f"is no run file: {str(error)[:200]}", "give the path of a run file") from error


def _known(root: Path) -> str:
    runs = sorted((root / ".blueberry" / "checkpoints").glob(f"*/[!.]*/{RUN}"))
    names = []
    for run in runs:
        spec = _read(run, MachineError).spec
        names.append(f"{spec.track}/{spec.budget}/{spec.arm}")
    return f"choose one of {', '.join(names)}" if names else "train one: blueberry try SLUG, or blueberry baseline"
