"""GitHub as far as the bot needs it. github3.py is imported here and nowhere else; the rest sees plain values.

What GitHub's answers hold was written by strangers. What goes wrong is a MachineError without a token in it:
`UnreachableError` where a later try may work.
"""

from __future__ import annotations

import collections
import contextlib
import datetime
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

import github3
from github3.checks import CheckRun
from github3.issues.comment import IssueComment
from github3.pulls import PullReview, ShortPullRequest
from github3.session import AppInstallationTokenAuth, GitHubSession

from harness.bot.connection import TOKEN, PatientAdapter, UnreachableError, redact
from harness.errors import MachineError, UsageError

API = "https://api.github.com"
REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}")
LARGE = {"per_page": "100"}  # pages: the fewer, the less can slip between two
TRUSTED = frozenset({"OWNER", "MEMBER", "COLLABORATOR"})
WRITERS = frozenset({"write", "maintain", "admin"})

State = Literal["pending", "running", "success", "failure", "neutral", "error"]
_CHECK: dict[State, dict[str, str]] = {
    "pending": {"status": "queued"},
    "running": {"status": "in_progress"},
    "success": {"status": "completed", "conclusion": "success"},
    "failure": {"status": "completed", "conclusion": "failure"},
    "neutral": {"status": "completed", "conclusion": "neutral"},
    "error": {"status": "completed", "conclusion": "cancelled"},
}
_STATUS: dict[State, str] = {"running": "pending", "neutral": "success"}  # a commit status has fewer words
# A token that may write no check runs says so in one of these ways
_NO_CHECKS = (
    github3.exceptions.MissingAppAuthentication,
    github3.exceptions.ForbiddenError,
    github3.exceptions.NotFoundError,
)


@dataclass(frozen=True)
class Pull:
    """A pull request as it stands."""

    number: int
    head_sha: str
    author: str
    title: str
    open: bool


@dataclass(frozen=True)
class Comment:
    """One comment of the conversation of a pull request."""

    id: int
    number: int  # of the pull request
    author: str
    association: str
    body: str
    created: str  # ISO 8601
    updated: str


@dataclass(frozen=True)
class Review:
    """A verdict of a reader on one commit."""

    author: str
    association: str
    state: str
    sha: str | None


def _signed(answer: dict[str, Any]) -> dict[str, Any]:
    """Where an account is gone, GitHub names no author, and the library would stumble: here it has an empty name."""
    return answer if answer.get("user") else {**answer, "user": collections.defaultdict(str)}


class _Comment(IssueComment):  # type: ignore[misc]
    def _update_attributes(self, comment: dict[str, Any]) -> None:
        super()._update_attributes(_signed(comment))


class _Review(PullReview):  # type: ignore[misc]
    def _update_attributes(self, review: dict[str, Any]) -> None:
        super()._update_attributes(_signed(review))


class _Pull(ShortPullRequest):  # type: ignore[misc]
    def _update_attributes(self, pull: dict[str, Any]) -> None:
        super()._update_attributes(_signed(pull))


