"""The pull bot: looks, works, tells, and looks again. Everything that it knows is in files, so it may stop anywhere."""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable, Container, Sequence, Set
from pathlib import Path

from harness.bot.admit import Refusal, admit
from harness.bot.caps import Settings
from harness.bot.command import Command, Malformed, parse
from harness.bot.comment import put, render
from harness.bot.connection import redact
from harness.bot.engine import Engine
from harness.bot.github import Comment, GitHub, Pull, State, maintains
from harness.bot.head import Head, has_commit, read_head
from harness.bot.meet import meet, page_of
from harness.bot.page import JobState, at_fault, cut
from harness.bot.queue import Job, Known, Queue, earlier, stamp
from harness.errors import HarnessError, MachineError

CHECK_NAME = "blueberry"
MAX_NOTES = 100  # answers that a pull request keeps, so that none is given twice; a comment shows the last ones
OVERLAP_S = 600.0  # heard again: while GitHub gives out its pages, a comment may slip from one into the one before
PATIENCE_S = 180.0  # in which a commit that an order names may still turn out to be the new head
_STATES: dict[JobState, State] = {
    "waiting": "pending",
    "paused": "pending",
    "needs word": "pending",
    "away": "pending",
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
        except HarnessError as error:
            self._say("; ".join(redact(f"{fault.where} {fault.what}") for fault in error.faults))

    def look(self) -> None:
        """Hears new comments and meets new heads. Cut off anywhere, it starts at the same comment again.

        Comments are read before heads: what a comment names is then there, or is no head any more.
        """
        until, behind, before = self.queue.heard, self.queue.behind, self.queue.lately
        lately = self.github.comments_since(until and earlier(until, OVERLAP_S))
        new = [one for one in lately if _place(one) not in before]
        pulls = {pull.number: pull for pull in self.github.open_pulls()}
        ordered = {one.number for one in new if parse(one.body) is not None} | behind.keys()
        self._find_unlisted(ordered, pulls)
        again = [
            comment
            for number in sorted(behind.keys() & pulls.keys())
            for comment in self.github.comments(number)
            if comment.updated >= behind[number]
        ]
        comments = list({_place(one): one for one in (*again, *new)}.values())
        for pull in pulls.values():
            self.survive(functools.partial(self._meet_whatever_it_holds, pull))
        met = {known.pr for known in self.queue.pulls() if known.pr in pulls and known.sha == pulls[known.pr].head_sha}
        late = self._hear_all(comments, pulls, met)
        newest = max((one.updated for one in lately), default=until)
        self.queue.hear(max(newest, until) if newest and until else newest, late, map(_place, lately))

    def _find_unlisted(self, ordered: Set[int], pulls: dict[int, Pull]) -> None:
        """Asks for pull requests that orders are about and the list lacks: one may slip from its pages too."""
        for number in sorted(ordered - pulls.keys()):
            pull = self.github.pull_if_any(number)
            if pull is not None and pull.open:
                pulls[number] = pull

    def _hear_all(self, comments: Sequence[Comment], pulls: dict[int, Pull], met: Container[int]) -> dict[int, str]:
        """Answers from when on the comments of which pull requests have to be heard again, because it was too early."""
        may_order = maintains(self.github)
        late: dict[int, str] = {}
        for comment in comments:
            number = comment.number
            ordered = number in pulls and parse(comment.body) is not None
            if ordered and (number not in met or not self._hear(comment, pulls[number], may_order)):
                late[number] = min(late.get(number, comment.updated), comment.updated)
        return late

    def _meet_whatever_it_holds(self, pull: Pull) -> None:
        """A stranger who finds a defect in what reads a head must not keep all others from being heard."""
        try:
            self._meet(pull)
        except HarnessError:
            raise
        except Exception as error:
            self._say(f"#{pull.number} cannot be looked at, which is a defect of the bot: {type(error).__name__}")

    def _meet(self, pull: Pull) -> None:
        before = self.queue.pull(pull.number)
        if before is not None and before.sha == pull.head_sha:
            return
        known = meet(self.root, self.root, self.settings, pull)
        if known is None:
            return
        kept = {"notes": before.notes, "posted": before.posted, "ours": known.ours or before.ours} if before else {}
        self.queue.put_pull(known.model_copy(update=kept))

    def _hear(self, comment: Comment, pull: Pull, may_order: Callable[[str, str], bool]) -> bool:
        """False where the order may be one on a head that GitHub has not shown yet."""
        command = parse(comment.body)
        known = self.queue.pull(pull.number)
        if command is None or known is None or not known.ours or _place(comment) in known.notes:
            return True
        if not may_order(comment.author, comment.association):
            self._say(f"#{pull.number}: {comment.author[:40]!a} may not give orders")
            return True
        if isinstance(command, Malformed):
            self._note(known, comment, command.what)
        elif self._may_be_next(command, comment, pull):
            return False
        else:
            self._answer(command, comment, pull, known)
        return True

    def _may_be_next(self, command: Command, comment: Comment, pull: Pull) -> bool:
        young = comment.updated > stamp(-PATIENCE_S)
        return command.sha != pull.head_sha and young and not has_commit(self.root, command.sha)

    def _answer(self, command: Command, comment: Comment, pull: Pull, known: Known) -> None:
        answer = admit(self.root, self.queue, command, comment, pull, known)
        if isinstance(answer, Refusal):
            self._note(known, comment, answer.why)
        elif answer != self.queue.find(answer.key):
            self.queue.put(answer)
            self._say(f"#{pull.number}: {answer.slug}, {answer.track} at {answer.budget}: {answer.state}")

    def _note(self, known: Known, comment: Comment, text: str) -> None:
        said = cut(f"{comment.author}, {comment.created}: {text}")
        notes = dict(list({**known.notes, _place(comment): said}.items())[-MAX_NOTES:])
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
            self._shown(known)
            known = known.model_copy(update={"posted": digest})
            self.queue.put_pull(known)
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


def _place(comment: Comment) -> str:
    """Of an answer: a comment that is edited is another order."""
    return f"{comment.id} {comment.updated}"


def _stated(known: Known, jobs: list[Job]) -> tuple[State, str]:
    """The state of a commit, in a word and a line."""
    if not known.check.ok:
        return "failure", known.check.broken
    if not jobs:
        return "success", f"every rule holds, +{known.check.added} -{known.check.removed} lines"
    last = jobs[-1]
    state = "failure" if at_fault(last) else _STATES[last.state]
    return state, f"{last.track} at {last.budget}: {last.verdict or last.state}"
