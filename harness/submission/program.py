"""What a patched core computes, whatever is said about it: two patches that differ in words alone are one idea."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path


def program_digest(core: Path) -> str:
    """sha256 of the syntax trees of a folder's Python files: comments, layout and docstrings are not in them."""
    digest = hashlib.sha256()
    for file in sorted(core.rglob("*.py")):
        tree = ast.parse(file.read_bytes())
        for node in ast.walk(tree):
            if isinstance(body := getattr(node, "body", None), list):
                node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
        digest.update(f"{file.relative_to(core)}\n{ast.dump(tree)}\n".encode())
    return digest.hexdigest()


def _is_text(part: ast.AST) -> bool:
    return isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)
