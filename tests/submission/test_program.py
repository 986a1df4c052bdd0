"""Two cores are one program exactly when they differ in words alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.submission.program import program_digest

PLAIN = '"""What it is."""\n\ndef f(x):\n    """Doubles."""\n    return 2 * x\n'


def digest_of(folder: Path, text: str, name: str = "lm.py") -> str:
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    (folder / name).write_text(text)
    return program_digest(folder)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("return 2 * x", "return 2 * x  # at last"),
        PLAIN.replace('    """Doubles."""\n', ""),
        PLAIN.replace("Doubles", "Twice"),
        PLAIN.replace("2 * x", "(2*x)").replace("\n\n", "\n\n\n"),
        PLAIN.replace('    """Doubles."""\n', '    """Doubles."""\n    "and more"\n'),
    ],
)
def test_comments_layout_and_docstrings_make_no_other_program(tmp_path: Path, text: str) -> None:
    assert digest_of(tmp_path / "core", text) == digest_of(tmp_path / "core", PLAIN)


@pytest.mark.parametrize(("text", "name"), [(PLAIN.replace("2", "3"), "lm.py"), (PLAIN, "moe.py"), ("", "lm.py")])
def test_what_computes_something_else_or_lies_elsewhere_is_another(tmp_path: Path, text: str, name: str) -> None:
    assert digest_of(tmp_path / "core", text, name) != digest_of(tmp_path / "core", PLAIN)
