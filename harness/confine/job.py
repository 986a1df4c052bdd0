"""What a confined process is started with."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.confine import watch

ENTER = Path(__file__).parent / "enter.py"
FIRST_UID = 600_000_000  # beyond what people, services and containers are given
OPEN_FILES = 4_096
LARGEST_FILE = 8 << 30  # bytes; the checkpoint is a file too


@dataclass(frozen=True)
class Job:
    """A Python program in a folder, with the descriptors that it inherits and the environment that it sees."""

    folder: Path
    program: str  # file in the folder
    arguments: tuple[str, ...]
    environment: dict[str, str]
    processes: int  # that it may have
    scratch: Path  # a private folder of this job, on disk


def fresh_uid(number: int) -> int | None:
    """A user that nobody else is, for a root that may become one; None for anybody else."""
    return FIRST_UID + (os.getpid() % 100_000) * 1_000 + number % 1_000 if os.geteuid() == 0 else None


def orders(uid: int | None, processes: int, rules: list[list[str]] | None, program: bytes | None) -> str:
    """What enter.py is told."""
    limits: dict[str, int] = {"CORE": 0, "NOFILE": OPEN_FILES, "FSIZE": LARGEST_FILE}
    limits["NPROC"] = processes + (watch.threads_of_this_user() if uid is None else 0)
    told: dict[str, Any] = {"uid": uid, "limits": limits, "rules": rules}
    told["filter"] = base64.b64encode(program).decode() if program is not None else None
    return json.dumps(told)


def python(enter: str, told: str, worker: Sequence[str]) -> list[str]:
    """The command that enters and then becomes the worker."""
    return [sys.executable, "-I", "-S", "-B", enter, told, sys.executable, "-I", "-B", *worker]
