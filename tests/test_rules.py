"""The rules as data, and the table that is rendered from them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import rules
from harness.errors import UsageError

REPOSITORY = Path(__file__).resolve().parents[1]
CONTRIBUTING = REPOSITORY / "CONTRIBUTING.md"


def test_every_rule_says_what_why_and_how_to_mend_in_one_line() -> None:
    for rule in rules.RULES.values():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", rule.id)
        assert rule.group in rules.GROUPS
        for text in (rule.title, rule.why, rule.fix):
            assert text and "\n" not in text and "|" not in text


def test_the_table_shows_every_rule_once_under_its_group() -> None:
    table = rules.render_table()
    rows = re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)
    assert rows == [rule.id for group in rules.GROUPS for rule in rules.RULES.values() if rule.group == group]
    assert all(line.count("|") == 5 for line in table.split("\n") if line.startswith("|"))


def test_embedding_replaces_what_is_between_the_markers_and_nothing_else() -> None:
    text = f"before\n{rules.BEGIN}\nan old table\n{rules.END}\nafter\n"
    once = rules.embed(text)
    assert once == f"before\n{rules.BEGIN}\n{rules.render_table()}{rules.END}\nafter\n"
    assert rules.embed(once) == once


@pytest.mark.parametrize("text", ["", rules.BEGIN, rules.END + rules.BEGIN, (rules.BEGIN + rules.END) * 2])
def test_a_text_without_one_pair_of_markers_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        rules.embed(text)


def test_every_rule_that_the_harness_raises_exists() -> None:
    raised = set()
    for path in (REPOSITORY / "harness").rglob("*.py"):
        if path.name != "rules.py":
            raised |= set(re.findall(r'"((?:patch|manifest|audit)-[a-z-]+)"', path.read_text()))
    assert raised - set(rules.RULES) <= {"audit-repeats", "audit-asked"}  # figures in the run file; they refuse nothing


@pytest.mark.skipif(not CONTRIBUTING.exists(), reason="not a clone")
def test_contributing_shows_the_rules_as_they_are() -> None:
    text = CONTRIBUTING.read_text()
    assert rules.embed(text) == text, "stale: write rules.embed(text) back to CONTRIBUTING.md"
