"""Two cores are one program exactly when they differ in words alone."""

from __future__ import annotations

import pytest

from harness.submission.literals import read_source
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


def test_branches_that_lie_one_in_the_other_by_the_hundred_are_read() -> None:
    """A few kilobytes of them stopped whoever planned a pull request."""
    many = "def f(x):\n    if x == 0:\n        return 0\n"
    many += "".join(f"    elif x == {i}:\n        return {i}\n" for i in range(1, 400))
    assert not read_source("model_core/lm.py", many, frozenset()).faults, "it passes every rule"
    assert digest_of(many) == digest_of(many + "# a word\n") != digest_of(many.replace("399", "400"))


@pytest.mark.parametrize(
    ("one", "other"), [("x = [1, [2]]\n", "x = [[1], 2]\n"), ("x = 1\n", "x = '1'\n"), ("f(a, *b)\n", "f(*a, b)\n")]
)
def test_programs_of_the_same_parts_are_told_apart(one: str, other: str) -> None:
    assert digest_of(one) != digest_of(other)
