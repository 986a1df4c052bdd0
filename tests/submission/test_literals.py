"""How large a literal may grow."""

from __future__ import annotations

import time

import pytest

from harness.submission.literals import source_faults

LINE = '    "' + "a" * 90 + '",'
SEVEN = "\n".join([LINE] * 7)  # 7 lines of about 93 characters


def _rules(text: str, added: frozenset[int] | None = None) -> list[str]:
    every = frozenset(range(1, text.count("\n") + 2))
    return [fault.rule for fault in source_faults("model_core/a.py", text, every if added is None else added)]


@pytest.mark.parametrize(
    "text",
    [
        f"x = [\n{SEVEN}\n]",
        f"x = (\n{SEVEN}\n)",
        f"x = {{\n{SEVEN}\n}}",
        f"f(a, b=[\n{SEVEN}\n])",
        f"x = [name,\n{SEVEN}\n]",
        f"x = [[name, 1],\n{SEVEN}\n]",
        '"""\n' + "a" * 300 + "\n" + "b" * 300 + '\n"""',
        "x = (\n    " + "\n    + ".join([f'"{"a" * 100}"'] * 6) + "\n)",
        "x = b'" + "a" * 510 + "'",
        "x = 0x" + "f" * 511,
        f"def f(x=[\n{SEVEN}\n]): pass",
        "x = {\n" + "".join(f"    {at}: -{at}.25e-3,\n" for at in range(60)) + "}",
        'x = f"{y}' + "a" * 510 + '"',
    ],
)
def test_a_literal_that_gains_more_than_512_characters_is_refused(text: str) -> None:
    assert "patch-literal" in _rules(text)


@pytest.mark.parametrize(
    "text",
    [
        "x = '" + "a" * 510 + "'",
        "\n".join(f"def f{at}(x):\n    return x * {at} + len('{'a' * 40}')" for at in range(60)),
        "groups = [\n" + "".join(f"    dict(params=self.f{at}, lr=self.config.lr),\n" for at in range(30)) + "]",
        "x = [\n" + "".join(f"    compute(a_long_name_of_a_variable, {at}),\n" for at in range(40)) + "]",
        "# " + "a" * 900,
    ],
)
def test_code_and_short_literals_are_let_through(text: str) -> None:
    assert _rules(text) == []


def test_only_what_the_patch_adds_counts_so_a_long_docstring_can_be_mended() -> None:
    docstring = '"""A module.\n' + "\n".join(["* a fact about this module, as a bullet"] * 30) + '\n"""\n'
    assert _rules(docstring, frozenset({5, 6})) == []
    assert _rules(docstring) == ["patch-literal"]


@pytest.mark.parametrize("text", ["x = (", "x = = 1", "x = " + "-" * 200_000 + "1", "x = " + "9" * 5_000, "\0", "  x"])
def test_what_python_cannot_parse_is_refused_with_its_line(text: str) -> None:
    faults = source_faults("model_core/a.py", text, frozenset())
    assert [fault.rule for fault in faults] == ["patch-syntax"]
    assert faults[0].where == "model_core/a.py:1"


def test_nested_lists_cost_no_more_than_flat_ones() -> None:
    text = "x = " + "[n,\n" * 60 + "\n".join(["1," * 250] * 398) + "]" * 60
    start = time.perf_counter()
    assert "patch-literal" in _rules(text)
    assert time.perf_counter() - start < 5  # 18 s where every level measures what lies below it again


def test_a_doubtful_escape_is_no_reason_to_refuse() -> None:
    assert _rules('x = "\\d"') == []
