"""A strict reader of git's unified diffs: what it accepts is a list of line changes to modules of model_core.

It reads what `git diff` writes and nothing else, so that a reviewer, this reader and `git apply` all see one patch.
Every fault of a patch is collected; after one, reading goes on at the next `diff --git` line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from harness.errors import Fault, SubmissionError
from harness.rules import MAX_LITERAL_CHARACTERS, fault

MODULE = re.compile(r"model_core/(?:[a-z0-9_]+/)*[a-z0-9_]+\.py")
_STARTUP = ("sitecustomize.py", "usercustomize.py", "conftest.py")  # run or found by tools without being imported
_HUNK = re.compile(r"@@ -(\d{1,6})(?:,(\d{1,6}))? \+(\d{1,6})(?:,(\d{1,6}))? @@(?: .*)?")
_EXTENDED = re.compile(
    r"(old mode|new mode|new file mode|deleted file mode|similarity index|dissimilarity index"
    r"|rename from|rename to|copy from|copy to|index) (.*)"
)
_INDEX = re.compile(r"[0-9a-f]{4,64}\.\.[0-9a-f]{4,64}(?: (\d{6}))?")
_MODES = {"120000": "patch-symlink", "160000": "patch-submodule"}
_NO_NEWLINE = "\\ No newline at end of file"


@dataclass(frozen=True)
class Hunk:
    """One block of a change. Lines keep their newline; positions are indices from 0."""

    line: int  # of its @@ header in the patch
    old_at: int
    old: tuple[str, ...]  # context and removed lines
    new_at: int
    new: tuple[str, ...]  # context and added lines
    added: tuple[int, ...]  # which of `new` are added
    removed: int


@dataclass(frozen=True)
class Change:
    """What a patch does to one file."""

    path: str  # from the root: model_core/NAME.py
    kind: Literal["modify", "new", "delete"]
    line: int  # of its `diff --git` header in the patch
    hunks: tuple[Hunk, ...]


@dataclass(frozen=True)
class Image:
    """A file after the patch."""

    text: str
    added: frozenset[int]  # its line numbers, from 1, that the patch added


@dataclass(frozen=True)
class Diff:
    """A patch as read. With faults, `changes` holds what could be understood and must not be applied."""

    changes: tuple[Change, ...]
    added: int  # lines
    removed: int  # lines
    faults: tuple[Fault, ...]

    @property
    def added_lines(self) -> tuple[str, ...]:
        """The text that it adds."""
        return tuple(hunk.new[at] for change in self.changes for hunk in change.hunks for at in hunk.added)


def parse_diff(text: str, where: str = "patch.diff") -> Diff:
    """Read a patch. Never raises: what is wrong with it is in `faults`."""
    reader = _Reader(text, where)
    reader.read()
    return Diff(tuple(reader.changes), reader.added, reader.removed, tuple(reader.faults))


def apply_change(change: Change, old: str | None, where: str = "patch.diff") -> Image | None:
    """The file after `change`, None where it is deleted; raises SubmissionError (patch-stale).

    Strict: every hunk has to match at exactly the line that it names.
    """
    spot = f"{where}:{change.line}"
    if change.kind == "new" and old is not None:
        raise SubmissionError(fault("patch-stale", spot, f"adds {change.path}, which the core already has"))
    if change.kind != "new" and old is None:
        raise SubmissionError(fault("patch-stale", spot, f"changes {change.path}, which the core does not have"))
    before = _lines(old or "")
    after: list[str] = []
    added: set[int] = set()
    done = 0  # lines of `before` that are dealt with
    for hunk in change.hunks:
        _match(hunk, before, done, change.path, where)
        after += before[done : hunk.old_at]
        if len(after) != hunk.new_at:
            what = f"says line {hunk.new_at + 1} of {change.path} where it is line {len(after) + 1}"
            raise SubmissionError(fault("patch-format", f"{where}:{hunk.line}", what))
        added |= {len(after) + at + 1 for at in hunk.added}
        after += hunk.new
        done = hunk.old_at + len(hunk.old)
    after += before[done:]
    if not all(line.endswith("\n") for line in after[:-1]):
        raise SubmissionError(fault("patch-format", spot, f"joins two lines of {change.path} that it shows as two"))
    if change.kind != "delete":
        return Image("".join(after), frozenset(added))
    if after:
        what = f"deletes {change.path}, but not all {len(before)} lines that the core has there"
        raise SubmissionError(fault("patch-stale", spot, what))
    return None


def path_fault(path: str, where: str) -> Fault | None:
    """Why a patch may not touch `path`, or None."""
    parts = path.split("/")
    if path.startswith("/") or "\\" in path or {"", ".", ".."} & set(parts):
        return fault("patch-traversal", where, f"names the path {_short(path)}")
    if parts[0] != "model_core":
        return fault("patch-outside", where, f"touches {_short(path)}, outside model_core/")
    if not MODULE.fullmatch(path) or parts[-1] in _STARTUP:
        return fault("patch-file", where, f"touches {_short(path)}, which is not a plain module of the core")
    return None


def _match(hunk: Hunk, before: list[str], done: int, path: str, where: str) -> None:
    spot = f"{where}:{hunk.line}"
    if hunk.old_at < done:
        raise SubmissionError(fault("patch-format", spot, "overlaps the hunk before it"))
    for at, line in enumerate(hunk.old, start=hunk.old_at):
        if at >= len(before):
            what = f"expects {path} to have a line {at + 1}; the core has {len(before)} lines there"
            raise SubmissionError(fault("patch-stale", spot, what))
        if before[at] != line:
            what = f"expects {_short(line)} at {path}:{at + 1}; the core has {_short(before[at])} there"
            raise SubmissionError(fault("patch-stale", spot, what))


def _lines(text: str) -> list[str]:
    """Split after every newline, and nowhere else (str.splitlines knows ten more line ends)."""
    lines = [line + "\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _short(text: str) -> str:
    text = text.rstrip("\n")
    return ascii(text if len(text) <= 60 else text[:57] + "...")


class _Reader:
    """The state of reading one patch: where it stands, and what it has found."""

    def __init__(self, text: str, where: str) -> None:
        self.where = where
        self.lines = text.split("\n")
        self.at = 0
        self.added = 0
        self.removed = 0
        self.changes: list[Change] = []
        self.paths: set[str] = set()
        self.faults: list[Fault] = []
        if self.lines[-1]:
            self._refuse("patch-format", len(self.lines) - 1, "the last line does not end")
        else:
            self.lines.pop()

    def read(self) -> None:
        if not any(line.strip() for line in self.lines):
            self._refuse("patch-empty", 0, "is empty")
            return
        while self.at < len(self.lines):
            if self._line().startswith("diff --git "):
                self._file()
            else:
                self._refuse("patch-format", self.at, f"{_short(self._line())} is no part of a git diff")
                self._skip()

    def _line(self) -> str:
        return self.lines[self.at] if self.at < len(self.lines) else ""

    def _refuse(self, rule: str, at: int, what: str) -> None:
        self.faults.append(fault(rule, f"{self.where}:{at + 1}", what))

    def _skip(self) -> None:
        self.at += 1
        while self.at < len(self.lines) and not self._line().startswith("diff --git "):
            self.at += 1

    def _file(self) -> None:
        start, before = self.at, len(self.faults)
        path = self._name(self._line()[len("diff --git ") :])
        self.at += 1
        kind = self._extended()
        if self._line() == "GIT binary patch" or re.fullmatch(r"Binary files .* differ", self._line()):
            self._refuse("patch-binary", self.at, "is a binary hunk")
            self._skip()
            return
        hunks = self._hunks(path, kind) if self._line().startswith(("--- ", "+++ ")) else ()
        if path in self.paths:
            self._refuse("patch-format", start, f"changes {_short(path)} a second time")
        self.paths.add(path)
        if kind == "modify" and not hunks and len(self.faults) == before:
            self._refuse("patch-format", start, f"changes no line of {_short(path)}")
        self.changes.append(Change(path, kind, start + 1, hunks))

    def _name(self, names: str) -> str:
        """The path of a header `a/PATH b/PATH`; refuses any other form."""
        if '"' in names:
            self._refuse("patch-quoted", self.at, f"quotes a path: {_short(names)}")
            return names
        half = len(names) // 2
        old, new = names[:half], names[half + 1 :]
        if names[half : half + 1] == " " and old.startswith("a/") and new.startswith("b/") and old[2:] == new[2:]:
            found = path_fault(new[2:], f"{self.where}:{self.at + 1}")
            self.faults += [found] if found else []
            return new[2:]
        two = re.fullmatch(r"a/(\S+) b/(\S+)", names)
        if not two:
            self._refuse("patch-format", self.at, f"is no header of the form a/PATH b/PATH: {_short(names)}")
            return names
        self._refuse("patch-rename", self.at, f"turns {_short(two[1])} into {_short(two[2])}")
        self.faults += [found for path in two.groups() if (found := path_fault(path, f"{self.where}:{self.at + 1}"))]
        return two[2]

    def _extended(self) -> Literal["modify", "new", "delete"]:
        """Read the lines between the header and `---`; returns what they say happens to the file."""
        kinds: set[Literal["modify", "new", "delete"]] = set()
        while found := _EXTENDED.fullmatch(self._line()):
            key, value = found.groups()
            if key == "new file mode":
                kinds.add("new")
            elif key == "deleted file mode":
                kinds.add("delete")
            index = _INDEX.fullmatch(value) if key == "index" else None
            mode = index[1] if index else value if key.endswith("mode") else None
            if mode is not None and (mode != "100644" or key in ("old mode", "new mode")):
                self._refuse(_MODES.get(mode, "patch-mode"), self.at, f"has the line {_short(self._line())}")
            if key.startswith(("rename", "copy", "similarity", "dissimilarity")):
                self._refuse("patch-rename", self.at, f"has the line {_short(self._line())}")
                moved = path_fault(value, f"{self.where}:{self.at + 1}") if key[-2:] == "to" else None
                self.faults += [moved] if moved else []
            if key == "index" and not index:
                self._refuse("patch-format", self.at, f"has the line {_short(self._line())}")
            self.at += 1
        if len(kinds) > 1:
            self._refuse("patch-format", self.at, "makes and deletes the same file")
        return kinds.pop() if kinds else "modify"

    def _hunks(self, path: str, kind: str) -> tuple[Hunk, ...]:
        expected = (
            "--- " + ("/dev/null" if kind == "new" else f"a/{path}"),
            "+++ " + ("/dev/null" if kind == "delete" else f"b/{path}"),
        )
        for want in expected:
            if self._line() != want:
                self._other_name(want)
                self._skip()
                return ()
            self.at += 1
        hunks: list[Hunk] = []
        while self._line().startswith("@@"):
            hunk = self._hunk()
            if hunk is None:
                self._skip()
                break
            hunks.append(hunk)
        return tuple(hunks)

    def _other_name(self, want: str) -> None:
        found = self._line()
        name = found[4:]
        if name.startswith('"'):
            self._refuse("patch-quoted", self.at, f"quotes a path: {_short(found)}")
            return
        named = path_fault(name.removeprefix(want[4:6]), f"{self.where}:{self.at + 1}")
        if found.startswith(("--- ", "+++ ")) and name != "/dev/null" and named:
            self.faults.append(named)
        self._refuse("patch-format", self.at, f"has {_short(found)} where its header asks for {_short(want)}")

    def _hunk(self) -> Hunk | None:
        header, start = _HUNK.fullmatch(self._line()), self.at
        if not header:
            self._refuse("patch-format", self.at, f"has a broken hunk header {_short(self._line())}")
            return None
        old_start, old_count, new_start, new_count = (1 if part is None else int(part) for part in header.groups())
        self.at += 1
        body = self._body(old_count, new_count)
        if body is None:
            return None
        added = [mark == "+" for mark, _ in body if mark != "-"]
        removed = sum(mark == "-" for mark, _ in body)
        self.added += sum(added)
        self.removed += removed
        if not any(added) and not removed:
            self._refuse("patch-format", start, "has a hunk that changes nothing")
        return Hunk(
            line=start + 1,
            # An empty side names the line before it; a side with lines names its first.
            old_at=old_start - (old_count > 0),
            old=tuple(text for mark, text in body if mark != "+"),
            new_at=new_start - (new_count > 0),
            new=tuple(text for mark, text in body if mark != "-"),
            added=tuple(at for at, is_added in enumerate(added) if is_added),
            removed=removed,
        )

    def _body(self, old_left: int, new_left: int) -> list[tuple[str, str]] | None:
        """The marked lines of a hunk, as many as its header says."""
        body: list[tuple[str, str]] = []
        while old_left or new_left or self._line().startswith("\\"):
            mark, text = self._line()[:1], self._line()[1:]
            if mark == "\\" and self._line() == _NO_NEWLINE and body and body[-1][1].endswith("\n"):
                body[-1] = (body[-1][0], body[-1][1][:-1])
                self.at += 1
                continue
            old_left -= mark in (" ", "-")
            new_left -= mark in (" ", "+")
            if not mark or mark not in " +-" or old_left < 0 or new_left < 0 or self.at >= len(self.lines):
                what = (
                    "ends early" if self.at >= len(self.lines) else f"does not fit its header at {_short(self._line())}"
                )
                self._refuse("patch-format", min(self.at, len(self.lines) - 1), f"has a hunk that {what}")
                return None
            if mark == "+" and len(text) > MAX_LITERAL_CHARACTERS:
                self._refuse("patch-literal", self.at, f"adds a line of {len(text)} characters")
            body.append((mark, text + "\n"))
            self.at += 1
        return body
