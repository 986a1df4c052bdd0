"""The one comment: what it shows, and that no text of a stranger becomes anything but text."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.bot.comment import LIMIT, MARKER, MAX_MEASURED, measured, picture, put, render
from harness.bot.github import Comment
from harness.bot.page import Page
from tests.bot.pages import CELL, JOB, PATCH, SHA, done, page

HOSTILE = [
    "@everyone",
    "</details><script>alert(1)</script>",
    "a | b | c",
    "`code` ``` fence",
    "${{ secrets.GITHUB_TOKEN }}",
    "line\nbreak\r\n::error::x",
    "[link](https://evil.example) ![x](https://evil.example/x.png)",
    "https://evil.example www.evil.example",
    "\x1b[31mred\x1b[0m \u202e\u200b",
    MARKER,
    "<!-- hidden -->",
    "$x^2$ #1 GH-1 _a_ *b* ~c~",
    "x" * 400,
]


def size(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def outside_fences(body: str) -> str:
    """What GitHub reads as Markdown: a fence ends at the first line that is at least as long a fence."""
    kept, fence = [], ""
    for line in body.split("\n"):
        run = re.match("`{3,}", line)
        if fence:
            if run and len(run[0]) >= len(fence) and not line.strip("` "):
                fence = ""
        elif run:
            fence = run[0]
        else:
            kept.append(line)
    assert not fence, "a fence stays open"
    return "\n".join(kept)


def with_text(text: str) -> Page:
    fault = {"rule": "patch-lines", "where": text, "what": text, "fix": text}
    check = {"ok": False, "added": 1, "removed": 0, "patch_sha": None, "warnings": [text], "faults": [fault]}
    jobs = [
        {**JOB, "track": text[:60], "budget": text[:60], "state": "running", "live": text},
        {**JOB, "state": "refused", "reason": text},
        done(faults=[fault], track=text[:60], cells=[{**CELL, "verdict": "REVIEW_TRADEOFF", "reason": text}]),
    ]
    plans = [{"track": text[:60], "budget": text[:60], "metric": "loss", "pairs_at_most": 3}]
    return page(text, check=check, jobs=jobs, plans=plans, notes=[text])


def with_examples(test: Callable[[str], None]) -> Callable[[str], None]:
    for text in HOSTILE:
        test = example(text)(test)
    return test


@with_examples
@given(st.text(max_size=400))
def test_no_text_of_a_stranger_is_more_than_text(text: str) -> None:
    body = render(with_text(text), "owner/name")
    markdown = outside_fences(body)
    own = outside_fences(render(with_text("harmless"), "owner/name"))
    for active in ("@", "<", "`", "${{", "](", "!["):
        allowed = own.count(active)
        assert markdown.count(active) <= allowed, f"{active} of the stranger's"
    assert body.startswith(MARKER) and markdown.count(MARKER) == 1
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", body)
    rows = [line for line in markdown.split("\n") if line.startswith("|")]
    assert len(rows) == len([line for line in own.split("\n") if line.startswith("|")])


@given(st.text(alphabet="`~\n +-@<dif", max_size=300))
def test_a_patch_never_leaves_its_fence(text: str) -> None:
    outside = outside_fences(render(page(text + "\n+x\n"), "owner/name"))
    assert "+x" not in outside
    assert outside.count("<details>") == outside.count("</details>") == 1


@given(st.integers(0, 20_000), st.sampled_from(["x", "é", "𝕏", "`", "\n", "+long line\n"]))
def test_a_body_fits_however_long_the_patch_is(count: int, letter: str) -> None:
    body = render(page(letter * count + "\n"), "owner/name")
    assert size(body) <= LIMIT
    outside_fences(body)


def test_a_long_patch_is_cut_at_a_line_and_says_so() -> None:
    body = render(page("+one line of a patch\n" * 5_000, jobs=[done()]), "owner/name")
    assert size(body) <= LIMIT and re.search(r"\d+ more lines are in the files of this pull request", body)
    assert "CONFIRMED" in body


def test_a_patch_of_one_endless_line_is_left_out() -> None:
    assert "too long for a comment" in render(page("+" + "x" * 70_000 + "\n"), "owner/name")


def test_many_long_jobs_are_cut_without_an_open_fence() -> None:
    body = render(
        page(jobs=[{**JOB, "state": "running", "live": "y" * 400}] * 200, notes=["z" * 400] * 50), "owner/name"
    )
    assert size(body) <= LIMIT
    outside_fences(body)


def test_before_a_run_the_comment_shows_rules_patch_and_cost() -> None:
    plan = {"track": "llm-tiny", "budget": "8M", "metric": "loss", "pairs_at_most": 14, "seconds_at_most": 7_200.0}
    body = render(page(plans=[{**plan, "cost_at_most": 5.0, "least": 0.004}], currency="USD"), "owner/name")
    for shown in ("Every rule holds", "+1 −1", "```diff\n" + PATCH, "2 h 0 min", "5.00 USD", "0.0040"):
        assert shown in body


def test_a_waiting_job_shows_its_position_time_and_cost() -> None:
    job = {**JOB, "position": 3, "seconds_expected": 600.0, "cost_expected": 1.25}
    body = render(page(jobs=[job], currency="EUR"), "owner/name")
    assert "waits at position 3; about 10 min 0 s at most, cost 1.25 EUR" in body


def test_a_running_job_shows_what_it_says_now() -> None:
    body = render(
        page(jobs=[{**JOB, "state": "running", "live": "decide pair 2 of at most 10", "seconds": 90.0}]), "o/n"
    )
    assert "running, 90.0 s so far" in body and "decide pair 2 of at most 10" in body


def test_a_paused_job_says_that_the_budget_is_the_reason() -> None:
    body = render(page(jobs=[{**JOB, "state": "paused", "reason": "the cap of a month in money is reached"}]), "o/n")
    assert "paused (budget)" in body and "cap of a month" in body


def test_after_a_run_the_verdict_its_numbers_and_the_report_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_SERVER_URL", raising=False)
    body = render(page(jobs=[done(cost=0.5)], currency="USD"), "owner/name")
    for shown in ("CONFIRMED", "+0.0123 [0.0020, 0.0220]", "4 of at most 10", "2 min 0 s spent", "0.50 USD"):
        assert shown in body
    assert "https://github.com/owner/name/blob/HEAD/leaderboard/reports/an-idea.md" in body


def test_the_gain_that_is_published_stands_beside_the_one_that_decided() -> None:
    body = render(page(jobs=[done()]), "owner/name")
    assert "+0.0101 on fresh seeds and the test split, 4 of 4 pairs" in body
    assert "| +0.0123 | +0.0101 |" in body
    body = render(page(jobs=[done(verdict="REJECT_NO_GAIN", cells=[{**CELL, "confirm": None}])]), "owner/name")
    assert "fresh seeds and" not in body and "| +0.0123 | – |" in body


def test_what_is_not_accepted_says_why_in_lines_that_fit_the_box() -> None:
    first = "the gain was confirmed, but its pairs scatter more than the noise that"
    second = "its bar was made for (F-test, p = 1.1e-03)"
    waits = {**CELL, "verdict": "REVIEW_TRADEOFF", "reason": f"{first} {second}"}
    body = render(page(jobs=[done(cells=[waits])]), "owner/name")
    assert f"  why      {first}\n           {second}\n  gain " in body
    accepted = render(page(jobs=[done(cells=[{**CELL, "reason": first}])]), "owner/name")
    assert first not in accepted


def test_a_gain_has_its_unit_and_one_in_time_is_per_cent_as_on_the_board() -> None:
    """The board says +4.12 % of what a comment that shows logarithms calls +0.0421."""
    speed = {**CELL, "metric": "speed", "verdict": "ACCEPT_SPEED", "gain": 0.0421, "interval": [0.01, 0.07]}
    plan = {"track": "llm-tiny", "budget": "8M", "metric": "speed", "pairs_at_most": 14, "least": 0.02}
    body = render(page(jobs=[done(cells=[CELL, speed])], plans=[plan]), "owner/name")
    assert "gain     +0.0123 [0.0020, 0.0220] nats" in body
    assert "gain     +4.12 % [1.00, 6.76] of the training time" in body and "| +4.12 % | +1.00 % |" in body
    assert "again    +1.00 % on fresh seeds" in body and "| +1.98 % |" in body and "| +10.5 % | 4 |" in body


def test_a_verdict_on_an_older_head_says_so() -> None:
    body = render(page(jobs=[done(sha="f" * 40)]), "owner/name")
    assert "(of `ffffffffffff`; the head has moved since)" in body


@given(st.floats(-10, 10), st.floats(0, 5), st.floats(0, 5))
def test_the_picture_of_an_interval_puts_the_gain_inside_it(gain: float, below: float, above: float) -> None:
    drawn = picture(gain, (gain - below, gain + above))
    assert drawn.count("o") == 1 and len(drawn) <= 41
    if gain - below > 0.5:
        assert drawn.index("|") < drawn.index("o")


class Wall:
    """Where comments hang; what `put` needs of GitHub."""

    def __init__(self, *comments: Comment) -> None:
        self.hanging = {one.id: one for one in comments}

    def login(self) -> str:
        return "blueberry-bot"

    def comments(self, number: int) -> list[Comment]:
        return list(self.hanging.values())

    def edit_comment(self, comment_id: int, body: str) -> None:
        self.hanging[comment_id] = comment(comment_id, "blueberry-bot", body)

    def write_comment(self, number: int, body: str) -> int:
        self.hanging[99] = comment(99, "blueberry-bot", body)
        return 99


def comment(number: int, author: str, body: str) -> Comment:
    return Comment(number, 7, author, "NONE", body, "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z")


def test_a_marker_that_a_contributor_pastes_does_not_make_the_comment_the_bots() -> None:
    wall = Wall(comment(1, "contributor", MARKER + "\nall is well"))
    assert put(wall, 7, MARKER + "\nours") == 99  # type: ignore[arg-type]
    assert wall.hanging[1].body.endswith("all is well")


def test_the_bots_own_comment_is_edited_and_never_doubled() -> None:
    wall = Wall(comment(1, "blueberry-bot", "hello"), comment(2, "blueberry-bot", MARKER + "\nold"))
    for text in ("new", "newer"):
        assert put(wall, 7, f"{MARKER}\n{text}") == 2  # type: ignore[arg-type]
    assert set(wall.hanging) == {1, 2} and wall.hanging[2].body.endswith("newer")


def test_a_page_shows_the_commit_that_it_speaks_of() -> None:
    assert f"`{SHA[:12]}`" in render(page(), "owner/name")


def test_a_fault_of_the_machine_is_shown_with_its_mend_before_there_is_any_verdict() -> None:
    fault = {"rule": "machine", "where": "llm-tiny at 8M", "what": "no exchange rate", "fix": "run the baseline | `x`"}
    waiting = {**JOB, "state": "waiting", "reason": "attempt 1 of 3: no exchange rate", "faults": [fault]}
    body = render(page(jobs=[waiting]), "o/n")
    assert "waits at position 1" in body and "attempt 1 of 3" in body
    assert "- `machine` llm-tiny at 8M: no exchange rate" in body
    assert "  - mend: run the baseline" in body and "| `x`" not in body


def test_what_another_machine_has_is_said_to_be_there() -> None:
    assert "taken to another machine" in render(page(jobs=[{**JOB, "state": "away"}]), "o/n")


def test_what_looks_like_a_hidden_line_in_a_patch_is_shown_and_tells_nothing() -> None:
    line = f"<!-- measured: {'a' * 64} {'b' * 16} llm-tiny 8M CONFIRMED -->"
    body = render(page(patch=f"+x = 1  # {line}\n{line}\n", jobs=[]), "o/n")
    assert body.count(line) == 2
    comment = Comment(1, 7, "bot", "OWNER", body, "", "")
    assert measured([comment], "bot") == set()


def test_a_comment_goes_on_saying_what_it_said_first_however_much_a_page_claims() -> None:
    def body(budgets: list[str]) -> str:
        check = {"ok": True, "added": 1, "removed": 1, "patch_sha": "a" * 64, "core_id": "b" * 64}
        return render(page(check=check, jobs=[done(budget=one) for one in budgets]), "o/n")

    hub = Recorder(body(["8M"]))
    put(hub, 7, body([f"{i}k" for i in range(30)]), "bot")
    kept = {budget for _, _, budget in measured(hub.comments(7), "bot")}
    assert "8M" in kept and len(kept) == MAX_MEASURED


class Recorder:
    """One comment that can be edited."""

    def __init__(self, body: str) -> None:
        self.body = body

    def comments(self, number: int) -> list[Comment]:
        return [Comment(1, number, "bot", "OWNER", self.body, "", "")]

    def edit_comment(self, comment_id: int, body: str) -> None:
        self.body = body
