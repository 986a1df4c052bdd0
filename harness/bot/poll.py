"""The pull bot: looks, works, tells, and looks again. Everything that it knows is in files, so it may stop anywhere."""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from harness.bot.admit import Refusal, admit
from harness.bot.caps import Settings
from harness.bot.command import Malformed, parse
from harness.bot.comment import put, render
from harness.bot.connection import redact
from harness.bot.engine import Engine
from harness.bot.github import Comment, GitHub, Pull, State, maintains
from harness.bot.head import Head, read_head
from harness.bot.meet import meet, page_of
from harness.bot.page import JobState, cut
from harness.bot.queue import Job, Known, Queue, stamp
from harness.errors import MachineError

CHECK_NAME = "blueberry"
MAX_NOTES = 10  # answers that a pull request keeps
_STATES: dict[JobState, State] = {
    "waiting": "pending",
    "paused": "pending",
    "needs word": "pending",
    "running": "running",
    "done": "success",
    "refused": "failure",
    "failed": "error",
}


class Poll:
    """One look after another at one repository. What GitHub does not hear now, it is told with the next look."""

    def __init__(self, root: Path, github: GitHub, settings: Settings, say: Callable[[str], None]) -> None:
        self.root = root
        self.queue = Queue(root)
        self.github = github
        self.settings = settings
        self._say = say
        self._login = settings.login

    def forever(self, interval_s: float) -> None:
        with self.queue.lock(), self._engine() as engine:
            while True:
                self.survive(self.look)
                self.survive(self.tell)
                if not self._advanced(engine, interval_s):
                    time.sleep(interval_s)

    def once(self, interval_s: float) -> None:
        """One look, then the queue until it is empty; looks in between, so that nobody waits for an answer."""
        with self.queue.lock(), self._engine() as engine:
            self.survive(self.look)
            self.survive(self.tell)
            while self._advanced(engine, interval_s):
                self.survive(self.look)
                self.survive(self.tell)
            self.survive(self.tell)  # of what was refused or paused instead of being started

    def _engine(self) -> Engine:
        return Engine(self.root, self.queue, self.settings, self.head_of, self.objection)

    def _advanced(self, engine: Engine, wait_s: float) -> bool:
        try:
            return engine.advance(wait_s)
        except MachineError as error:
            self._say(f"nothing is started now: {redact(error.faults[0].what)}")
            return False

    def survive(self, doing: Callable[[], None]) -> None:
        """Does one part of a look; what GitHub or the network refuse is said, and tried again with the next."""
        try:
            doing()
        except MachineError as error:
            self._say("; ".join(redact(f"{fault.where} {fault.what}") for fault in error.faults))

    def look(self) -> None:
        """Meets new heads and hears new comments. Cut off anywhere, it starts at the same comment again."""
        pulls = {pull.number: pull for pull in self.github.open_pulls()}
        for pull in pulls.values():
            self.survive(functools.partial(self._meet, pull))
        met = {known.pr for known in self.queue.pulls() if known.pr in pulls and known.sha == pulls[known.pr].head_sha}
        may_order = maintains(self.github)
        comments = self.github.comments_since(self.queue.heard)
        for comment in comments:
            if comment.number in met:
                self._hear(comment, pulls[comment.number], may_order)
        if comments and met == set(pulls):  # else they are heard again, once those heads are met
            self.queue.hear(max(comment.updated for comment in comments))

    def _meet(self, pull: Pull) -> None:
        before = self.queue.pull(pull.number)
        if before is not None and before.sha == pull.head_sha:
            return
        known = meet(self.root, self.root, self.settings, pull)
        if known is None:
            return
        kept = {"notes": before.notes, "posted": before.posted, "ours": known.ours or before.ours} if before else {}
        self.queue.put_pull(known.model_copy(update=kept))

    def _hear(self, comment: Comment, pull: Pull, may_order: Callable[[str, str], bool]) -> None:
        command = parse(comment.body)
        known = self.queue.pull(pull.number)
        if command is None or known is None or not known.ours or str(comment.id) in known.notes:
            return
        if not may_order(comment.author, comment.association):
            self._say(f"#{pull.number}: {comment.author[:40]!a} may not give orders")
            return
        if isinstance(command, Malformed):
            self._note(known, comment, command.what)
            return
        answer = admit(self.root, self.queue, command, comment, pull, known)
        if isinstance(answer, Refusal):
            self._note(known, comment, answer.why)
        elif answer != self.queue.find(answer.key):
            self.queue.put(answer)
            self._say(f"#{pull.number}: {answer.slug}, {answer.track} at {answer.budget}: {answer.state}")

    def _note(self, known: Known, comment: Comment, text: str) -> None:
        said = cut(f"{comment.author}, {comment.created}: {text}")
        notes = dict(list({**known.notes, str(comment.id): said}.items())[-MAX_NOTES:])
        self.queue.put_pull(known.model_copy(update={"notes": notes}))

    def tell(self) -> None:
        """Brings every pull request's comment and state up to date, where they are not."""
        for known in self.queue.pulls():
            if known.ours:
                self.survive(functools.partial(self._tell, known))

    def _tell(self, known: Known) -> None:
        page = page_of(known, self.queue, self.settings)
        body = render(page, self.github.repository)
        digest = hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()
        if digest != known.posted:
            self._login = self._login or self.github.login()
            put(self.github, known.pr, body, self._login)
            known = known.model_copy(update={"posted": digest})
            self.queue.put_pull(known)
            self._shown(known)
        state, text = _stated(known, [job for job in self.queue.jobs() if (job.pr, job.sha) == (known.pr, known.sha)])
        if f"{known.sha} {state} {text}" != known.stated:
            self.github.set_state(known.sha, CHECK_NAME, state, text)
            self.queue.put_pull(known.model_copy(update={"stated": f"{known.sha} {state} {text}"}))

    def _shown(self, known: Known) -> None:
        """A word that was asked for may be given from now on."""
        for job in self.queue.jobs():
            if job.pr == known.pr and job.state == "needs word" and not job.shown:
                self.queue.put(job.model_copy(update={"shown": stamp()}))

    def head_of(self, job: Job) -> Head:
        return read_head(self.root, job.sha)

    def objection(self, job: Job) -> str:
        """Asked again before money is spent: what was reviewed has to be what is there."""
        pull = self.github.pull(job.pr)
        if not pull.open:
            return "the pull request was closed before this was started"
        if pull.head_sha != job.sha:
            return f"the head moved to {pull.head_sha[:12]} after {job.sha[:12]} was reviewed"
        return ""


def _stated(known: Known, jobs: list[Job]) -> tuple[State, str]:
    """The state of a commit, in a word and a line."""
    if not known.check.ok:
        return "failure", f"{len(known.check.faults)} rules are broken"
    if not jobs:
        return "success", f"every rule holds, +{known.check.added} -{known.check.removed} lines"
    last = jobs[-1]
    return _STATES[last.state], f"{last.track} at {last.budget}: {last.verdict or last.state}"
