"""The layout, held by tests: which way imports go, where heavy libraries live, how long things may be."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# A stage may import what stands in an earlier row; `cli`, `words` and `progress` are the surface and import anything.
STAGES = (
    {"errors"},
    {"rules", "tracks", "records", "decide"},
    {"submission"},
    {"data"},
    {"audit"},
    {"confine"},
    {"run"},
    {"board", "generate"},
    {"bot"},
)
SURFACE = {"cli", "words", "progress"}
HOMES = {
    "torch": {"run/worker.py", "generate/classifier.py", "generate/wrapper.py"},
    "safetensors": {"run/worker.py", "data/visual.py"},
    "scipy": {"decide"},
    "jinja2": {"board"},
    "matplotlib": {"board"},
    "pandas": {"board"},
    "datasets": {"data"},
    "tokenizers": {"data"},
    "typer": {"cli"},
    "rich": {"progress.py"},
    "transformers": {"generate/wrapper.py"},
    "tensorboard": {"run/trackers.py"},
    "wandb": {"run/trackers.py"},
    "pygments": {"board"},
    "github3": {"bot/github.py"},
    "requests": {"bot/connection.py"},
}
MODULES = sorted((ROOT / "harness").rglob("*.py"))
CORE = sorted((ROOT / "model_core").glob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            if node.module == "harness":
                yield from (f"harness.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""
        elif isinstance(node, ast.ImportFrom):
            raise AssertionError(f"{path}: relative import")


def stage_of(part: str) -> int:
    for number, names in enumerate(STAGES):
        if part in names:
            return number
    raise AssertionError(f"{part} belongs to no stage")


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "harness").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_data_flows_one_way(path: Path) -> None:
    own = part_of(path)
    if own in SURFACE or own == "__init__":
        return
    for name in imports(path):
        if name.startswith("harness."):
            other = name.split(".")[1]
            assert other not in SURFACE, f"{own} imports {name}"
            peers = other == own or stage_of(other) <= stage_of(own)
            assert peers, f"{own} imports {name}, which comes later"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_libraries_stay_at_home(path: Path) -> None:
    place = path.relative_to(ROOT / "harness")
    for name in imports(path):
        top = name.split(".")[0]
        assert top != "model_core", "the judge never imports what it judges"
        homes = HOMES.get(top)
        assert homes is None or str(place) in homes or place.parts[0] in homes, f"{place} imports {name}"


def test_the_core_imports_torch_itself_and_the_standard_library_only() -> None:
    for path in CORE:
        for name in imports(path):
            top = name.split(".")[0]
            assert top in {"model_core", "torch", *sys.stdlib_module_names}, f"{path}: {name}"


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Names and lengths of functions, their docstrings left out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = ast.get_docstring(node) is not None
            first = node.body[1] if documented and len(node.body) > 1 else node.body[0]
            yield node.name, (node.end_lineno or 0) - first.lineno + 1


def test_functions_fit_on_one_screen() -> None:
    long = [(p.name, n, size) for p in MODULES for n, size in functions(p) if size > 40]
    long += [(p.name, n, size) for p in CORE for n, size in functions(p) if size > 30]
    assert long == []


def test_modules_stay_small() -> None:
    long = [(path.name, len(path.read_text().splitlines())) for path in [*MODULES, *CORE]]
    assert [(name, size) for name, size in long if size > 420] == []


def test_there_is_no_drawer_for_odds_and_ends() -> None:
    odd = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py", "types.py"}
    assert not [path for path in [*MODULES, *CORE] if path.name in odd]


def test_the_readme_shows_the_files_that_there_are() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = text.partition("<!-- tree: begin -->")[2].partition("<!-- tree: end -->")[0]
    listed = set()
    folders: list[str] = []
    for line in block.splitlines():
        name = line.split("  ")[0] if not line.startswith(" ") else line.strip().split("  ")[0]
        depth = (len(line) - len(line.lstrip(" "))) // 4
        if name in ("", "```", "```text"):
            continue
        folders = [*folders[:depth], name.rstrip("/")]
        if name.endswith(".py"):
            listed.update("/".join([*folders[:depth], part]) for part in name.split(", "))
    real = {str(path.relative_to(ROOT)) for path in [*MODULES, *CORE] if path.name != "__init__.py"}
    assert listed == real
