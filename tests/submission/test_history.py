from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.submission.history import core_of
from harness.submission.patch import core_digest, read_core


def test_every_committed_core_is_found_by_its_digest_even_in_a_subfolder_of_a_repository(root: Path) -> None:
    run = ["git", "-c", "user.name=m", "-c", "user.email=m@example.org"]
    subprocess.run(["git", "init", "-q", str(root.parent)], check=True)
    cores = []
    for width in (4, 5, 6):
        (root / "model_core" / "lm.py").write_text(f"WIDTH = {width}  # é\n")
        subprocess.run([*run, "add", "."], cwd=root, check=True)
        subprocess.run([*run, "commit", "-qm", f"core {width}"], cwd=root, check=True)
        cores.append((core_digest(root / "model_core"), read_core(root / "model_core")))
    for digest, core in cores:
        assert core_of(root, digest) == core
    with pytest.raises(UsageError, match="in no commit of this clone"):
        core_of(root, "0" * 64)
