"""The strict reader of diffs, with git itself as the second opinion."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import SubmissionError
from harness.rules import RULES
from harness.submission import patch
from harness.submission.diff import MODULE, apply_change, parse_diff, path_fault
from harness.submission.git import git

TEXT = "".join(f"# line {at}\n" for at in range(1, 13))
TWO_HUNKS = """diff --git a/model_core/a.py b/model_core/a.py
--- a/model_core/a.py
+++ b/model_core/a.py
@@ -1,3 +1,4 @@
+# line 0
 # line 1
 # line 2
 # line 3
@@ -9,4 +10,3 @@ def f():
 # line 9
-# line 10
 # line 11
 # line 12
"""
NEW = "diff --git a/model_core/b.py b/model_core/b.py\nnew file mode 100644\n--- /dev/null\n+++ b/model_core/b.py\n"
NEW += "@@ -0,0 +1,2 @@\n+x = 1\n+y = 2\n"
MOVED = "diff --git a/model_core/a.py b/harness/a.py\nsimilarity index 100%\nrename from model_core/a.py\n"
MOVED += "rename to harness/a.py\n"


def test_hunks_land_where_they_say() -> None:
    diff = parse_diff(TWO_HUNKS)
    assert not diff.faults
    assert (diff.added, diff.removed) == (1, 1)
    image = apply_change(diff.changes[0], TEXT)
    assert image is not None
    assert image.text == "# line 0\n" + TEXT.replace("# line 10\n", "")
    assert image.added == {1}


def test_a_form_feed_or_a_line_separator_ends_no_line() -> None:
    text = "a\x0cb\u2028c\x85d\n"
    diff = parse_diff(TWO_HUNKS.replace("# line 10\n", text))
    image = apply_change(diff.changes[0], TEXT.replace("# line 10\n", text))
    assert image is not None and text not in image.text


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("model_core/lm.py", None),
        ("model_core/kernels/attention.py", None),
        ("model_core/../harness/x.py", "patch-traversal"),
        ("model_core/./lm.py", "patch-traversal"),
        ("model_core//lm.py", "patch-traversal"),
        ("/model_core/lm.py", "patch-traversal"),
        ("model_core\\..\\x.py", "patch-traversal"),
        ("model_core", "patch-file"),
        ("model_core2/lm.py", "patch-outside"),
        ("Model_core/lm.py", "patch-outside"),
        ("model_core/LM.py", "patch-file"),
        ("model_core/lm.py.txt", "patch-file"),
        ("model_core/.git/config.py", "patch-file"),
        ("model_core/HISTORY.md", "patch-file"),
        ("model_core/usercustomize.py", "patch-file"),
        ("submissions/wider/submission.toml", "patch-outside"),
        ("", "patch-traversal"),
    ],
)
def test_a_path_is_a_plain_module_of_the_core_or_is_refused(path: str, rule: str | None) -> None:
    found = path_fault(path, "patch.diff:1")
    assert (found.rule if found else None) == rule


def test_overlapping_and_misnumbered_hunks_are_no_patch() -> None:
    change = parse_diff(TWO_HUNKS.replace("@@ -9,4 +10,3 @@", "@@ -9,4 +11,3 @@")).changes[0]
    with pytest.raises(SubmissionError, match="patch-format"):
        apply_change(change, TEXT)
    first = TWO_HUNKS[TWO_HUNKS.index("@@ -1") : TWO_HUNKS.index("@@ -9")]
    with pytest.raises(SubmissionError, match="overlaps"):
        apply_change(parse_diff(TWO_HUNKS[: TWO_HUNKS.index("@@ -9")] + first).changes[0], TEXT)


_PIECES = st.sampled_from(
    [
        *TWO_HUNKS.split("\n"),
        *NEW.split("\n"),
        *MOVED.split("\n"),
        "--- a/../x",
        "+++ b/harness/x.py",
        "+++ /etc/passwd",
        "diff --git a/model_core/a.py b/model_core/../x.py",
        "diff --git a/../x.py b/../x.py",
        "diff --git a/harness/x.py b/harness/x.py",
        "copy from model_core/a.py",
        "copy to harness/b.py",
        "new file mode 120000",
        "old mode 100644",
        "new mode 100755",
        "deleted file mode 100644",
        "index 0000000..1111111 100644",
        "GIT binary patch",
        "@@ -0,0 +1 @@",
        "@@ -1,0 +1,999999 @@",
        "\\ No newline at end of file",
        "",
        "-",
        "+import os",
    ]
)
_EDITS = st.lists(
    st.tuples(st.sampled_from(["put", "cut", "swap", "text"]), st.integers(0, 30), _PIECES, st.text(max_size=5)),
    min_size=1,
    max_size=6,
)


def _mutated(base: str, edits: list[tuple[str, int, str, str]]) -> str:
    lines = base.split("\n")
    for kind, at, piece, text in edits:
        at %= len(lines) or 1
        if kind == "put":
            lines.insert(at, piece)
        elif kind == "cut":
            del lines[at : at + 1]
        elif kind == "swap" and lines:
            lines[at] = piece
        elif lines:
            lines[at] = lines[at][:4] + text + lines[at][4:]
    return "\n".join(lines)


def _built(path: str, lines: list[str], mode: str, other: str) -> str:
    head = f"diff --git a/{path} b/{path}\nnew file mode {mode}\n--- /dev/null\n+++ b/{other or path}\n"
    return f"{head}@@ -0,0 +1,{len(lines)} @@\n" + "".join(f"+# {line}\n" for line in lines)


_NAMES = ["model_core", "model_core", "..", ".", "", "a.py", "b.py", "c.py", "kernels", "harness", "x.pth", "é.py"]
_PATHS = st.one_of(
    st.sampled_from(["b.py", "kernels/b.py", "c_1.py", "a.py"]).map("model_core/{}".format),
    st.lists(st.sampled_from(_NAMES), min_size=1, max_size=4).map("/".join),
)
_SHOWN = st.text(alphabet="ab +-@#\"'é", max_size=6)
_LINES = st.lists(
    st.one_of(_SHOWN, _SHOWN, st.text(max_size=6), st.sampled_from(["@@", "+++ b/x", "a" * 600])),
    min_size=1,
    max_size=5,
)
_MODES = st.sampled_from(["100644"] * 9 + ["120000"])
_OTHERS = st.one_of(st.just(""), st.just(""), _PATHS)
_BUILT = st.lists(st.builds(_built, _PATHS, _LINES, _MODES, _OTHERS), min_size=1, max_size=2).map("".join)
_MUTATED = st.builds(_mutated, st.sampled_from([TWO_HUNKS, NEW, TWO_HUNKS + NEW, MOVED + NEW]), _EDITS)
_PATCHES = st.one_of(_BUILT, _MUTATED, st.lists(_PIECES, max_size=8).map("\n".join), st.text(max_size=80))


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clone")
    for name in ("submissions/fuzz", "model_core"):
        (root / name).mkdir(parents=True)
    (root / "model_core" / "a.py").write_text(TEXT)
    base = patch.core_digest(root / "model_core")
    (root / "submissions" / "fuzz" / "submission.toml").write_text(
        f'title = "t"\nidea = "i"\nauthors = [{{ name = "a" }}]\nbase = "{base}"\n'
        '[[claims]]\ntrack = "llm-tiny"\nbudget = "smoke"\nmetric = "loss"\n'
    )
    return root


def _hold(clone: Path, text: str) -> None:
    """What is accepted is what git would do, and lies inside model_core; what is refused is refused in words."""
    folder = clone / "submissions" / "fuzz"
    (folder / "patch.diff").write_bytes(text.encode())
    result = patch.check(clone, folder)
    assert all(fault.rule in RULES and fault.what and fault.fix for fault in result.faults)
    assert "\x1b" not in str(result.faults) and "\u202e" not in str(result.faults)
    if not result.ok:
        return
    said = git("apply", "--numstat", "-z", str(folder / "patch.diff"), cwd=folder)
    touched = {entry.split("\t")[2] for entry in said.stdout.decode().split("\0") if entry}
    assert touched == {change.path for change in parse_diff(text).changes}
    assert touched and all(MODULE.fullmatch(path) for path in touched)


@settings(max_examples=300, deadline=None)
@given(text=_PATCHES)
def test_whatever_is_accepted_is_what_git_would_do_and_stays_inside_the_core(clone: Path, text: str) -> None:
    _hold(clone, text)


def test_the_fuzz_starts_from_patches_that_are_accepted(clone: Path) -> None:
    folder = clone / "submissions" / "fuzz"
    for text in (TWO_HUNKS, NEW, TWO_HUNKS + NEW):
        (folder / "patch.diff").write_text(text)
        assert patch.check(clone, folder).ok


@pytest.mark.long
@settings(max_examples=100_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=_PATCHES)
def test_a_hundred_thousand_patches_stay_inside_the_core(clone: Path, text: str) -> None:
    _hold(clone, text)
