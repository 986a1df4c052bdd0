"""What a core computes, whatever is said about it: two patches that differ in words alone are one idea."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any


def program_digest(core: Mapping[str, bytes]) -> str:
    """sha256 of the syntax trees of a core's files, by path: comments, layout and docstrings are not in them."""
    digest = hashlib.sha256()
    for path in sorted(map(PurePosixPath, core)):
        digest.update(f"{path.relative_to('model_core')}\n".encode())
        # Not by recursion, as ast.dump does it: five hundred branches of one `if` lie one in the other
        left: list[Any] = [ast.parse(core[str(path)])]
        while left:
            part = left.pop()
            if isinstance(part, ast.AST):
                digest.update(f"{type(part).__name__}(".encode())
                left.append(_END)
                left += [getattr(part, name, None) for name in reversed(part._fields)]
            elif isinstance(part, list):
                digest.update(b"[")
                left.append(_END)
                left += [one for one in reversed(part) if not _is_text(one)]
            else:
                digest.update(b")" if part is _END else f"{part!r},".encode())
    return digest.hexdigest()


_END = object()


def _is_text(part: Any) -> bool:
    return isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)
