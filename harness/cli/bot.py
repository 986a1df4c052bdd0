"""Verbs of the bot: check, poll, publish, drain, comment, status, dispatch, doctor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.surface import Json, Said, TrackOption, app, root, say

if TYPE_CHECKING:
    from harness.bot.github import GitHub
    from harness.bot.queue import Job

bot_app = typer.Typer(no_args_is_help=True, help="What a pull request is told, and measured.", rich_markup_mode=None)
app.add_typer(bot_app, name="bot")

Pr = Annotated[int, typer.Option("--pr", min=1, help="Number of the pull request.")]
Sha = Annotated[str, typer.Option("--sha", help="Full id of the commit.")]
Repo = Annotated[str | None, typer.Option("--repo", help="OWNER/NAME; else GITHUB_REPOSITORY, else the origin.")]
Interval = Annotated[float, typer.Option("--interval", min=1, max=240, help="Seconds between two looks.")]


def _github(repo: str | None) -> GitHub:
    from harness.bot.github import GitHub
    from harness.bot.place import repository_named

    return GitHub(repository_named(root(), repo))


@bot_app.command("check")
def bot_check(
    pr: Pr,
    sha: Annotated[str | None, typer.Option("--sha", help="A head that is fetched already.")] = None,
    repo: Repo = None,
    git_dir: Annotated[Path | None, typer.Option("--git-dir", help="Another clone than this one.")] = None,
    as_json: Json = False,
) -> Said:
    """Hold a pull request's head to every rule: read as git objects, nothing of it is checked out or run."""
    from harness.bot.head import fetch, full_sha
    from harness.bot.meet import examined

    here, repository = root(), git_dir or root()
    commit = full_sha(sha) if sha else fetch(repository, pr)
    head, check = examined(here, repository, commit)
    slug = head.slug if head else None
    lines = [f"{one.where}: {one.what} [{one.rule}]\n    mend: {one.fix}" for one in check.faults]
    lines += [f"warning: {warning}" for warning in check.warnings]
    if check.ok:
        lines.append(f"#{pr} at {commit[:12]}, {slug}: every rule holds, +{check.added} -{check.removed} lines")
    data = {"pr": pr, "sha": commit, "slug": slug, **check.model_dump(mode="json")}
    return Said("\n".join(lines), data, 0 if check.ok else 1)


@bot_app.command("poll")
def bot_poll(
    once: Annotated[bool, typer.Option("--once", help="One look, then the queue, then the end.")] = False,
    interval: Interval = 60.0,
    repo: Repo = None,
    as_json: Json = False,
) -> Said:
    """The pull bot: hears `/bench BUDGET [TRACK] FULL_SHA` of maintainers, measures, answers in one comment."""
    from harness.bot import caps
    from harness.bot.poll import Poll
    from harness.run import sandbox

    here = root()
    sandbox.require()
    poll = Poll(here, _github(repo), caps.load(here), say)
    if once:
        poll.once(interval)
    else:
        poll.forever(interval)
    jobs = poll.queue.jobs()
    lines = [_line(job) for job in jobs]
    return Said("\n".join(lines) or "nothing was asked for", {"ok": True, "jobs": _dumped(jobs)})


@bot_app.command("publish")
def bot_publish(repo: Repo = None, as_json: Json = False) -> Said:
    """Finished results into one pull request that is kept up to date; then this clone is brought to main."""
    from harness.bot.errand import deliver
    from harness.bot.place import login_of

    done = deliver(root(), _github(repo), login_of(root()))
    return Said(done.last, {"ok": True, "pull_request": done.pull_request})


@bot_app.command("comment")
def bot_comment(
    pr: Pr,
    sha: Sha,
    artifact: Annotated[Path, typer.Option("--artifact", help="What `blueberry bot dispatch` wrote: JSON or a zip.")],
    repo: Repo = None,
    as_json: Json = False,
) -> Said:
    """Write or edit the one comment of a pull request from an artifact, which is read as hostile."""
    from harness.bot.comment import put, render
    from harness.bot.head import full_sha
    from harness.bot.page import read_page
    from harness.bot.place import login_of

    page = read_page(artifact, pr, full_sha(sha))
    github = _github(repo)
    number = put(github, pr, render(page, github.repository), login_of(root()))
    return Said(f"comment {number} of #{pr} is current", {"ok": True, "pr": pr, "comment": number})


