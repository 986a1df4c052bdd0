"""The wire to GitHub: what is tried again, how long a rate limit is waited for, and words without tokens."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from harness.errors import MachineError

TOKEN = "GITHUB_TOKEN"
BACKOFF = 0.5  # seconds before the second try of a request that was lost; twice as long before every further one
PATIENCE_S = 120.0  # for all rate limits that one request meets; the next pass of the bot comes anyway
_SHAPES = re.compile(r"gh[a-z]_[A-Za-z0-9_]{8,}|github_pat_[A-Za-z0-9_]{8,}|(?<=://)[^/@\s]+(?=@)")
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "PATCH", "DELETE"})  # a POST that was lost may have been heard


class UnreachableError(MachineError):
    """GitHub did not answer, or not now. The same request later may work."""


def redact(text: str) -> str:
    """`text` without this process's token, or anything of a token's shape."""
    token = os.environ.get(TOKEN, "")
    return _SHAPES.sub("***", text.replace(token, "***") if token else text)


class PatientAdapter(HTTPAdapter):
    """Tries again what was lost on the way, and waits for a rate limit within a bound."""

    def __init__(self, patience_s: float = PATIENCE_S, sleep: Callable[[float], None] = time.sleep) -> None:
        self._patience_s = patience_s
        self._sleep = sleep
        lost = Retry(
            total=4,
            status_forcelist=(500, 502, 504),
            allowed_methods=_IDEMPOTENT,
            backoff_factor=BACKOFF,
            raise_on_status=False,
            respect_retry_after_header=False,  # waited for here, where there is a bound
        )
        super().__init__(max_retries=lost)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        left = self._patience_s
        while True:
            response = super().send(request, *args, **kwargs)
            wait = _asked_to_wait(response)
            if wait is None:
                return response
            if wait > left:
                what = f"GitHub's rate limit holds for {wait:.0f} s more"
                raise UnreachableError(str(request.url).partition("?")[0], what, "try again after that")
            response.close()
            left -= wait
            self._sleep(wait)


def _asked_to_wait(response: requests.Response) -> float | None:
    """Seconds until GitHub will hear this request; None where it has answered it."""
    if response.status_code not in (403, 429, 503):
        return None
    after, reset = response.headers.get("Retry-After", ""), response.headers.get("X-RateLimit-Reset", "")
    if after.isdecimal():
        return max(1.0, float(after[:6]))
    if response.headers.get("X-RateLimit-Remaining") == "0" and reset.isdecimal():
        return max(1.0, float(reset[:12]) - time.time() + 1.0)
    return None
