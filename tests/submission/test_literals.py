"""How large a literal may grow."""

from __future__ import annotations

import time

import pytest

from harness.submission.literals import read_source, table_faults
from tests.conftest import REPOSITORY

LINE = '    "' + "a" * 90 + '",'
SEVEN = "\n".join([LINE] * 7)  # 7 lines of about 93 characters


def _rules(text: str, added: frozenset[int] | None = None) -> list[str]:
    every = frozenset(range(1, text.count("\n") + 2))
    return [fault.rule for fault in read_source("model_core/a.py", text, every if added is None else added).faults]


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
    faults = read_source("model_core/a.py", text, frozenset()).faults
    assert [fault.rule for fault in faults] == ["patch-syntax"]
    assert faults[0].where == "model_core/a.py:1"


def test_literals_are_counted_together_and_prose_and_short_ones_are_not() -> None:
    every = frozenset(range(1, 5))
    assert read_source("model_core/a.py", "x = 'aaaaaaaaaaaaaa'\ny = 'aaaaaaaaaaaaaaaa'\n", every).literals == 34
    assert read_source("model_core/a.py", '"""' + "a" * 300 + '"""\nx = "a" * 3\n', every).literals == 0


def test_every_module_of_the_core_could_be_added_as_it_is() -> None:
    modules = sorted((REPOSITORY / "model_core").glob("*.py"))
    for module in modules:
        text = module.read_text()
        source = read_source(module.name, text, frozenset(range(1, text.count("\n") + 1)))
        assert table_faults(module.name, tuple(text.splitlines(keepends=True)), source.literals) == ()
    assert len(modules) > 8


def test_nested_lists_cost_no_more_than_flat_ones() -> None:
    text = "x = " + "[n,\n" * 60 + "\n".join(["1," * 250] * 398) + "]" * 60
    start = time.perf_counter()
    assert "patch-literal" in _rules(text)
    assert time.perf_counter() - start < 5  # 18 s where every level measures what lies below it again


def test_a_doubtful_escape_is_no_reason_to_refuse() -> None:
    assert _rules('x = "\\d"') == []
