"""The one comment of a pull request: rendered from a Page, found again by a hidden marker AND its author."""

from __future__ import annotations

import itertools
import os
import re
import textwrap
from collections.abc import Iterable, Sequence

from harness.board.markdown import duration, escape, interval, number
from harness.bot.github import Comment, GitHub
from harness.bot.page import CellPart, CheckPart, FaultPart, JobPart, Page, PlanPart
from harness.decide.cells import ACCEPTED
from harness.decide.stats import exp
from harness.submission.files import is_hidden, name_of
from harness.tracks import TRACKS

MARKER = "<!-- blueberry-bot: the one comment of this pull request -->"
LIMIT = 65_536  # characters of a body, as GitHub counts them
RESERVE = 4_096  # for the line that says what was cut, and for the hidden ones
MAX_MEASURED = 24  # hidden lines that are kept
MAX_FAULTS = 20  # that are listed
_MEASURED = re.compile(
    r"<!-- measured: ([0-9a-f]{64} [0-9a-f]{16}) ([a-z0-9-]{1,40}) ([0-9A-Za-z]{1,8}) ([A-Z_]{1,20}) -->"
)
_WIDTH = 41  # columns of an interval's picture
_LINE = 72  # columns of a reason

_STATES = {
    "waiting": "waits",
    "paused": "paused (budget)",
    "needs word": "waits for a maintainer's word",
    "away": "taken to another machine",
    "running": "running",
    "done": "done",
    "refused": "refused",
    "failed": "failed on this machine",
}


def put(github: GitHub, number_: int, body: str, login: str | None = None) -> int:
    """Writes or edits the bot's own comment and answers its id. A marker that somebody else pasted is not ours.

    What it said was measured it goes on saying: a workflow's machine remembers nothing, and would draw a second time.
    """
    own = _own(github.comments(number_), login or github.login())
    if own is None:
        return github.write_comment(number_, body)
    lines, told = body.split("\n"), _told(body)
    above = list(dict.fromkeys([*_told(own.body), *told]))[:MAX_MEASURED]
    earlier = [match for line in above if line not in told and (match := _MEASURED.fullmatch(line))]
    before = [f"{match[2]} at {match[3]}: {match[4]}" for match in earlier]
    said = [f"Measured before, of this patch or an earlier one: {'; '.join(before)}.", ""] if before else []
    head, rest = lines[1 + len(told) : 3 + len(told)], lines[3 + len(told) :]
    kept = "\n".join([MARKER, *above, *head, *said, *rest])
    if kept != own.body:
        github.edit_comment(own.id, kept)
    return own.id


def measured(comments: Iterable[Comment], login: str) -> set[tuple[str, str, str]]:
    """(`contest`, track, budget) of everything of which the bot's comment has told a verdict."""
    own = _own(comments, login)
    found = [_MEASURED.fullmatch(line) for line in _told(own.body)] if own else []
    return {(match[1], match[2], match[3]) for match in found if match}


def contest(check: CheckPart) -> str:
    """The patch, and the core that it races: another commit with the same patch is no other one."""
    return f"{check.patch_sha} {(check.core_id or '')[:16]}"


def _told(body: str) -> list[str]:
    """The hidden lines below the marker. What looks like one further down is a stranger's, in the patch."""
    below = body.replace("\r\n", "\n").split("\n")[1:]
    return list(itertools.takewhile(_MEASURED.fullmatch, below))


def _own(comments: Iterable[Comment], login: str) -> Comment | None:
    return next((one for one in comments if one.author == login and one.body.startswith(MARKER)), None)


def render(page: Page, repository: str) -> str:
    """The body: rules, jobs and plan first, then as much of the patch as fits."""
    slug = f"`{page.slug}`" if page.slug else "this pull request"
    done = [
        f"<!-- measured: {contest(page.check)} {job.track} {job.budget} {job.verdict} -->"
        for job in page.jobs
        if job.state == "done" and job.sha == page.sha
    ]
    told = [line for line in done if _MEASURED.fullmatch(line)][:MAX_MEASURED]
    above = [MARKER, *told, f"### Blueberry: {slug} at `{page.sha[:12]}`", "", *_check_lines(page.check)]
    above += [line for job in page.jobs for line in _job_lines(job, page, repository)]
    above += _plan_lines(page.plans, page.currency)
    above += [f"> {escape(note, 400)}  " for note in page.notes]
    text = _cut_to("\n".join(above) + "\n", LIMIT - RESERVE)
    return text + _patch_block(page, LIMIT - RESERVE - _size(text))


