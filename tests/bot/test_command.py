"""The line that a maintainer writes: what is understood, and that nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bot.command import Command, Malformed, parse
from harness.tracks import BUDGETS, TRACKS

SHA = "0123456789abcdef0123456789abcdef01234567"
SHAS = st.text("0123456789abcdef", min_size=40, max_size=40)


@given(st.sampled_from(sorted(BUDGETS)), st.none() | st.sampled_from(sorted(TRACKS)), SHAS, st.text())
def test_what_is_written_in_the_form_is_understood(budget: str, track: str | None, sha: str, rest: str) -> None:
    words = ["/bench", budget, *([track] if track else []), sha]
    assert parse(" ".join(words) + "\n" + rest) == Command("bench", budget, track, sha)
    assert parse("  ".join(["/bench-approve", *words[1:]])) == Command("approve", budget, track, sha)


@given(st.text())
def test_no_text_of_anybody_is_a_fault_of_the_parser(text: str) -> None:
    said = parse(text)
    assert said is None or isinstance(said, Malformed | Command)
    if said is not None:
        assert text.split()[0] in ("/bench", "/bench-approve")


@given(st.text(), SHAS)
def test_a_command_stands_in_the_first_line_alone(before: str, sha: str) -> None:
    text = f"{before}\n/bench 8M {sha}"
    if before.split("\n")[0].split()[:1] not in (["/bench"], ["/bench-approve"]):
        assert parse(text) is None


@given(st.text(max_size=80).filter(lambda text: text not in BUDGETS))
def test_what_follows_in_another_form_is_malformed(word: str) -> None:
    assert isinstance(parse(f"/bench {word} {SHA}x"), Malformed)


@pytest.mark.parametrize(
    "body",
    [
        f"> /bench 8M {SHA}",
        f"`/bench 8M {SHA}`",
        f"please /bench 8M {SHA}",
        f"/benchmark 8M {SHA}",
        f"/BENCH 8M {SHA}",
        "",
        " ",
    ],
)
def test_a_quotation_and_a_chat_are_no_commands(body: str) -> None:
    assert parse(body) is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("/bench", "form"),
        (f"/bench {SHA}", "form"),
        (f"/bench 8M llm-tiny {SHA} now", "form"),
        (f"/bench 9M {SHA}", "budget"),
        (f"/bench 8m {SHA}", "budget"),
        (f"/bench 8M llm-huge {SHA}", "track"),
        (f"/bench 8M {SHA[:12]}", "40 characters"),
        (f"/bench 8M {SHA.upper()}", "40 characters"),
        (f"/bench 8M {SHA};rm", "40 characters"),
        (f"/bench 8M $(id) {SHA}", "track"),
    ],
)
def test_a_slip_is_answered_with_what_was_expected(body: str, said: str) -> None:
    answer = parse(body)
    assert isinstance(answer, Malformed) and said in answer.what


def test_the_answer_to_a_slip_repeats_nothing_of_it() -> None:
    answer = parse("/bench @everyone </details> `x`")
    assert isinstance(answer, Malformed) and "everyone" not in answer.what
