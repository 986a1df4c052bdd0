"""Seeds that nobody can choose or know: drawn from one salt per evaluation, whose digest is frozen beforehand."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from harness.errors import MachineError
from harness.records.atomic import write_atomically


def new_salt(track: str, budget: str, patch_sha: str, pairs: int) -> str:
    """A fresh salt under which the first `pairs` seeds of the decide and confirm rounds are all different."""
    while True:
        salt = secrets.token_hex(32)
        drawn = {
            seed(salt, track, budget, patch_sha, round_, i) for round_ in ("decide", "confirm") for i in range(pairs)
        }
        if len(drawn) == 2 * pairs:
            return salt


def digest(salt: str) -> str:
    """What is frozen in the evaluation's file while the salt is secret."""
    return hashlib.sha256(salt.encode()).hexdigest()


def seed(salt: str, track: str, budget: str, patch_sha: str, round_: str, pair: int) -> int:
    """Seed of one pair, the same for both arms."""
    text = f"{salt}|{track}|{budget}|{patch_sha}|{round_}|{pair}"
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def stream_of(salt: str, purpose: str) -> int:
    """Seed of 256 bits for what the judge draws itself."""
    return int.from_bytes(hashlib.sha256(f"{salt}|{purpose}".encode()).digest(), "big")


def core_first(salt: str, round_: str, pair: int) -> bool:
    """AB, BA, AB ... with a coin for the first."""
    coin = hashlib.sha256(f"{salt}|coin|{round_}".encode()).digest()[0] & 1
    return (coin + pair) % 2 == 0


def _path(root: Path, evaluation_id: str) -> Path:
    return root / ".blueberry" / "salts" / evaluation_id


def keep(root: Path, evaluation_id: str, salt: str) -> None:
    """Keeps the salt of an open evaluation on this machine, outside git."""
    path = _path(root, evaluation_id)
    write_atomically(path, salt + "\n")
    path.chmod(0o600)


def is_here(root: Path, evaluation_id: str) -> bool:
    """Whether the evaluation was begun on this machine, and can be finished on it."""
    return _path(root, evaluation_id).exists()


def recall(root: Path, evaluation_id: str, salt_sha256: str) -> str:
    """The salt of an open evaluation; raises MachineError when it was begun elsewhere."""
    path = _path(root, evaluation_id)
    salt = path.read_text(encoding="utf-8", errors="replace").strip() if path.exists() else ""
    if digest(salt) != salt_sha256:
        trouble = "is damaged" if path.exists() else "is not on this machine"
        what = f"evaluation {evaluation_id} is open, but its salt {trouble}"
        fix = (
            "finish it where it was begun; if that machine is lost, a maintainer moves its file out of evaluations/, "
            "its folder out of runs/, and says so in the pull request: it no longer counts as a try of that idea"
        )
        raise MachineError(str(path), what, fix)
    return salt


def forget(root: Path, evaluation_id: str) -> None:
    """The salt is public once the evaluation is closed."""
    _path(root, evaluation_id).unlink(missing_ok=True)
