"""A small clone to work on: six modules under model_core/, empty submissions/ and baselines/."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.submission import patch

LM = '''"""A model."""

import torch

WIDTH = 4


class LM:
    def forward(self, x):
        y = x * WIDTH
        y = y + 1
        return y
'''

MANIFEST = """title = "A wider model"
idea = "Wider is better."
authors = [{ name = "Ada", link = "https://example.org/ada" }]
base = "BASE"

[[claims]]
track = "llm-tiny"
budget = "smoke"
metric = "loss"
"""

HONEST = """diff --git a/model_core/lm.py b/model_core/lm.py
--- a/model_core/lm.py
+++ b/model_core/lm.py
@@ -2,7 +2,7 @@
 
 import torch
 
-WIDTH = 4
+WIDTH = 5
 
 
 class LM:
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    for name in ("submissions", "baselines", "model_core"):
        (folder / name).mkdir(parents=True)
    (folder / "model_core" / "lm.py").write_text(LM)
    (folder / "model_core" / "HISTORY.md").write_text("the first core\n")
    for name in ("__init__", "layers", "muon", "train", "moe", "extra"):
        (folder / "model_core" / f"{name}.py").write_text(f'"""{name}."""\n\nNAME = "{name}"\n')
    return folder


@pytest.fixture
def submit(root: Path) -> Callable[..., Path]:
    """Write submissions/NAME/ with a patch and a manifest, byte for byte as given."""

    def write(patch_text: str | bytes | None = HONEST, manifest: str | bytes = MANIFEST, name: str = "wider") -> Path:
        folder = root / "submissions" / name
        folder.mkdir(exist_ok=True)
        if patch_text is not None:
            (folder / "patch.diff").write_bytes(patch_text if isinstance(patch_text, bytes) else patch_text.encode())
        content = manifest if isinstance(manifest, bytes) else manifest.encode()
        (folder / "submission.toml").write_bytes(
            content.replace(b"BASE", patch.core_digest(root / "model_core").encode())
        )
        return folder

    return write


@pytest.fixture
def manifest_text() -> str:
    return MANIFEST


@pytest.fixture
def rules_of(root: Path) -> Callable[[Path], dict[str, str]]:
    """The faults that `check` finds, by rule."""

    def found(folder: Path) -> dict[str, str]:
        return {fault.rule: str(fault) for fault in patch.check(root, folder).faults}

    return found