@bot_app.command("status")
def bot_status(
    pr: Pr,
    sha: Sha,
    state: Annotated[str, typer.Option("--state", help="pending, running, success, failure, neutral or error.")],
    text: Annotated[str, typer.Option("--text", help="One line beside it.")] = "",
    url: Annotated[str | None, typer.Option("--url", help="Where to read more.")] = None,
    repo: Repo = None,
    as_json: Json = False,
) -> Said:
    """Set the state of a commit: a check run where the token may write one, else a commit status."""
    from harness.board.markdown import plain
    from harness.bot.github import state_named
    from harness.bot.head import full_sha
    from harness.bot.poll import CHECK_NAME

    shown = plain(text, 140) or f"#{pr}: {state}"
    kind = _github(repo).set_state(full_sha(sha), CHECK_NAME, state_named(state), shown, url)
    return Said(f"{sha[:12]}: {state} ({kind})", {"ok": True, "sha": sha, "state": state, "kind": kind})


@bot_app.command("dispatch")
def bot_dispatch(
    pr: Pr,
    sha: Sha,
    budget: Annotated[str, typer.Option("--budget", help="smoke, 1M, 8M, 20M, 100M or 1B.")],
    out: Annotated[Path, typer.Option("--out", help="The artifact: .json, or .zip with the run files as well.")],
    track: TrackOption = None,
    repo: Repo = None,
    as_json: Json = False,
) -> Said:
    """For a workflow: run what a maintainer has reviewed, and write the artifact that `comment` reads."""
    from harness.bot import caps
    from harness.bot.command import Command
    from harness.bot.dispatch import dispatch, ending, write
    from harness.bot.head import full_sha
    from harness.run import sandbox
    from harness.tracks import budget_named, track_named

    here = root()
    sandbox.require()
    named = track_named(track).name if track else None
    command = Command("bench", budget_named(budget).name, named, full_sha(sha))
    github = _github(repo)
    page = dispatch(here, github, caps.load(here), github.pull(pr), command, say)
    write(page, here, out)
    code, text = ending(page, command)
    return Said(f"{text}\n{out}", {"ok": code == 0, "out": str(out), **page.model_dump(mode="json")}, code)


@bot_app.command("drain")
def bot_drain(
    max_hours: Annotated[float, typer.Option("--max-hours", min=0, help="Most that this box is rented for.")],
    max_cost: Annotated[float, typer.Option("--max-cost", min=0, help="Most that it may cost, by blueberry.toml.")],
    bundle_in: Annotated[
        Path | None, typer.Option("--bundle-in", help="Jobs or results of another machine, or a workflow's artifact.")
    ] = None,
    bundle_out: Annotated[Path | None, typer.Option("--bundle-out", help="Where to write jobs or results.")] = None,
    lost: Annotated[bool, typer.Option("--lost", help="Pack jobs that are away too: their machine is gone.")] = False,
    repo: Repo = None,
    as_json: Json = False,
) -> Said:
    """A maintainer's Sunday on a rented box: doctor, canary, queue, verdicts, board, one pull request."""
    from harness.bot import caps
    from harness.bot.drain import Limits
    from harness.bot.errand import Parcels, errand

    here, parcels = root(), Parcels(bundle_in, bundle_out, lost)
    done = errand(here, caps.load(here), Limits(max_hours, max_cost), parcels, lambda: _github(repo), say)
    lines = [*(_line(job) for job in done.ended), *(f"left: {_line(job)}" for job in done.left), done.last]
    data = {"ok": True, "ended": _dumped(done.ended), "left": _dumped(done.left), "pull_request": done.pull_request}
    return Said("\n".join(lines), {**data, "safe_to_destroy": done.safe})


@bot_app.command("doctor")
def bot_doctor(repo: Repo = None, as_json: Json = False) -> Said:
    """What is missing in a maintainer's set-up, and how to mend it."""
    from harness.bot.doctor import examine

    findings = examine(root(), lambda: _github(repo))
    lines = [
        f"{'ok ' if f.ok else 'NO '} {f.subject:<10}  {f.found}" + (f"\n     mend: {f.fix}" if f.fix else "")
        for f in findings
    ]
    ok = all(finding.ok for finding in findings)
    return Said("\n".join(lines), {"ok": ok, "findings": [asdict(f) for f in findings]}, 0 if ok else 3)


def _line(job: Job) -> str:
    return f"#{job.pr} {job.slug}, {job.track} at {job.budget}: {job.verdict or job.state} {job.reason}".rstrip()


def _dumped(jobs: Any) -> list[dict[str, Any]]:
    return [job.model_dump(mode="json") for job in jobs]
