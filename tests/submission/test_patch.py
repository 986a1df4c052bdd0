"""check and apply, through real files and the real git."""

from __future__ import annotations

import argparse
import ast
import base64
import inspect
import json
import lzma
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import MachineError, SubmissionError
from harness.submission import patch
from harness.submission.git import git

Submit = Callable[..., Path]
RulesOf = Callable[[Path], dict[str, str]]


def _new_file(path: str, *lines: str, mode: str = "100644") -> str:
    body = "".join(f"+{line}\n" for line in lines)
    head = f"diff --git a/{path} b/{path}\nnew file mode {mode}\n--- /dev/null\n+++ b/{path}\n"
    return f"{head}@@ -0,0 +1,{len(lines)} @@\n{body}"


def _delete(path: str, *lines: str) -> str:
    body = "".join(f"-{line}\n" for line in lines)
    head = f"diff --git a/{path} b/{path}\ndeleted file mode 100644\n--- a/{path}\n+++ /dev/null\n"
    return f"{head}@@ -1,{len(lines)} +0,0 @@\n{body}"


def _width(new: str, old: str = "WIDTH = 4") -> str:
    head = "diff --git a/model_core/lm.py b/model_core/lm.py\n--- a/model_core/lm.py\n+++ b/model_core/lm.py\n"
    return f"{head}@@ -3,5 +3,5 @@\n import torch\n \n-{old}\n+{new}\n \n \n"


_NOISE = random.Random(0)
_LONG_LINES = [f"# {_NOISE.randbytes(170).hex()}" for _ in range(390)]
_LM = "model_core/lm.py"
# text as a table of it would be written: packed, in pieces that are short enough each
_PACKED = base64.b85encode(lzma.compress("".join(map(inspect.getsource, (inspect, json, argparse, ast))).encode()))
_TABLE = [_PACKED[at : at + 480].decode() for at in range(0, 48_000, 480)]

