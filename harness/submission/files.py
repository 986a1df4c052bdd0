"""Reading files that strangers wrote, and writing files that must never be half there."""

from __future__ import annotations

import os
import stat
import unicodedata
from pathlib import Path

from harness.errors import Fault, SubmissionError
from harness.rules import fault

# Letters that most fonts draw as nothing, and the selectors that can carry hidden bytes behind any letter.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u034f") | {
    chr(code) for first, last in ((0xFE00, 0xFE0F), (0xE0100, 0xE01EF)) for code in range(first, last + 1)
}
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})


def place(folder: Path, name: str, line: int | None = None) -> str:
    """How faults name a place: submissions/SLUG/FILE:LINE."""
    path = f"{folder.parent.name}/{folder.name}/{name}"
    return path if line is None else f"{path}:{line}"


def read_hostile(folder: Path, name: str, group: str, limit_bytes: int) -> bytes:
    """The bytes of a regular file of at most `limit_bytes`; raises SubmissionError with the group's rule.

    Links are not followed and pipes are not waited for: in CI the folder is a stranger's.
    """
    where = place(folder, name)
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise SubmissionError(fault(f"{group}-missing", where, f"cannot be read: {error.strerror}")) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise SubmissionError(fault(f"{group}-missing", where, "is not a regular file"))
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(limit_bytes + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit_bytes:
        raise SubmissionError(fault(f"{group}-size", where, f"is larger than {limit_bytes // 1024} KiB"))
    return content


def decode(content: bytes, where: str, group: str) -> str:
    """UTF-8 text; raises SubmissionError that names the line of the first byte that is not."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = f"byte {content[error.start]:#04x} is not UTF-8"
        raise SubmissionError(fault(f"{group}-encoding", f"{where}:{line}", what)) from None


def is_hidden(character: str) -> bool:
    """Whether a reader cannot see this character: control, format, bidirectional, unassigned, blank letter."""
    return character in _BLANK or unicodedata.category(character) in _HIDDEN_CATEGORIES


def name_of(character: str) -> str:
    """Code point and Unicode name, printable in any terminal."""
    return f"U+{ord(character):04X} {unicodedata.name(character, 'control character')}"


def hidden_fault(text: str, where: str, group: str, allowed: str = "\t\n") -> Fault | None:
    """The first hidden character of `text` as a fault that counts the others."""
    hidden = {character for character in set(text) if character not in allowed and is_hidden(character)}
    if not hidden:
        return None
    positions = [at for at, character in enumerate(text) if character in hidden]
    line = text.count("\n", 0, positions[0]) + 1
    others = f", and {len(positions) - 1} more in this file" if len(positions) > 1 else ""
    return fault(f"{group}-characters", f"{where}:{line}", f"holds {name_of(text[positions[0]])}{others}")
