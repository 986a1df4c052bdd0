"""Two cores are one program exactly when they differ in words alone."""

from __future__ import annotations

import pytest

from harness.submission.program import program_digest

PLAIN = '"""What it is."""\n\ndef f(x):\n    """Doubles."""\n    return 2 * x\n'


def digest_of(text: str, name: str = "lm.py") -> str:
    return program_digest({f"model_core/{name}": text.encode()})


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
def test_comments_layout_and_docstrings_make_no_other_program(text: str) -> None:
    assert digest_of(text) == digest_of(PLAIN)


@pytest.mark.parametrize(("text", "name"), [(PLAIN.replace("2", "3"), "lm.py"), (PLAIN, "moe.py"), ("", "lm.py")])
def test_what_computes_something_else_or_lies_elsewhere_is_another(text: str, name: str) -> None:
    assert digest_of(text, name) != digest_of(PLAIN)
