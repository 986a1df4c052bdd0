"""How many characters a patch adds inside one literal: a table of constants can hold what training should learn."""

from __future__ import annotations

import ast
import warnings

from harness.errors import Fault
from harness.rules import MAX_LITERAL_CHARACTERS, fault

_COLLECTIONS = (ast.List, ast.Tuple, ast.Set, ast.Dict)
_CONSTANT_PARTS = (*_COLLECTIONS, ast.Constant, ast.JoinedStr, ast.FormattedValue, ast.UnaryOp, ast.BinOp)
_SYNTAX = (ast.expr_context, ast.operator, ast.unaryop)  # nodes without a place in the text


def source_faults(path: str, text: str, added: frozenset[int]) -> tuple[Fault, ...]:
    """The faults of a patched file: it does not parse, or a literal gains too many characters in its `added` lines.

    A literal here is a constant, a collection of constants, or constants joined by operators; of a mixed collection
    its constant parts are summed. A line that the patch leaves alone counts nothing, so a long docstring may be mended.
    """
    reader = _Reader(text.split("\n"), added)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a doubtful escape is Python's to report, when the module is imported
            tree = ast.parse(text)
        reader.visit(tree)
    except (SyntaxError, ValueError) as error:
        line = error.lineno if isinstance(error, SyntaxError) and error.lineno else 1
        message = error.msg if isinstance(error, SyntaxError) else str(error)
        return (fault("patch-syntax", f"{path}:{line}", f"is not Python: {message}"),)
    except (RecursionError, MemoryError):
        return (fault("patch-syntax", f"{path}:1", "is nested too deeply for Python to parse"),)
    return tuple(
        fault("patch-literal", f"{path}:{line}", f"holds a literal that gains {size} characters")
        for line, size in sorted(reader.found.items())
    )


class _Reader:
    """One walk over a module; every outermost literal is measured once, so nesting costs nothing extra."""

    def __init__(self, lines: list[str], added: frozenset[int]) -> None:
        self.lines = lines
        self.added = added
        self.found: dict[int, int] = {}  # line -> characters gained, of the literals over the limit

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