@contextlib.contextmanager
def _told(doing: str, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turns the failures of the library into one message; lets `passing` through to a caller that has another way."""
    try:
        yield
    except passing:
        raise
    except (github3.exceptions.TransportError, github3.exceptions.ServerError) as error:
        what = f"cannot {doing}: {redact(str(error))[:200]}"
        raise UnreachableError("GitHub", what, "check the network; a later try may work") from None
    except github3.exceptions.IncompleteResponse as error:
        raise MachineError("GitHub", f"cannot {doing}: the answer lacks {error.exception}", "report this") from None
    except github3.exceptions.GitHubException as error:
        fix = "see `blueberry bot doctor` for what the token may do"
        raise MachineError("GitHub", f"cannot {doing}: {redact(str(error))[:200]}", fix) from None


def _is_missing(error: MachineError) -> bool:
    """Whether GitHub has answered that there is no such thing."""
    return isinstance(error.__context__, github3.exceptions.NotFoundError)


def _session(token: str) -> GitHubSession:
    session = GitHubSession(default_connect_timeout=10, default_read_timeout=30)
    for scheme in ("https://", "http://"):
        session.mount(scheme, PatientAdapter())
    session.base_url = os.environ.get("GITHUB_API_URL", API).rstrip("/")
    if token.startswith("ghs_"):  # an App's installation, as in a workflow: it may write check runs
        soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=24)
        session.app_installation_token_auth({"token": token, "expires_at": soon.isoformat()})
    else:
        session.token_auth(token)
    return session


class GitHub:
    """One repository, seen with one token."""

    def __init__(self, repository: str, session: GitHubSession | None = None) -> None:
        if not REPOSITORY.fullmatch(repository):
            raise UsageError("--repo", f"{repository[:80]!r} is no OWNER/NAME", "name it as on GitHub")
        token = os.environ.get(TOKEN, "")
        if not token and session is None:
            fix = "export a token that may write pull requests; `blueberry bot doctor` says which"
            raise MachineError(TOKEN, "is not set", fix)
        self.repository = repository
        self.session = session or _session(token)
        self._hub = github3.GitHub(session=self.session)
        self._found: Any = None

    @property
    def _is_app(self) -> bool:
        return isinstance(self.session.auth, AppInstallationTokenAuth)

    @property
    def _repo(self) -> Any:
        if self._found is None:
            with _told(f"read {self.repository}"):
                self._found = self._hub.repository(*self.repository.split("/"))
        return self._found

    def login(self) -> str:
        """Who writes with this token. An App's installation cannot ask: it is named after the workflow's bot."""
        if self._is_app:
            return "github-actions[bot]"
        with _told("ask who I am"):
            return str(self._hub.me().login)

    def pull(self, number: int) -> Pull:
        with _told(f"read pull request {number}"):
            url = self._repo._build_url("pulls", str(number), base_url=self._repo._api)
            return _pull(_Pull(self._repo._json(self._repo._get(url), 200), self.session))

    def pull_if_any(self, number: int) -> Pull | None:
        """None where that number is an issue's; raises for every other trouble."""
        try:
            return self.pull(number)
        except MachineError as error:
            if _is_missing(error):
                return None
            raise

    def open_pulls(self) -> list[Pull]:
        with _told("list pull requests"):
            url = self._repo._build_url("pulls", base_url=self._repo._api)
            return [_pull(found) for found in self._repo._iter(-1, url, _Pull, LARGE | {"state": "open"})]

    def comments(self, number: int) -> list[Comment]:
        """All comments of one pull request, oldest first."""
        return self._comments(("issues", str(number), "comments"), {})

    def comments_since(self, moment: str | None) -> list[Comment]:
        """All comments of all pull requests and issues that were written or edited since then."""
        order = {"sort": "updated", "direction": "asc"}  # what is edited meanwhile moves to the end, and is met there
        return self._comments(("issues", "comments"), order | ({"since": moment} if moment else {}))

    def _comments(self, path: tuple[str, ...], params: dict[str, str]) -> list[Comment]:
        with _told("read comments"):
            url = self._repo._build_url(*path, base_url=self._repo._api)
            return [_comment(found) for found in self._repo._iter(-1, url, _Comment, LARGE | params)]

    def write_comment(self, number: int, body: str) -> int:
        """Answers the new comment's id."""
        with _told(f"comment on pull request {number}"):
            url = self._repo._build_url("issues", str(number), "comments", base_url=self._repo._api)
            return int(self._repo._json(self._repo._post(url, data={"body": body}), 201)["id"])

    def edit_comment(self, comment_id: int, body: str) -> None:
        with _told(f"edit comment {comment_id}"):
            url = self._repo._build_url("issues", "comments", str(comment_id), base_url=self._repo._api)
            self._repo._json(self._repo._patch(url, json={"body": body}), 200)

    def reviews(self, number: int) -> list[Review]:
        """All reviews of one pull request, oldest first."""
        with _told(f"read the reviews of pull request {number}"):
            url = self._repo._build_url("pulls", str(number), "reviews", base_url=self._repo._api)
            found = self._repo._iter(-1, url, _Review, LARGE)
            return [Review(one.user.login, one.author_association, one.state, one.commit_id) for one in found]

    def may_write(self, login: str) -> bool:
        """Whether this person can write to the repository, by GitHub's own word and not by an association's."""
        try:
            with _told(f"ask what {login[:40]} may do"):
                path = ("collaborators", quote(login, safe=""), "permission")
                url = self._repo._build_url(*path, base_url=self._repo._api)
                answer = self._repo._json(self._repo._get(url), 200)
        except MachineError as error:
            if _is_missing(error):
                return False  # no collaborator at all
            raise
        return answer.get("permission") in WRITERS or answer.get("role_name") in WRITERS

    def set_state(self, sha: str, name: str, state: State, text: str, url: str | None = None) -> str:
        """A check run where the token may write one, else a commit status; answers which."""
        with contextlib.suppress(*_NO_CHECKS), _told("write a check run", passing=_NO_CHECKS):
            self._check_run(sha, name, state, text, url)
            return "check run"
        with _told("write a commit status"):
            self._repo.create_status(sha, _STATUS.get(state, state), url, text[:140], name)
            return "commit status"

    def _check_run(self, sha: str, name: str, state: State, text: str, url: str | None) -> None:
        """The commit's own run of that name is brought up to date, so that a commit shows one and not a row of them."""
        if not self._is_app:
            raise github3.exceptions.MissingAppInstallationAuthentication("a person's token")
        facts: dict[str, Any] = {**_CHECK[state], "output": {"title": text[:140], "summary": text}}
        if url:
            facts["details_url"] = url
        where = self._repo._build_url("commits", sha, "check-runs", base_url=self._repo._api)
        known = self._repo._iter(-1, where, CheckRun, {"check_name": name}, list_key="check_runs")
        own = next((run for run in known if run.name == name), None)
        if own is None:
            self._repo.create_check_run(name, sha, **facts)
        else:
            own.update(name=name, **facts)

    def open_pull(self, title: str, head: str, base: str, body: str) -> int:
        with _told("open a pull request"):
            return int(self._repo.create_pull(title, base, head, body=body).number)

    def protection(self, branch: str) -> bool | None:
        """Whether the branch is protected, by a ruleset or in the older way; None where the token may not see it."""
        with contextlib.suppress(MachineError), _told(f"read the branch {branch}"):
            url = self._repo._build_url("branches", quote(branch, safe=""), base_url=self._repo._api)
            return bool(self._repo._json(self._repo._get(url), 200).get("protected")) or self._has_rules(branch)
        return None

    def _has_rules(self, branch: str) -> bool:
        with contextlib.suppress(MachineError), _told(f"read the rules of {branch}"):
            url = self._repo._build_url("rules", "branches", quote(branch, safe=""), base_url=self._repo._api)
            return bool(self._repo._json(self._repo._get(url), 200))
        return False

    def allowed(self) -> dict[str, bool]:
        """What the token's owner may do here: pull, push, admin and so on."""
        with _told("ask what this token may do"):
            answer = self._repo._json(self._repo._get(self._repo._api), 200)
            return {str(key): bool(value) for key, value in (answer.get("permissions") or {}).items()}


def _pull(found: Any) -> Pull:
    return Pull(found.number, found.head.sha, found.user.login, found.title, found.state == "open")


def _comment(found: Any) -> Comment:
    number = int(found.issue_url.rsplit("/", 1)[-1])
    created, updated = (moment.isoformat().replace("+00:00", "Z") for moment in (found.created_at, found.updated_at))
    return Comment(found.id, number, found.user.login, found.author_association, found.body or "", created, updated)


def maintains(github: GitHub) -> Callable[[str, str], bool]:
    """Whether (login, association) is a maintainer: the association AND the permission have to say so."""
    known: dict[str, bool] = {}

    def asked(login: str, association: str) -> bool:
        if association not in TRUSTED or not login:
            return False
        if login not in known:
            known[login] = github.may_write(login)
        return known[login]

    return asked


def state_named(name: str) -> State:
    """The state of that name; raises UsageError that names the known ones."""
    for known in _CHECK:
        if name == known:
            return known
    raise UsageError("--state", f"no state {name[:40]!a}", f"choose one of {', '.join(_CHECK)}")