CASES = {
    "a path outside model_core": (_new_file("harness/x.py", "x = 1"), "patch-outside", "harness/x.py"),
    "a path that climbs out": (_new_file("model_core/../x.py", "x = 1"), "patch-traversal", "model_core/../x.py"),
    "an absolute path": (_new_file("/etc/x.py", "x = 1"), "patch-traversal", "/etc/x.py"),
    "a rename out": (
        f"diff --git a/{_LM} b/harness/lm.py\nsimilarity index 100%\nrename from {_LM}\nrename to harness/lm.py\n",
        "patch-rename",
        "harness/lm.py",
    ),
    "a copy": (
        f"diff --git a/{_LM} b/model_core/b.py\nsimilarity index 100%\ncopy from {_LM}\ncopy to model_core/b.py\n",
        "patch-rename",
        "model_core/b.py",
    ),
    "a symlink": (_new_file("model_core/a.py", "/etc/passwd", mode="120000"), "patch-symlink", "120000"),
    "a submodule": (_new_file("model_core/a.py", "Subproject commit 0", mode="160000"), "patch-submodule", "160000"),
    "a mode change": (
        f"diff --git a/{_LM} b/{_LM}\nold mode 100644\nnew mode 100755\n",
        "patch-mode",
        "100755",
    ),
    "an executable new file": (_new_file("model_core/a.py", "x = 1", mode="100755"), "patch-mode", "100755"),
    "a binary hunk": (
        "diff --git a/model_core/a.py b/model_core/a.py\nnew file mode 100644\nindex 0000000..1234567\n"
        "GIT binary patch\nliteral 3\nKcmZQz0s;U4\n\n",
        "patch-binary",
        "binary",
    ),
    "a binary file named": (
        f"diff --git a/{_LM} b/{_LM}\nindex 0000000..1234567 100644\nBinary files a/{_LM} and b/{_LM} differ\n",
        "patch-binary",
        "binary",
    ),
    "a .pth file": (_new_file("model_core/a.pth", "import os"), "patch-file", "a.pth"),
    "sitecustomize": (_new_file("model_core/sitecustomize.py", "x = 1"), "patch-file", "sitecustomize"),
    "a workflow": (_new_file(".github/workflows/ci.yml", "on: push"), "patch-outside", "ci.yml"),
    "a workflow inside": (_new_file("model_core/.github/workflows/ci.yml", "on: push"), "patch-file", "ci.yml"),
    "a file that hides a module": (_new_file("model_core/lm/__init__.py", "x = 1"), "patch-file", "hides"),
    "a quoted octal path": (
        'diff --git "a/model_core/\\154m.py" "b/model_core/\\154m.py"\nnew file mode 100644\n',
        "patch-quoted",
        "154m.py",
    ),
    "a bidirectional character": (_width("WIDTH = 5  # \u202e"), "patch-characters", "RIGHT-TO-LEFT OVERRIDE"),
    "a zero-width character": (_width("WI\u200bDTH = 5"), "patch-characters", "ZERO WIDTH SPACE"),
    "a control character": (_width("WIDTH = 5  # \x1b[2J"), "patch-characters", "U+001B"),
    "a carriage return": (_width("WIDTH = 5\r"), "patch-characters", "U+000D"),
    "a deleted contract file": (
        _delete("model_core/muon.py", '"""muon."""', "", 'NAME = "muon"'),
        "patch-contract",
        "muon",
    ),
    "401 changed lines": (_new_file("model_core/a.py", *["x = 1"] * 401), "patch-lines", "401"),
    "48 KiB of noise": (_new_file("model_core/a.py", *_LONG_LINES), "patch-size", "KiB"),
    "a long literal": (
        _new_file("model_core/a.py", "TABLE = [", *[f"    {'1, ' * 20}" for _ in range(12)], "]"),
        "patch-literal",
        "gains",
    ),
    "a long line": (_new_file("model_core/a.py", f"# {'x' * 600}"), "patch-literal", "602"),
    "a table in short literals": (
        _new_file("model_core/a.py", *[f"_{at:03d} = '{piece}'" for at, piece in enumerate(_TABLE)]),
        "patch-table",
        "compress",
    ),
    "many literals below the limit of one": (
        _new_file("model_core/a.py", *[f"_{at} = '{'0123456789' * 42}'" for at in range(5)]),
        "patch-table",
        "2,110 characters of literals",
    ),
    "a table in comments": (
        _new_file("model_core/a.py", *[f"# {piece}" for piece in _TABLE]),
        "patch-table",
        "compress",
    ),
    "a table in names": (
        _new_file("model_core/a.py", *[f"_{piece.encode().hex()[:500]} = 1" for piece in _TABLE]),
        "patch-table",
        "compress",
    ),
    "a table in docstrings": (
        _new_file("model_core/a.py", *[f"def f{at}(): '{piece}'" for at, piece in enumerate(_TABLE)]),
        "patch-table",
        "compress",
    ),
    "a 10,000-digit number": (_new_file("model_core/a.py", f"x = {'1' * 10_000}"), "patch-literal", "10004"),
    "a stale patch": (_width("WIDTH = 5", old="WIDTH = 3"), "patch-stale", "WIDTH = 3"),
    "a patch at an offset": (
        _width("WIDTH = 5").replace("@@ -3,5 +3,5 @@", "@@ -4,5 +4,5 @@"),
        "patch-stale",
        "model_core/lm.py:4",
    ),
    "a file that exists": (_new_file("model_core/lm.py", "x = 1"), "patch-stale", "already has"),
    "a file that does not": (_width("WIDTH = 5").replace("lm.py", "ml.py"), "patch-stale", "does not have"),
    "a part of a deletion": (_delete("model_core/extra.py", '"""extra."""'), "patch-stale", "not all 3 lines"),
    "an empty patch": ("", "patch-empty", "empty"),
    "blank lines alone": ("\n\n", "patch-empty", "empty"),
    "a patch that changes nothing": (_width("WIDTH = 4"), "patch-no-change", "leaves the core as it is"),
    "no Python": (_width("WIDTH = = 5"), "patch-syntax", "model_core/lm.py:5"),
    "endless nesting": (_new_file("model_core/a.py", *["x = ("], *["-" * 500] * 300, "1)"), "patch-syntax", "nested"),
    "a comment that Python reads as code": (
        _new_file("model_core/a.py", "# -*- coding: unicode_escape -*-", r"# tidy \u000aHIDDEN = 1"),
        "patch-encoding",
        "model_core/a.py:1: asks Python to read it as unicode_escape",
    ),
    "an encoding that there is not": (
        _new_file("model_core/a.py", "#!/usr/bin/python", "# vim: set fileencoding=foo :", "x = 1"),
        "patch-syntax",
        "model_core/a.py:1",
    ),
    "not UTF-8": (_width("WIDTH = 5").encode() + b"\xff", "patch-encoding", "0xff"),
    "a foreign header": (f"--- a/{_LM}\n+++ b/{_LM}\n@@ -1 +1 @@\n-x\n+y\n", "patch-format", "no part of a git diff"),
    "a mail signature": (_width("WIDTH = 5") + "-- \n2.39.5\n", "patch-format", "no part of a git diff"),
    "a hunk that ends early": (_width("WIDTH = 5").removesuffix(" \n"), "patch-format", "ends early"),
    "a stripped blank line": (_width("WIDTH = 5").replace("\n \n", "\n\n"), "patch-format", "does not fit"),
    "two names for a file": (
        _width("WIDTH = 5").replace("+++ b/model_core/lm", "+++ b/harness/lm"),
        "patch-outside",
        "harness/lm",
    ),
    "two lines that are one": (
        _new_file("model_core/a.py", "# a", "# b").replace("# a\n", "# a\n\\ No newline at end of file\n"),
        "patch-format",
        "joins two lines",
    ),
    "one file twice": (_width("WIDTH = 5") * 2, "patch-format", "second time"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_patch_that_breaks_a_rule_is_refused_under_that_rule(case: str, submit: Submit, rules_of: RulesOf) -> None:
    text, rule, says = CASES[case]
    found = rules_of(submit(text))
    assert rule in found, found
    assert says in found[rule]
    assert "submissions/wider/patch.diff" in found[rule] or "model_core/" in found[rule]
    assert "mend: " in found[rule]


@pytest.mark.parametrize("case", [name for name, (text, _, _) in CASES.items() if isinstance(text, str)])
def test_a_refused_patch_is_never_applied(case: str, submit: Submit, root: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    with pytest.raises(SubmissionError):
        patch.apply(root, submit(CASES[case][0]), dest)
    assert not dest.exists()


@pytest.mark.parametrize(
    "text",
    [
        _width("WIDTH = 5"),
        _width("WIDTH = 4  # wide enough, née"),
        _width('WIDTH = len("a\\u200bb")'),
        _new_file("model_core/kernels/__init__.py", "x = 1"),
        _delete("model_core/extra.py", '"""extra."""', "", 'NAME = "extra"'),
        _new_file("model_core/a.py", *["x = 1"] * 400),
        "diff --git a/model_core/a.py b/model_core/a.py\nnew file mode 100644\n",
        _new_file("model_core/a.py", "x = 1") + "\\ No newline at end of file\n",
        _width("WIDTH = 5").replace("--- a/", "index 1234567..89abcde 100644\n--- a/", 1),
    ],
)
def test_an_honest_patch_passes(text: str, submit: Submit, root: Path, tmp_path: Path) -> None:
    folder = submit(text)
    result = patch.check(root, folder)
    assert result.ok, result.faults
    patched = patch.apply(root, folder, tmp_path / "dest")
    assert patched.patched_digest != patched.core_digest == result.core_id
    assert (patched.added, patched.removed, patched.patch_sha) == (result.added, result.removed, result.patch_sha)


def test_every_fault_is_reported_at_once(submit: Submit, rules_of: RulesOf) -> None:
    text = _new_file("harness/x.py", "x = 1") + _width("WIDTH = \u202e5", old="WIDTH = 3") + "junk\n"
    folder = submit(text, 'titel = "no claims"\n')
    found = set(rules_of(folder))
    assert found >= {
        "patch-outside",
        "patch-characters",
        "patch-format",
        "manifest-unknown-key",
        "manifest-missing-key",
    }


def test_a_thousand_equal_faults_are_counted_not_listed(submit: Submit, root: Path) -> None:
    faults = patch.check(root, submit("diff --git nonsense\n" * 1_000)).faults
    assert len(faults) <= 2 * patch.MAX_SAME_FAULTS
    assert any("more like it" in fault.what for fault in faults)


def test_the_json_of_check_has_the_documented_keys(submit: Submit, root: Path) -> None:
    shown = patch.check(root, submit("")).to_json()
    assert list(shown) == ["ok", "slug", "core_id", "patch_sha", "added", "removed", "warnings", "faults"]
    assert set(shown["faults"][0]) == {"rule", "where", "what", "fix"}
    assert json.loads(json.dumps(shown)) == shown
    assert shown["slug"] == "wider" and shown["ok"] is False


@pytest.mark.parametrize("kind", ["symlink", "fifo", "folder", "absent", "large"])
def test_a_patch_that_is_no_readable_file_is_refused_without_waiting(
    kind: str, submit: Submit, rules_of: RulesOf, tmp_path: Path
) -> None:
    folder = submit(None)
    path = folder / "patch.diff"
    if kind == "symlink":
        (tmp_path / "secret").write_text(_width("WIDTH = 5"))
        path.symlink_to(tmp_path / "secret")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "large":
        path.write_bytes(b"x" * (patch.MAX_READ + 1))
    assert set(rules_of(folder)) == {"patch-size" if kind == "large" else "patch-missing"}


def test_a_patch_that_touches_no_file_of_a_claimed_track_is_warned_about(submit: Submit, root: Path) -> None:
    moe = _new_file("model_core/a.py", "x = 1")
    result = patch.check(root, submit(moe))
    assert result.ok
    assert "llm-tiny" in result.warnings[0]
    assert patch.check(root, submit()).warnings == ()


def test_a_core_that_moved_elsewhere_is_a_warning_and_under_the_patch_a_fault(submit: Submit, root: Path) -> None:
    folder = submit()
    (root / "model_core" / "extra.py").write_text("x = 2\n")
    result = patch.check(root, folder)
    assert result.ok and "core has changed" in result.warnings[0]
    lm = root / "model_core" / "lm.py"
    lm.write_text("# moved by one line\n" + lm.read_text())
    assert [fault.rule for fault in patch.check(root, folder).faults] == ["patch-stale"]


def test_edits_that_were_not_packed_are_warned_about(submit: Submit, root: Path) -> None:
    folder = submit()
    (folder / "core").mkdir()
    (folder / "core" / "lm.py").write_text("x = 1\n")
    assert any("blueberry pack wider" in warning for warning in patch.check(root, folder).warnings)


def test_a_submission_may_not_take_the_name_of_a_reference(submit: Submit, root: Path, rules_of: RulesOf) -> None:
    (root / "baselines" / "wider").mkdir()
    assert "manifest-slug" in rules_of(submit())


def test_a_patch_without_base_was_never_packed(submit: Submit, rules_of: RulesOf, manifest_text: str) -> None:
    assert set(rules_of(submit(manifest=manifest_text.replace("BASE", "")))) == {"manifest-base"}


def test_a_reference_is_checked_and_applied_like_a_submission(submit: Submit, root: Path, tmp_path: Path) -> None:
    folder = submit()
    folder.rename(root / "baselines" / "adamw")
    assert patch.check(root, root / "baselines" / "adamw").ok
    assert patch.apply(root, root / "baselines" / "adamw", tmp_path / "dest").patch_sha


def test_apply_leaves_the_core_alone_and_changes_only_what_the_patch_names(
    submit: Submit, root: Path, tmp_path: Path
) -> None:
    before = patch.read_core(root / "model_core")
    patched = patch.apply(root, submit(), tmp_path / "dest")
    assert patch.read_core(root / "model_core") == before
    after = patch.read_core(patched.folder)
    assert {path for path in before if before[path] != after[path]} == {"model_core/lm.py"}
    assert b"WIDTH = 5" in after["model_core/lm.py"]
    assert not (patched.folder / "HISTORY.md").exists()


def test_the_digest_sees_names_and_contents_of_modules_and_nothing_else(root: Path) -> None:
    core = root / "model_core"
    before = patch.core_digest(core)
    (core / "__pycache__").mkdir()
    (core / "__pycache__" / "lm.py").write_text("x")
    (core / "HISTORY.md").write_text("another line\n")
    (core / ".hidden").mkdir()
    (core / ".hidden" / "a.py").write_text("x")
    assert patch.core_digest(core) == before
    (core / "extra.py").rename(core / "other.py")
    assert patch.core_digest(core) != before
    assert patch.core_digest(core, ["lm.py"]) == patch.core_digest(core, ("lm.py",)) != before
    with pytest.raises(MachineError, match=r"model_core/gone\.py"):
        patch.core_digest(core, ["gone.py"])


def test_core_id_is_the_digest_of_the_unpatched_files_asked_for(submit: Submit, root: Path, tmp_path: Path) -> None:
    patched = patch.apply(root, submit(), tmp_path / "dest", files=("lm.py",))
    assert patched.core_id == patch.core_digest(root / "model_core", ("lm.py",))
    assert patched.core_digest == patch.core_digest(root / "model_core")
    assert patched.patched_digest == patch.core_digest(patched.folder)


def test_git_skips_every_file_inside_a_repository_and_says_nothing_but_apply_does_not(
    submit: Submit, root: Path
) -> None:
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    inside = root / ".blueberry" / "trap"
    patch.write_core(patch.read_core(root / "model_core"), inside)
    folder = submit()
    trapped = subprocess.run(["git", "apply", str(folder / "patch.diff")], cwd=inside, check=False)
    assert trapped.returncode == 0
    assert patch.read_core(inside / "model_core") == patch.read_core(root / "model_core")

    patched = patch.apply(root, folder, root / ".blueberry" / "copy")
    assert b"WIDTH = 5" in (patched.folder / "lm.py").read_bytes()


def test_git_with_include_skips_foreign_files_and_says_nothing_but_check_refuses_them(
    submit: Submit, root: Path, tmp_path: Path, rules_of: RulesOf
) -> None:
    folder = submit(_new_file("harness/x.py", "x = 1"))
    patch.write_core({}, tmp_path / "copy")
    done = git("apply", "--include=model_core/*", str(folder / "patch.diff"), cwd=tmp_path / "copy")
    assert done.returncode == 0
    assert "patch-outside" in rules_of(folder)


def test_git_exits_128_on_an_empty_patch_and_check_says_why(submit: Submit, tmp_path: Path, rules_of: RulesOf) -> None:
    folder = submit("")
    assert git("apply", str(folder / "patch.diff"), cwd=tmp_path).returncode == 128
    assert set(rules_of(folder)) == {"patch-empty"}


def test_a_persons_git_settings_do_not_reach_the_patch(
    submit: Submit, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".gitconfig").write_text("[apply]\n\twhitespace = fix\n[core]\n\tautocrlf = true\n")
    (tmp_path / ".config" / "git").mkdir(parents=True)
    (tmp_path / ".config" / "git" / "attributes").write_text("*.py text eol=crlf\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    patched = patch.apply(root, submit(_width("WIDTH = 5   ")), tmp_path / "dest")
    assert b"WIDTH = 5   \n" in (patched.folder / "lm.py").read_bytes()


def test_a_machine_without_git_is_told_to_install_it(
    submit: Submit, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MachineError, match="install git"):
        patch.check(root, submit())


def test_a_patch_may_build_on_another_and_races_against_it(
    submit: Submit, root: Path, tmp_path: Path, manifest_text: str
) -> None:
    below = submit()
    sha = patch.check(root, below).patch_sha
    above = submit(
        _width("WIDTH = 6", old="WIDTH = 5"),
        manifest_text.replace("[[claims]]", f'builds_on = ["wider@{sha}"]\n\n[[claims]]'),
        name="wider-still",
    )
    assert patch.check(root, above).ok
    assert b"WIDTH = 6" in (patch.apply(root, above, tmp_path / "sub").folder / "lm.py").read_bytes()
    rival = patch.unpatched(root, above, tmp_path / "base")
    assert b"WIDTH = 5" in (rival.folder / "lm.py").read_bytes()
    assert rival.patch_sha is None
    submit(_width("WIDTH = 7"))
    assert "manifest-builds-on" in {fault.rule for fault in patch.check(root, above).faults}


def test_a_patch_that_takes_back_what_it_builds_on_is_none(
    submit: Submit, root: Path, tmp_path: Path, manifest_text: str
) -> None:
    """Loss for speed and then speed for loss would be two records, and the core that was there before."""
    sha = patch.check(root, submit()).patch_sha
    text = manifest_text.replace("[[claims]]", f'builds_on = ["wider@{sha}"]\n\n[[claims]]')
    for new in ("WIDTH = 4", "WIDTH = 4  # as it was"):
        above = submit(_width(new, old="WIDTH = 5"), text, name="back-again")
        checked = patch.check(root, above)
        assert [found.rule for found in checked.faults] == ["patch-no-change"] and "takes back" in checked.faults[
            0
        ].what
        with pytest.raises(SubmissionError, match="takes back"):
            patch.apply(root, above, tmp_path / "sub")
    assert patch.check(root, submit(_width("WIDTH = 5  # wide", old="WIDTH = 5"), text, name="words")).ok


def test_a_patch_that_takes_back_one_of_several_that_it_builds_on_is_none(
    submit: Submit, root: Path, manifest_text: str
) -> None:
    first = patch.check(root, submit()).patch_sha
    path = "model_core/train.py"
    depth = f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-RATE = 1\n+RATE = 2\n"
    (root / path).write_text("RATE = 1\n")
    second = patch.check(root, submit(depth, name="deeper")).patch_sha
    text = manifest_text.replace("[[claims]]", f'builds_on = ["wider@{first}", "deeper@{second}"]\n\n[[claims]]')
    above = submit(_width("WIDTH = 4", old="WIDTH = 5"), text, name="back-again")
    checked = patch.check(root, above)
    assert [found.rule for found in checked.faults] == ["patch-no-change"], [found.what for found in checked.faults]
    assert patch.check(root, submit(_width("WIDTH = 6", old="WIDTH = 5"), text, name="wider-still")).ok


def test_the_core_alone_is_copied_as_it_is(root: Path, tmp_path: Path) -> None:
    copied = patch.unpatched(root, None, tmp_path / "dest")
    assert copied.patched_digest == copied.core_digest == patch.core_digest(root / "model_core")


def test_check_is_fast_and_imports_nothing_heavy(submit: Submit, root: Path) -> None:
    folder = submit()
    code = (
        "import sys, pathlib, harness.submission.patch as p\n"
        f"result = p.check(pathlib.Path({str(root)!r}), pathlib.Path({str(folder)!r}))\n"
        "assert result.ok\n"
        "print(sorted({'torch', 'scipy', 'pandas', 'numpy', 'jinja2', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    start = time.perf_counter()
    patch.check(root, folder)
    assert time.perf_counter() - start < 0.3


def test_the_real_core_takes_a_patch(tmp_path: Path) -> None:
    """The one test on the real model_core: a comment before its first import."""
    repository = Path(__file__).resolve().parents[2]
    root = tmp_path / "clone"
    patch.write_core(patch.read_core(repository / "model_core"), root)
    folder = root / "submissions" / "comment"
    folder.mkdir(parents=True)
    lines = (root / "model_core" / "lm.py").read_text().split("\n")
    hunk = f"@@ -1,3 +1,4 @@\n+# a comment\n {lines[0]}\n {lines[1]}\n {lines[2]}\n"
    head = f"diff --git a/{_LM} b/{_LM}\n--- a/{_LM}\n+++ b/{_LM}\n"
    (folder / "patch.diff").write_text(head + hunk)
    base = patch.core_digest(root / "model_core")
    claim = '[[claims]]\ntrack = "llm-tiny"\nbudget = "1M"\nmetric = "speed"\n'
    (folder / "submission.toml").write_text(
        f'title = "t"\nidea = "i"\nauthors = [{{ name = "a" }}]\nbase = "{base}"\n{claim}'
    )
    result = patch.check(root, folder)
    assert result.ok, result.faults
    assert (result.added, result.removed) == (1, 0)
