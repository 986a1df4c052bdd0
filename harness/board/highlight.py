"""A patch as coloured lines: what pygments makes of the Python, what the diff adds and removes, and line numbers.

A patch is a stranger's: whatever it holds becomes text in cells, with invisible characters written out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.submission.files import is_hidden

Kind = Literal["file", "hunk", "added", "removed", "context"]
Parts = tuple[tuple[str, str], ...]  # (class of the style sheet, text)

_HUNK = re.compile(r"@@ -(\d{1,6})(?:,\d{1,6})? \+(\d{1,6})(?:,\d{1,6})? @@")
_KINDS: dict[str, Kind] = {"+": "added", "-": "removed"}


@dataclass(frozen=True)
class Line:
    """One line of a patch."""

    kind: Kind
    old: int | None  # line numbers before and after
    new: int | None
    parts: Parts


def patch_lines(text: str) -> list[Line]:
    """The lines of a unified diff, well-formed or not."""
    lines: list[Line] = []
    hunk: list[str] = []
    head: re.Match[str] | None = None
    for line in text.removesuffix("\n").split("\n"):
        starts = _HUNK.match(line)
        if starts or line.startswith("diff --git ") or head is None:
            lines += _hunk(head, hunk)
            head, hunk = starts, []
            lines.append(Line("hunk" if starts else "file", None, None, (("", visible(line)),)))
        else:
            hunk.append(line)
    return lines + _hunk(head, hunk)


def visible(text: str) -> str:
    """The text with every invisible character written out, tabs left as they are."""
    return "".join(f"[U+{ord(mark):04X}]" if mark != "\t" and is_hidden(mark) else mark for mark in text)


def _hunk(head: re.Match[str] | None, lines: Sequence[str]) -> list[Line]:
    if head is None:
        return []
    old, new = int(head[1]), int(head[2])
    before = iter(_python(line[1:] for line in lines if line[:1] != "+"))
    after = iter(_python(line[1:] for line in lines if line[:1] != "-"))
    made = []
    for line in lines:
        kind = _KINDS.get(line[:1], "context")
        parts = next(before) if kind == "removed" else next(after)
        if kind == "context":
            next(before)
        made.append(Line(kind, None if kind == "added" else old, None if kind == "removed" else new, parts))
        old += kind != "added"
        new += kind != "removed"
    return made


def _python(lines: Iterator[str] | Sequence[str]) -> list[Parts]:
    """One side of a hunk as Python, line by line."""
    from pygments.lexers.python import PythonLexer

    shown = [visible(line) for line in lines]
    made: list[list[tuple[str, str]]] = [[]]
    for token, text in PythonLexer(stripnl=False, ensurenl=False).get_tokens("\n".join(shown)):
        first, *rest = text.split("\n")
        made[-1].append((_class(token), first))
        for part in rest:
            made.append([(_class(token), part)])
    assert len(made) >= len(shown), "the lexer keeps every line"
    return [tuple(part for part in line if part[1]) for line in made]


def _class(token: object) -> str:
    """Which of the few colours of the style sheet a kind of token has; most have none."""
    from pygments.token import Token

    colours = {
        "comment": (Token.Comment, Token.Literal.String.Doc),
        "string": (Token.Literal.String,),
        "number": (Token.Literal.Number, Token.Keyword.Constant),
        "keyword": (Token.Keyword, Token.Operator.Word),
        "name": (Token.Name.Function, Token.Name.Class, Token.Name.Decorator),
    }
    for name, kinds in colours.items():
        if any(token in kind for kind in kinds):
            return name
    return ""
