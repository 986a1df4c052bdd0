"""Pictures that a submission's models drew: PNG files that `blueberry generate --output-dir` left in the store.

They lie in `samples/<track>-<budget>/<arm>/` beside the run files; those of the core are shown next to them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_BYTES, MAX_PICTURES, MAX_SIDE = 1 << 20, 8, 4_096
CORE = "core"


@dataclass(frozen=True)
class Sample:
    """One picture, and where it stands on the site."""

    cell: str  # track and budget
    arm: str
    name: str  # of its file
    width: int
    height: int
    data: bytes

    @property
    def alt(self) -> str:
        """What a reader who cannot see it is told."""
        return f"Samples of {self.arm} on {self.cell}: {self.name.removesuffix('.png').replace('_', ' ')}"

    @property
    def place(self) -> str:
        """Its file beside the submission's page."""
        return f"samples/{self.cell}/{self.arm}-{self.name}"


def samples_of(folder: Path, arm: str, cells: list[str]) -> list[Sample]:
    """The pictures of an arm and, of the same names, those of the core; what is no plain small PNG is left out."""
    found = []
    for cell in cells:
        for path in sorted((folder / "samples" / cell / arm).glob("*.png"))[:MAX_PICTURES]:
            both = (_read(path, cell, arm), _read(folder / "samples" / cell / CORE / path.name, cell, CORE))
            found += [sample for sample in both if sample is not None]
    return found


def _read(path: Path, cell: str, arm: str) -> Sample | None:
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_BYTES or not path.stem.isidentifier():
        return None
    data = path.read_bytes()
    if not data.startswith(SIGNATURE) or data[12:16] != b"IHDR" or len(data) < 24:
        return None
    width, height = struct.unpack(">II", data[16:24])
    return Sample(cell, arm, path.name, width, height, data) if 0 < max(width, height) <= MAX_SIDE else None
