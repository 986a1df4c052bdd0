"""How much a patch could hold that is no code: a table of constants can hold what training should learn.

No literal may gain much, and neither may all of them together; and since a table can also be written as names or as
comments, the added text has to compress as code does.
"""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
import zlib
from dataclasses import dataclass

from harness.errors import Fault
from harness.rules import (
    COUNTED_LITERAL_CHARACTERS,
    MAX_ADDED_BYTES,
    MAX_ADDED_BYTES_PER_LINE,
    MAX_LITERAL_CHARACTERS,
    MAX_LITERALS_CHARACTERS,
    fault,
)

_COLLECTIONS = (ast.List, ast.Tuple, ast.Set, ast.Dict)
_CONSTANT_PARTS = (*_COLLECTIONS, ast.Constant, ast.JoinedStr, ast.FormattedValue, ast.UnaryOp, ast.BinOp)
_SYNTAX = (ast.expr_context, ast.operator, ast.unaryop)  # nodes without a place in the text


@dataclass(frozen=True)
class Source:
    """A patched file, read."""

    faults: tuple[Fault, ...]
    literals: int  # characters that its counted literals gain together


def read_source(path: str, text: str, added: frozenset[int]) -> Source:
    """The faults of a patched file (it does not parse, Python would read it in another encoding, or a literal gains too
    many characters in its `added` lines), and what its literals gain together.

    A literal here is a constant, a collection of constants, or constants joined by operators; of a mixed collection
    its constant parts are summed. A line that the patch leaves alone counts nothing, so a long docstring may be mended.
    Text that stands alone, as a docstring does, is not counted in the sum: it is prose, like a comment.
    """
    reader = _Reader(text.split("\n"), added)
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(text.encode()).readline)
        if encoding != "utf-8":  # Python would run other lines than those that are shown, and judged here
            return Source((fault("patch-encoding", f"{path}:1", f"asks Python to read it as {encoding}"),), 0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a doubtful escape is Python's to report, when the module is imported
            tree = ast.parse(text)
        reader.visit(tree)
    except (SyntaxError, ValueError) as error:
        line = error.lineno if isinstance(error, SyntaxError) and error.lineno else 1
        message = error.msg if isinstance(error, SyntaxError) else str(error)
        return Source((fault("patch-syntax", f"{path}:{line}", f"is not Python: {message}"),), 0)
    except (RecursionError, MemoryError):
        return Source((fault("patch-syntax", f"{path}:1", "is nested too deeply for Python to parse"),), 0)
    found = tuple(
        fault("patch-literal", f"{path}:{line}", f"holds a literal that gains {size} characters")
        for line, size in sorted(reader.found.items())
    )
    return Source(found, reader.literals)


def table_faults(where: str, added: tuple[str, ...], literals: int) -> tuple[Fault, ...]:
    """The faults of a whole patch: its `added` lines hold more than code does, or its literals do together."""
    found = []
    if literals > MAX_LITERALS_CHARACTERS:
        found.append(fault("patch-table", where, f"adds {literals:,} characters of literals"))
    size = len(zlib.compress("".join(added).encode(), 9))
    limit = MAX_ADDED_BYTES + MAX_ADDED_BYTES_PER_LINE * len(added)
    if size > limit:
        what = f"adds {len(added)} lines that compress to {size:,} bytes; so many lines of code stay below {limit:,}"
        found.append(fault("patch-table", where, what))
    return tuple(found)


class _Reader:
    """One walk over a module; every outermost literal is measured once, so nesting costs nothing extra."""

    def __init__(self, lines: list[str], added: frozenset[int]) -> None:
        self.lines = lines
        self.added = added
        self.found: dict[int, int] = {}  # line -> characters gained, of the literals over the limit
        self.literals = 0  # characters gained by all that are counted

    def visit(self, node: ast.AST) -> int | None:
        """Characters gained in the constants of a mixed collection (0 for other nodes), None for a constant."""
        inside = [(child, self.visit(child)) for child in ast.iter_child_nodes(node) if not isinstance(child, _SYNTAX)]
        if isinstance(node, _CONSTANT_PARTS) and all(size is None for _, size in inside):
            return None
        total = 0
        for child, size in inside:
            if size is None and isinstance(child, ast.expr):
                size = self._gained(child)
                self._report(child, size)
                self.literals += size if size >= COUNTED_LITERAL_CHARACTERS and not isinstance(node, ast.Expr) else 0
            total += size or 0
        if not isinstance(node, _COLLECTIONS):
            return 0
        self._report(node, total)
        return total

    def _report(self, node: ast.expr, size: int) -> None:
        if size > MAX_LITERAL_CHARACTERS:
            self.found[node.lineno] = max(size, self.found.get(node.lineno, 0))

    def _gained(self, node: ast.expr) -> int:
        total = 0
        for number in range(node.lineno, (node.end_lineno or node.lineno) + 1):
            if number in self.added:
                # Columns count UTF-8 bytes; only the first and the last line are cut.
                first = node.col_offset if number == node.lineno else 0
                last = node.end_col_offset if number == node.end_lineno else None
                total += len(self.lines[number - 1].encode()[first:last].decode(errors="ignore").strip())
        return total
