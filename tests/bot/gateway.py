"""Between the bot and the emulator of GitHub: git's half, the fields that the emulator leaves out, and faults.

The emulator holds users, pull requests, comments, reviews and check runs. It has no git and no commit statuses: heads
are read off a bare repository here, and statuses are kept here. Nothing else of GitHub is made up in this file.
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

Answer = tuple[int, dict[str, str], bytes]
Fault = Callable[[str, str], Answer | None]  # by method and path; None: no fault. Status 0: the line goes dead

PULL = {"active_lock_reason": None, "body_html": "", "body_text": "", "rebaseable": None}
REPOSITORY = {"network_count": 0, "subscribers_count": 0, "parent": None, "source": None}
COMMENT = {"body_html": "", "body_text": ""}
REVIEW = {"body_html": "", "body_text": ""}
APP = {
    "id": 1,
    "name": "emulated",
    "description": "",
    "external_url": "",
    "html_url": "https://github.com/apps/emulated",
    "owner": {"login": "maintainer"},
}


@dataclass
class Gateway:
    """A server that the bot takes for GitHub."""

    emulator: int  # port
    remote: Path  # the bare repository that is GitHub's own copy
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    commits: dict[str, str] = field(default_factory=dict)  # a head in git: a commit that the emulator knows

    def __enter__(self) -> Gateway:
        gateway = self

        class Handler(_Handler):
            owner = gateway

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def call(self, token: str, method: str, path: str, body: object = None) -> Any:
        """A request of a person, past the faults; the answer has to be a good one."""
        headers = {"Authorization": f"token {token}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        status, _, answer = self.forward(method, path, headers, content)
        assert status < 300, (method, path, status, answer[:300])
        return json.loads(answer) if answer else None

    def forward(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.emulator, timeout=60)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            content = response.read()
            kept = {key: value for key, value in response.getheaders() if key.lower() in ("link", "content-type")}
            return response.status, kept, content
        finally:
            connection.close()

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> Answer:
        self.requests.append((method, path))
        for fault in list(self.faults):
            answer = fault(method, path)
            if answer is not None:
                return answer
        if method == "POST" and "/statuses/" in path:
            return self._status(path, body)
        if method == "GET" and re.search(r"/issues/comments(\?|$)", path):
            return self._all_comments(path, headers)
        for real, emulated in self.commits.items():
            path = path.replace(real, emulated)
            body = body.replace(real.encode(), emulated.encode()) if body and "/check-runs" in path else body
        status, kept, content = self.forward(method, path, headers, body)
        if status >= 300 or not content:
            return status, kept, content
        text = json.dumps(self._filled(json.loads(content))).replace(f"http://localhost:{self.emulator}", self.url)
        for real, emulated in self.commits.items():
            text = text.replace(emulated, real)
        kept = {key: value.replace(f"http://localhost:{self.emulator}", self.url) for key, value in kept.items()}
        return status, kept, text.encode()

    def _all_comments(self, path: str, headers: dict[str, str]) -> Answer:
        """Comments of all pull requests: the emulator has this list only for one at a time."""
        base, _, query = path.partition("/issues/comments")
        since = parse_qs(query.lstrip("?")).get("since", [""])[0]
        pulls = json.loads(self.forward("GET", f"{base}/pulls?state=all", headers, None)[2])
        listed = [
            comment
            for pull in pulls
            for comment in json.loads(
                self.forward("GET", f"{base}/issues/{pull['number']}/comments?per_page=100", headers, None)[2]
            )
            if comment["updated_at"] >= since
        ]
        text = json.dumps(self._filled(listed)).replace(f"http://localhost:{self.emulator}", self.url)
        return 200, {"Content-Type": "application/json"}, text.encode()

    def _status(self, path: str, body: bytes | None) -> Answer:
        """A commit status, in the form of github3.py's own recorded answer (Repository_create_status)."""
        asked = json.loads(body or b"{}")
        self.statuses.append({**asked, "sha": path.rsplit("/", 1)[1]})
        user = self.call(next(iter(self.tokens)), "GET", "/user")
        made = {
            "url": f"{self.url}{path}",
            "id": len(self.statuses),
            "created_at": "2026-01-01T00:00:00Z",
            "updated_at": "2026-01-01T00:00:00Z",
            "creator": user,
            "target_url": None,
            "description": None,
            **asked,
        }
        return 201, {"Content-Type": "application/json"}, json.dumps(made).encode()

    def _filled(self, value: Any) -> Any:
        """An answer with what github3.py asks for beyond what the emulator gives."""
        if isinstance(value, list):
            return [self._filled(one) for one in value]
        if not isinstance(value, dict):
            return value
        value = {key: self._filled(one) for key, one in value.items()}
        if "issue_url" in value and "body" in value and "/comments/" in value.get("url", ""):
            return {**COMMENT, **value}
        if "submitted_at" in value:
            return {**REVIEW, **value}
        if "head_sha" in value and "check_suite" in value:
            return {**value, "app": APP, "output": {"annotations_url": "", **value["output"]}}
        if "diff_url" in value and "head" in value:
            value = {**PULL, **value}
            real = self.head_of(int(value["number"]), value["head"]["ref"])
            self.commits[real] = value["base"]["sha"]
            value["head"] = {**value["head"], "sha": real}
        if "full_name" in value and "default_branch" in value:
            value = {**REPOSITORY, **value}
        return value

    def head_of(self, number: int, branch: str = "main") -> str:
        """Git's half: where the head of a pull request is now, from a fork or from a branch of the same repository."""
        refs = [f"refs/pull/{number}/head", f"refs/heads/{branch}"]
        command = ["git", "for-each-ref", "--format=%(refname) %(objectname)", *refs]
        done = subprocess.run(command, cwd=self.remote, capture_output=True, text=True, check=True)
        known = dict(line.split() for line in done.stdout.splitlines())
        return next(known[ref] for ref in refs if ref in known)


class _Handler(BaseHTTPRequestHandler):
    owner: Gateway
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        names = ("Authorization", "Content-Type", "Accept")
        headers = {name: self.headers[name] for name in names if self.headers[name]}
        said = re.fullmatch(r"(?:token|Bearer) (.+)", self.headers.get("Authorization", ""))
        if said:
            self.owner.tokens.add(said[1])
        status, kept, content = self.owner.answer(self.command, self.path, headers, body)
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        for key, value in kept.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve  # noqa: N815 - the names that the library calls

    def log_message(self, *_: object) -> None:
        pass
