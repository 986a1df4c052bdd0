"""What a core computes, whatever is said about it: two patches that differ in words alone are one idea."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Mapping
from pathlib import PurePosixPath


def program_digest(core: Mapping[str, bytes]) -> str:
    """sha256 of the syntax trees of a core's files, by path: comments, layout and docstrings are not in them."""
    digest = hashlib.sha256()
    for path in sorted(map(PurePosixPath, core)):
        tree = ast.parse(core[str(path)])
        for node in ast.walk(tree):
            if isinstance(body := getattr(node, "body", None), list):
                node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
        digest.update(f"{path.relative_to('model_core')}\n{ast.dump(tree)}\n".encode())
    return digest.hexdigest()


def _is_text(part: ast.AST) -> bool:
    return isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)
