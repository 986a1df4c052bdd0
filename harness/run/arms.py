"""Builds the folder that a worker sees: the arm's model_core, the worker's own files, and nothing else."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from harness.confine.scratch import removed
from harness.records.atomic import disk_trouble
from harness.run.stage import PATIENCE_S, Arm
from harness.submission.patch import PatchedCore, core_digest
from harness.tracks import Track

HERE = Path(__file__).parent
WORKER_FILES = ("worker.py", "wire.py", "drawing.py")


@contextlib.contextmanager
def fresh_folder(folder: Path) -> Iterator[Path]:
    """An empty folder for the block. What an earlier, interrupted harness left at its place is removed."""
    with disk_trouble(folder):
        removed(folder)
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        removed(folder)


@contextlib.contextmanager
def built(work: Path, cores: Mapping[str, PatchedCore], patience_s: float = PATIENCE_S) -> Iterator[dict[str, Arm]]:
    """Arms by name."""
    with fresh_folder(work / "arms") as folder:
        with disk_trouble(folder):
            arms = {name: build(folder / name, name, core.folder, core.patch_sha) for name, core in cores.items()}
        yield {name: replace(arm, patience_s=patience_s) for name, arm in arms.items()}


def build(folder: Path, name: str, core: Path, patch_sha: str | None) -> Arm:
    """One arm in the fresh folder `folder`, with a copy of the model_core that `core` holds."""
    folder.mkdir(parents=True)
    shutil.copytree(core, folder / "model_core")
    for file in WORKER_FILES:
        shutil.copy2(HERE / file, folder / file)
    return Arm(name, folder, patch_sha)


def track_core_id(root: Path, track: Track) -> str:
    """Digest of the unpatched core files that this track runs; rows are compared only where it is equal."""
    return core_digest(root / "model_core", track.core_files)


def core_digest_of(root: Path) -> str:
    """Digest of all of model_core."""
    return core_digest(root / "model_core")
