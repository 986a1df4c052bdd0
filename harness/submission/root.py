"""Where things are: the root of the clone, and the folder of a submission or a reference arm."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from harness.errors import UsageError

SLUG = re.compile(r"[a-z0-9][a-z0-9-]{1,38}[a-z0-9]")
RESERVED = ("core",)  # the name of the unpatched arm


def find_root(cwd: Path) -> Path:
    """The nearest of `cwd` and its parents that holds submissions/ and model_core/; raises UsageError."""
    for folder in (cwd.resolve(), *cwd.resolve().parents):
        if (folder / "submissions").is_dir() and (folder / "model_core").is_dir():
            return folder
    raise UsageError(
        str(cwd),
        "neither this folder nor any above it holds both submissions/ and model_core/",
        "change into a clone of the project",
    )


def is_slug(name: str) -> bool:
    """Whether `name` can be the name of a submission."""
    return SLUG.fullmatch(name) is not None and name not in RESERVED


def slug_of(name: str) -> str:
    """The last part of a name, which may be a path to the folder."""
    return name.rstrip("/").rsplit("/", 1)[-1]


def find_folder(root: Path, name: str) -> Path:
    """The folder in submissions/ or baselines/ of that name (a path to it works too); raises UsageError.

    Only the last part of `name` is used, so nothing outside the two folders can be reached.
    """
    slug = slug_of(name)
    if is_slug(slug):
        for parent in ("submissions", "baselines"):
            if (root / parent / slug).is_dir():
                return root / parent / slug
    known = sorted(folder.name for part in ("submissions", "baselines") for folder in _folders(root / part))
    near = difflib.get_close_matches(slug, [one for one in known if is_slug(one)], n=1)
    hint = f"did you mean {near[0]}?" if near else f"`blueberry new {slug if is_slug(slug) else 'SLUG'}` makes one"
    what = (
        "there is no submission of that name" if is_slug(slug) else "is no name of a submission: a-z, 0-9 and - alone"
    )
    raise UsageError(name[:80], what, hint)


def _folders(parent: Path) -> list[Path]:
    return [path for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
