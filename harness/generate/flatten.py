"""The modules of a core as files that lie side by side, which is how transformers wants model code.

Only import statements change: `from model_core.lm import LM` becomes `from .model_core_lm import LM`. Nothing is run.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

from harness.errors import UsageError

PACKAGE = "model_core"


def flattened(code: Path, wanted: Sequence[str]) -> dict[str, str]:
    """Name and source of every module that the `wanted` ones import, themselves and the package's own first.

    `code` is the folder of the package. Raises UsageError for an import that cannot be written in another way.
    """
    sources = {_dotted(code, path): path for path in sorted(code.rglob("*.py"))}
    waiting, done = [PACKAGE, *(f"{PACKAGE}.{name}" for name in wanted)], {}
    while waiting:
        module = waiting.pop(0)
        if module not in done and module in sources:
            done[module], found = _rewritten(module, sources)
            waiting += [*found, *(name.rpartition(".")[0] for name in found)]  # a package before what is in it
    files = {flat_name(module): text for module, text in done.items()}
    assert len(files) == len(done), "two modules would have one name"
    return files


def flat_name(module: str) -> str:
    """Of the file, without its suffix, that takes the place of a module."""
    return f"{PACKAGE}_init" if module == PACKAGE else module.replace(".", "_")


def _dotted(code: Path, path: Path) -> str:
    parts = path.relative_to(code).with_suffix("").parts
    return ".".join([PACKAGE, *(parts[:-1] if parts[-1] == "__init__" else parts)])


def _rewritten(module: str, sources: dict[str, Path]) -> tuple[str, list[str]]:
    """The text of a module with its imports of the core rewritten, and the modules that they name."""
    raw = sources[module].read_bytes()
    tree = ast.parse(raw)
    _refuse_names_in_calls(tree, module)
    lines, found = raw.splitlines(keepends=True), []
    for node in reversed(_imports(tree)):  # from the end, so that earlier places stay right
        statements, named = _statements(node, module, sources)
        if named:
            first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
            before, after = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
            lines[first : last + 1] = [before + "; ".join(statements).encode() + after]
            found += named
    return b"".join(lines).decode(), found


def _imports(tree: ast.Module) -> list[ast.Import | ast.ImportFrom]:
    """In the order of their places, inside functions as well."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    return sorted(found, key=lambda node: (node.lineno, node.col_offset))


def _statements(
    node: ast.Import | ast.ImportFrom, module: str, sources: dict[str, Path]
) -> tuple[list[str], list[str]]:
    """What an import becomes, and the modules of the core that it names; none: it stays as it is."""
    if isinstance(node, ast.Import):
        return _plain(node, module)
    base = _base(node, module, sources)
    statements, named = [], []
    for alias in node.names if _is_core(base) else ():
        target = f"{base}.{alias.name}"
        if target in sources:
            statements.append(f"from . import {flat_name(target)} as {alias.asname or alias.name}")
        else:
            bound = f" as {alias.asname}" if alias.asname else ""
            statements.append(f"from .{flat_name(base)} import {alias.name}{bound}")
        named.append(target if target in sources else base)
    return statements, named


def _plain(node: ast.Import, module: str) -> tuple[list[str], list[str]]:
    """The same for an import without `from`, which a relative one cannot always stand for."""
    statements, named = [], []
    for alias in node.names:
        if not _is_core(alias.name):
            statements.append(f"import {alias.name}" + (f" as {alias.asname}" if alias.asname else ""))
        elif alias.asname:
            statements.append(f"from . import {flat_name(alias.name)} as {alias.asname}")
            named.append(alias.name)
        else:
            raise _refusal(module, node.lineno, f"`import {alias.name}` binds the name of the whole package")
    return statements, named


def _refuse_names_in_calls(tree: ast.Module, module: str) -> None:
    """`importlib.import_module("model_core.lm")` and its kin would look for a package that is no longer there."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        for node in ast.walk(call):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_core(node.value):
                raise _refusal(module, node.lineno, f"a call names {node.value[:60]!r} as text")


def _refusal(module: str, line: int, what: str) -> UsageError:
    where = f"{module.replace('.', '/')}, line {line}"
    return UsageError(where, f"cannot be exported: {what}", f"write `from {PACKAGE} import NAME`, and train it again")


def _base(node: ast.ImportFrom, module: str, sources: dict[str, Path]) -> str:
    """The package or module that a `from` names, written out."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    here = parts if sources[module].name == "__init__.py" else parts[:-1]
    above = here[: len(here) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])


def _is_core(name: str) -> bool:
    return name.split(".")[0] == PACKAGE