def _size(text: str) -> int:
    """In UTF-16 units: no counting that GitHub may use comes to more."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _cut_to(text: str, limit: int) -> str:
    """`text` in whole lines, with an ending where it had to be cut. Nothing above the patch spans lines but fences."""
    if _size(text) <= limit:
        return text
    kept: list[str] = []
    left = limit
    for line in text.split("\n"):
        left -= _size(line) + 1
        if left < 0:
            break
        kept.append(line)
    open_fence = sum(line.startswith("```") for line in kept) % 2
    return "\n".join([*kept, *(["```"] if open_fence else []), "", "*The rest is too long for a comment.*", ""])


def _check_lines(check: CheckPart) -> list[str]:
    if check.ok:
        lines = [f"**Every rule holds.** +{check.added} −{check.removed} lines"]
    else:
        lines = [f"**{check.broken}.** Nothing is run."]
    lines += _fault_lines(check.faults)
    lines += [f"- warning: {escape(warning, 300)}" for warning in check.warnings]
    return [*lines, ""]


def _fault_lines(faults: Sequence[FaultPart]) -> list[str]:
    """What is wrong, each with its mend."""
    lines = []
    for fault in faults[:MAX_FAULTS]:
        lines.append(f"- `{_word(fault.rule)}` {escape(fault.where, 200)}: {escape(fault.what, 300)}")
        lines.append(f"  - mend: {escape(fault.fix, 300)}")
    if len(faults) > MAX_FAULTS:
        lines.append(f"- and {len(faults) - MAX_FAULTS} more")
    return lines


def _word(text: str) -> str:
    return re.sub(r"[^a-z0-9-]", "", text.lower()) or "rule"


def _plan_lines(plans: Iterable[PlanPart], currency: str) -> list[str]:
    rows = [
        f"| {escape(plan.track)} | {escape(plan.budget)} | {plan.metric} | {plan.pairs_at_most} "
        f"| {_time(plan.seconds_at_most)} | {_money(plan.cost_at_most, currency)} | {_gain(plan, plan.least)} |"
        for plan in plans
    ]
    if not rows:
        return []
    head = "| track | budget | claim | pairs at most | time at most | cost at most | gain that can be seen |"
    return ["**What it would take**", "", head, "|---|---|---|--:|--:|--:|--:|", *rows, ""]


def _time(seconds: float | None) -> str:
    return "unknown" if seconds is None else duration(seconds)


def _money(amount: float | None, currency: str) -> str:
    return "unknown" if amount is None else f"{amount:.2f} {currency}".rstrip()


def _job_lines(job: JobPart, page: Page, repository: str) -> list[str]:
    where = f"**{escape(job.track)} at {escape(job.budget)}**"
    moved = "" if job.sha == page.sha else f" (of `{job.sha[:12]}`; the head has moved since)"
    lines = [f"{where}{moved}: {_state(job, page.currency)}", ""]
    if job.live:
        lines += ["```text", _code_line(job.live), "```", ""]
    if job.reason:
        lines += [f"> {escape(job.reason, 400)}", ""]
    if job.verdict:
        lines += _verdict_lines(job, page, repository)
    elif job.faults:
        lines += [*_fault_lines(job.faults), ""]
    return lines


def _state(job: JobPart, currency: str) -> str:
    said = _STATES[job.state]
    expected = f"about {_time(job.seconds_expected)} at most, cost {_money(job.cost_expected, currency)}"
    if job.state == "waiting":
        return f"{said} at position {job.position or 1}; {expected}"
    if job.state in ("paused", "needs word", "away"):
        return f"{said}; {expected}"
    spent = f"{duration(job.seconds)} so far" if job.state == "running" else f"{duration(job.seconds)} spent"
    return f"{said}, {spent}" + (f", {_money(job.cost, currency)}" if job.cost is not None else "")


def _verdict_lines(job: JobPart, page: Page, repository: str) -> list[str]:
    box = [f"{job.verdict}"]
    for cell in job.cells:
        box += ["", f"{_code_line(cell.track)} {_code_line(cell.budget)} {cell.metric}: {cell.verdict}"]
        box += [f"  {name:<8} {value}" for name, value in _facts(cell)]
    lines = ["```text", *box, "```", "", *_cell_table(job.cells)]
    if job.faults:
        lines += [*_fault_lines(job.faults), ""]
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com").rstrip("/")
    report = f"{server}/{repository}/blob/HEAD/leaderboard/reports/{page.slug}.md"
    return [*lines, f"[Report]({report}), once the board is merged.", ""]


def _facts(cell: CellPart) -> list[tuple[str, str]]:
    why = textwrap.wrap(_code_line(cell.reason), _LINE) if cell.verdict not in ACCEPTED else []
    facts = [
        ("gain", f"{_gain(cell, cell.gain)} {_bounds(cell)} {_unit(cell)}".rstrip()),
        ("time", f"x {number(cell.time_ratio, 3)} {interval(cell.time_interval, 3)}".rstrip()),
        ("p", f"{number(cell.p)} against alpha {number(cell.alpha)}"),
        ("pairs", f"{cell.pairs} of at most {cell.max_pairs}"),
    ]
    if cell.gain is not None and cell.interval is not None:
        facts.insert(1, ("", picture(cell.gain, cell.interval)))
    if cell.confirm is not None:
        again = f"{_gain(cell, cell.confirm.gain)} on fresh seeds and the test split"
        facts.append(("again", f"{again}, {cell.confirm.done} of {cell.confirm.needed} pairs"))
    return [("" if line else "why", text) for line, text in enumerate(why)] + facts


def _gain(cell: CellPart | PlanPart, gain: float | None) -> str:
    """As the board has it: in the unit of the loss, or per cent of training time saved."""
    if cell.metric == "loss" or gain is None:
        return number(gain, sign=True)
    return f"{number(_saved(gain), 2, sign=True)} %"


def _bounds(cell: CellPart) -> str:
    if cell.metric == "loss" or cell.interval is None:
        return interval(cell.interval)
    return interval((_saved(cell.interval[0]), _saved(cell.interval[1])), 2)


def _saved(gain: float) -> float:
    """Per cent of training time, of ln(T_core / T_submission)."""
    return 100 * (1 - exp(-gain))


def _net(net_gain: float | None) -> str:
    """How much longer the core would have to train for the same, of ln(time)."""
    return "–" if net_gain is None else f"{number(100 * (exp(net_gain) - 1), 1, sign=True)} %"


def _unit(cell: CellPart) -> str:
    if cell.metric == "speed":
        return "of the training time"
    return TRACKS[cell.track].difference if cell.track in TRACKS else ""


def picture(gain: float, bounds: tuple[float, float]) -> str:
    """The interval of a gain beside zero, in characters: `|` is zero, `o` the gain."""
    low, high = min(*bounds, 0.0, gain), max(*bounds, 0.0, gain)
    span = (high - low) or 1.0

    def at(value: float) -> int:
        return round((value - low) / span * (_WIDTH - 1))

    row = [" "] * _WIDTH
    row[at(bounds[0]) : at(bounds[1]) + 1] = "-" * (at(bounds[1]) - at(bounds[0]) + 1)
    row[at(0.0)] = "|"
    row[at(gain)] = "o"
    return "".join(row).rstrip()


def _cell_table(cells: Iterable[CellPart]) -> list[str]:
    rows = [
        f"| {escape(cell.track)} | {escape(cell.budget)} | {cell.metric} | {escape(cell.verdict)} "
        f"| {_gain(cell, cell.gain)} "
        f"| {_gain(cell, cell.confirm.gain if cell.confirm else None)} | {number(cell.time_ratio, 3)} "
        f"| {_net(cell.net_gain)} | {cell.pairs} |"
        for cell in cells
    ]
    if not rows:
        return []
    head = "| track | budget | claim | verdict | gain | on fresh seeds | time x | net gain | pairs |"
    return [head, "|---|---|---|---|--:|--:|--:|--:|--:|", *rows, ""]


def _code_line(text: str) -> str:
    """One line for a fenced block: it cannot end the fence, and nothing in it is invisible."""
    return _visible(text.replace("\n", " ")).replace("`", "'")


def _visible(text: str) -> str:
    """Characters that a reader cannot see, named instead of shown."""
    hidden = {mark for mark in set(text) if mark not in "\n\t" and is_hidden(mark)}
    return "".join(f"<{name_of(mark)}>" if mark in hidden else mark for mark in text) if hidden else text


def _patch_block(page: Page, room: int) -> str:
    """The patch in a diff block, in whole lines; the fence is longer than any run of backticks in it."""
    if not page.patch.strip():
        return ""
    text = _visible(page.patch).rstrip("\n")
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    summary = f"The patch: +{page.check.added} −{page.check.removed}"
    head = f"\n<details><summary>{summary}</summary>\n\n{fence}diff\n"
    foot = f"\n{fence}\n\n</details>\n"
    lines, left = text.split("\n"), room - _size(head) - _size(foot)
    shown = 0
    while shown < len(lines) and left >= _size(lines[shown]) + 1:
        left -= _size(lines[shown]) + 1
        shown += 1
    if left < 0 or shown == 0:
        return "\n*The patch is too long for a comment: see the files of this pull request.*\n"
    rest = f"\n*{len(lines) - shown} more lines are in the files of this pull request.*\n" if shown < len(lines) else ""
    return head + "\n".join(lines[:shown]) + foot + rest
