"""What happens on a bad line: what is tried again, what is waited for and how long, and that no token is ever said."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
import requests

from harness.bot import connection
from harness.bot.connection import PatientAdapter, UnreachableError, redact
from harness.bot.github import GitHub
from harness.errors import MachineError

Reply = tuple[int, dict[str, str], bytes]


class _Server(BaseHTTPRequestHandler):
    replies: ClassVar[list[Reply]] = []
    heard: ClassVar[list[str]] = []
    protocol_version = "HTTP/1.1"

    def _reply(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.heard.append(self.command)
        status, headers, body = self.replies.pop(0) if self.replies else (200, {}, b"{}")
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = _reply  # noqa: N815 - the names that the library calls

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    _Server.replies, _Server.heard = [], []
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_address[1]}"
    http.shutdown()
    http.server_close()


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def session(slept: list[float]) -> requests.Session:
    made = requests.Session()
    made.mount("http://", PatientAdapter(patience_s=120, sleep=slept.append))
    return made


def test_a_request_that_is_lost_is_sent_again(server: str, session: requests.Session) -> None:
    _Server.replies = [(502, {}, b""), (0, {}, b""), (200, {}, b"{}")]
    assert session.get(server).status_code == 200
    assert _Server.heard == ["GET"] * 3


def test_a_post_that_may_have_been_heard_is_not_sent_twice(server: str, session: requests.Session) -> None:
    _Server.replies = [(0, {}, b"")]
    with pytest.raises(requests.ConnectionError):
        session.post(server, data="{}")
    assert _Server.heard == ["POST"]


@pytest.mark.parametrize("status", [403, 429, 503])
def test_a_rate_limit_is_waited_for(server: str, session: requests.Session, slept: list[float], status: int) -> None:
    _Server.replies = [(status, {"Retry-After": "7"}, b"{}")]
    assert session.get(server).status_code == 200
    assert slept == [7.0]


def test_a_limit_that_is_reset_later_is_waited_for(server: str, session: requests.Session, slept: list[float]) -> None:
    reset = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 30)}
    _Server.replies = [(403, reset, b"{}")]
    assert session.post(server, data="{}").status_code == 200
    assert 28 <= slept[0] <= 32


def test_a_limit_beyond_all_patience_is_said_at_once(
    server: str, session: requests.Session, slept: list[float]
) -> None:
    _Server.replies = [(429, {"Retry-After": "3600"}, b"{}")]
    with pytest.raises(UnreachableError, match="3600 s more"):
        session.get(server)
    assert slept == []


def test_waiting_for_one_request_has_an_end(server: str, session: requests.Session, slept: list[float]) -> None:
    _Server.replies = [(429, {"Retry-After": "50"}, b"{}")] * 5
    with pytest.raises(UnreachableError):
        session.get(server)
    assert sum(slept) <= 120


def test_a_plain_refusal_is_not_waited_for(server: str, session: requests.Session, slept: list[float]) -> None:
    _Server.replies = [(403, {}, b"{}")]
    assert session.get(server).status_code == 403
    assert slept == []


def test_no_failure_says_the_token(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    token = "ghp_neverToBeSeen0123456789"
    monkeypatch.setenv("GITHUB_TOKEN", token)
    monkeypatch.setenv("GITHUB_API_URL", server)
    monkeypatch.setattr(connection, "BACKOFF", 0.01)
    body = f'{{"message": "bad credentials {token}"}}'.encode()
    for status in (401, 403, 404, 422, 500):
        _Server.replies = [(status, {}, body)] * 6
        with pytest.raises(MachineError) as caught:
            GitHub("a/b").pull(1)
        assert token not in str(caught.value) and "***" in str(caught.value)


def test_a_line_that_stays_dead_is_unreachable(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "x" * 20)
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:1")
    monkeypatch.setattr(connection, "BACKOFF", 0.01)
    with pytest.raises(UnreachableError, match="cannot read a/b"):
        GitHub("a/b").pull(1)


def test_an_answer_that_lacks_a_key_says_which(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "x" * 20)
    monkeypatch.setenv("GITHUB_API_URL", server)
    _Server.replies = [(200, {}, b'{"url": "x"}')]
    with pytest.raises(MachineError, match="lacks"):
        GitHub("a/b").pull(1)


def test_without_a_token_nothing_is_asked(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    with pytest.raises(MachineError, match="GITHUB_TOKEN"):
        GitHub("a/b")


def test_tokens_of_every_shape_are_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "a-secret-of-no-shape")
    text = "ghp_0123456789abcdef ghs_abcdefghij github_pat_11AAAA22BBBB a-secret-of-no-shape https://u:pw@github.com/x"
    said = redact(text)
    for secret in ("0123456789", "abcdefghij", "11AAAA", "secret", "pw@"):
        assert secret not in said
