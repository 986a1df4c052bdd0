"""new, edit, pack and rebase on a small clone, with the real git."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import MachineError, SubmissionError, UsageError
from harness.records import promotions
from harness.records.promotions import Promoted, Promotion
from harness.submission import patch, scratch
from harness.submission.manifest import load_manifest


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def _commit(root: Path) -> None:
    """Record the core as a maintainer would; the identity is the maintainer's, never the harness's."""
    identity = ["-c", "user.name=m", "-c", "user.email=m@example.org"]
    for command in (
        ["init", "-q"],
        ["add", "model_core", "submissions/*/patch.diff"],
        [*identity, "commit", "-qm", "core"],
    ):
        subprocess.run(["git", *command], cwd=root, check=True)


def _rule(refused: pytest.ExceptionInfo[SubmissionError]) -> str:
    return refused.value.faults[0].rule


@pytest.fixture
def wide(root: Path) -> Path:
    """submissions/wide, packed: WIDTH = 5."""
    made = scratch.new(root, "wide")
    _edit(made.scratch / "lm.py", "WIDTH = 4", "WIDTH = 5")
    scratch.pack(root, "wide")
    return made.folder


def test_new_writes_a_valid_folder_without_asking(root: Path) -> None:
    made = scratch.new(root, "my-idea")
    assert sorted(path.name for path in made.folder.iterdir()) == ["README.md", "core", "submission.toml"]
    manifest = load_manifest(made.folder)
    assert [(claim.track, claim.budget, claim.metric) for claim in manifest.claims] == [("llm-tiny", "smoke", "loss")]
    assert patch.read_core(made.scratch) == patch.read_core(root / "model_core")
    assert {fault.rule for fault in patch.check(root, made.folder).faults} == {"patch-missing"}


@pytest.mark.parametrize("slug", ["../x", "core", "My Idea", "", "a" * 41])
def test_new_takes_slugs_only(root: Path, slug: str) -> None:
    with pytest.raises(UsageError, match="not a slug"):
        scratch.new(root, slug)
    assert list((root / "submissions").iterdir()) == []


def test_new_never_touches_what_is_there(root: Path, wide: Path) -> None:
    before = (wide / "patch.diff").read_bytes()
    with pytest.raises(UsageError, match="exists"):
        scratch.new(root, "wide")
    assert (wide / "patch.diff").read_bytes() == before
    (root / "baselines" / "adamw").mkdir()
    with pytest.raises(UsageError, match="baselines/adamw"):
        scratch.new(root, "adamw")


def test_pack_writes_a_patch_that_check_accepts_and_says_its_size(root: Path, wide: Path) -> None:
    packed = scratch.pack(root, "wide")
    assert (packed.added, packed.removed) == (1, 1)
    result = patch.check(root, wide)
    assert result.ok, result.faults
    assert (result.patch_sha, result.added, result.removed) == (packed.patch_sha, 1, 1)
    assert load_manifest(wide).base == patch.core_digest(root / "model_core")
    assert "# written by `blueberry pack`" in (wide / "submission.toml").read_text()


def test_packing_twice_writes_the_same_bytes_and_no_git_version_shows_in_them(root: Path, wide: Path) -> None:
    first = (wide / "patch.diff").read_bytes()
    scratch.pack(root, "wide")
    assert (wide / "patch.diff").read_bytes() == first
    assert b"\nindex " not in first
    assert first.startswith(b"diff --git a/model_core/lm.py b/model_core/lm.py\n--- a/model_core/lm.py\n+++ b/")


def test_the_core_of_the_clone_is_never_touched(root: Path) -> None:
    before = patch.read_core(root / "model_core")
    made = scratch.new(root, "wide")
    (made.scratch / "lm.py").write_text("x = 1\n")
    scratch.pack(root, "wide")
    assert patch.read_core(root / "model_core") == before


def test_edit_rebuilds_the_scratch_copy_from_the_patch(root: Path, wide: Path) -> None:
    edited = patch.read_core(wide / "core")
    for path in sorted((wide / "core").iterdir()):
        path.unlink()
    (wide / "core").rmdir()
    made = scratch.edit(root, "wide")
    assert patch.read_core(made.scratch) == edited
    scratch.edit(root, "wide")  # nothing to lose: nothing to refuse


def test_edit_never_overwrites_edits_that_are_not_packed(root: Path, wide: Path) -> None:
    _edit(wide / "core" / "lm.py", "WIDTH = 5", "WIDTH = 6")
    with pytest.raises(UsageError, match=r"not in patch\.diff"):
        scratch.edit(root, "wide")
    assert "WIDTH = 6" in (wide / "core" / "lm.py").read_text()


def test_a_reference_in_baselines_is_edited_and_packed_alike(root: Path, wide: Path) -> None:
    wide.rename(root / "baselines" / "wide")
    assert scratch.pack(root, "wide").patch == root / "baselines" / "wide" / "patch.diff"


def test_pack_without_a_scratch_copy_or_without_a_change_says_so(root: Path) -> None:
    made = scratch.new(root, "idea")
    with pytest.raises(SubmissionError) as refused:
        scratch.pack(root, "idea")
    assert _rule(refused) == "patch-no-change"
    assert not (made.folder / "patch.diff").exists()
    for path in made.scratch.iterdir():
        path.unlink()
    made.scratch.rmdir()
    with pytest.raises(UsageError, match="blueberry edit idea"):
        scratch.pack(root, "idea")


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("table.bin", b"\0\1", "patch-file"),
        ("Kernel.py", b"x = 1\n", "patch-file"),
        ("a.py", b"\xff", "patch-encoding"),
        ("a.py", b"<<<<<<< wide\nx = 1\n=======\nx = 2\n>>>>>>> today's core\n", "patch-conflict"),
        ("a.py", None, "patch-symlink"),
    ],
)
def test_pack_refuses_what_no_patch_may_hold(root: Path, wide: Path, name: str, content: bytes, rule: str) -> None:
    before = (wide / "patch.diff").read_bytes()
    if content is None:
        (wide / "core" / name).symlink_to(wide / "submission.toml")
    else:
        (wide / "core" / name).write_bytes(content)
    with pytest.raises(SubmissionError) as refused:
        scratch.pack(root, "wide")
    assert _rule(refused) == rule
    assert (wide / "patch.diff").read_bytes() == before


def test_editors_litter_is_left_out_of_the_patch(root: Path, wide: Path) -> None:
    before = (wide / "patch.diff").read_bytes()
    for name in ("lm.py~", ".lm.py.swp", "__pycache__/lm.cpython-311.pyc"):
        (wide / "core" / name).parent.mkdir(exist_ok=True)
        (wide / "core" / name).write_text("x")
    scratch.pack(root, "wide")
    assert (wide / "patch.diff").read_bytes() == before


def test_base_is_written_into_manifests_of_any_layout(root: Path, wide: Path) -> None:
    manifest = wide / "submission.toml"
    base = load_manifest(wide).base
    without = "".join(line for line in manifest.read_text().splitlines(True) if not line.startswith("base"))
    for text in (without, "base=''\n" + without, without.replace("One", 'base = "x"\nOne')):
        manifest.write_text(text)
        scratch.pack(root, "wide")
        assert load_manifest(wide).base == base
    assert 'base = "x"' in load_manifest(wide).idea  # text of another value is left alone


def test_a_patch_never_takes_the_cores_own_changes_back(root: Path, wide: Path) -> None:
    """The scratch copy is older than the core: packing it as it is would undo what the core gained meanwhile."""
    _edit(root / "model_core" / "extra.py", "extra", "promoted")
    with pytest.raises(SubmissionError) as refused:
        scratch.pack(root, "wide")
    assert _rule(refused) == "patch-stale"
    assert "edit submissions/wide/core instead" in refused.value.faults[0].fix, (
        "the likeliest cause is a core of one's own"
    )


def test_rebase_moves_a_stale_patch_to_todays_core(root: Path, wide: Path) -> None:
    _commit(root)
    _edit(root / "model_core" / "lm.py", '"""A model."""', '"""A model."""\n\nimport math')
    assert {fault.rule for fault in patch.check(root, wide).faults} == {"patch-stale"}
    done = scratch.rebase(root, "wide")
    assert done.moved and done.conflicts == () and done.packed is not None
    assert (done.packed.added, done.packed.removed) == (1, 1)
    assert patch.check(root, wide).ok
    assert patch.check(root, wide).warnings == ()
    lm = (wide / "core" / "lm.py").read_text()
    assert "import math" in lm and "WIDTH = 5" in lm
    assert not scratch.rebase(root, "wide").moved


def test_rebase_works_from_the_patch_alone(root: Path, wide: Path) -> None:
    _commit(root)
    for path in (wide / "core").iterdir():
        path.unlink()
    (wide / "core").rmdir()
    _edit(root / "model_core" / "lm.py", '"""A model."""', '"""A model."""\n\nimport math')
    assert scratch.rebase(root, "wide").packed is not None
    assert patch.check(root, wide).ok


def test_rebase_keeps_edits_that_were_not_packed(root: Path, wide: Path) -> None:
    _commit(root)
    _edit(wide / "core" / "muon.py", "muon", "moon")
    _edit(root / "model_core" / "extra.py", "extra", "promoted")
    assert scratch.rebase(root, "wide").packed is not None
    result = patch.apply(root, wide, root / "copy")
    assert "moon" in (result.folder / "muon.py").read_text()
    assert "promoted" in (result.folder / "extra.py").read_text()


def test_a_conflict_is_left_in_the_scratch_copy_with_ordinary_markers(root: Path, wide: Path) -> None:
    _commit(root)
    before = (wide / "patch.diff").read_bytes()
    _edit(root / "model_core" / "lm.py", "WIDTH = 4", "WIDTH = 8")
    done = scratch.rebase(root, "wide")
    assert done.conflicts == ("submissions/wide/core/lm.py",) and done.packed is None
    lm = (wide / "core" / "lm.py").read_text()
    assert "<<<<<<< wide\nWIDTH = 5\n=======\nWIDTH = 8\n>>>>>>> today's core\n" in lm
    assert (wide / "patch.diff").read_bytes() == before
    with pytest.raises(SubmissionError) as refused:
        scratch.pack(root, "wide")
    assert _rule(refused) == "patch-conflict"
    (wide / "core" / "lm.py").write_text(lm[: lm.index("<<<")] + "WIDTH = 9\n" + lm[lm.index("\n\nclass") - 1 :])
    scratch.pack(root, "wide")
    assert patch.check(root, wide).ok


def test_a_file_that_one_side_deleted_and_the_other_changed_is_a_conflict(root: Path, wide: Path) -> None:
    _commit(root)
    (wide / "core" / "extra.py").unlink()
    _edit(wide / "core" / "muon.py", "muon", "moon")
    _edit(root / "model_core" / "extra.py", "extra", "promoted")
    (root / "model_core" / "muon.py").unlink()
    done = scratch.rebase(root, "wide")
    assert set(done.conflicts) == {"submissions/wide/core/extra.py", "submissions/wide/core/muon.py"}
    assert "promoted" in (wide / "core" / "extra.py").read_text()
    assert "moon" in (wide / "core" / "muon.py").read_text()


def test_rebase_onto_a_core_that_has_the_change_already_says_that_nothing_is_left(root: Path, wide: Path) -> None:
    _commit(root)
    _edit(root / "model_core" / "lm.py", "WIDTH = 4", "WIDTH = 5")
    with pytest.raises(SubmissionError) as refused:
        scratch.rebase(root, "wide")
    assert _rule(refused) == "patch-no-change"


def test_rebase_leaves_out_a_parent_that_has_become_core(root: Path, wide: Path) -> None:
    _commit(root)
    above = _stacked(root, wide)
    parent = f"wide@{patch.patch_sha(wide)}"
    before = (above / "patch.diff").read_bytes()
    _edit(root / "model_core" / "lm.py", "WIDTH = 4", "WIDTH = 5")
    _promote(root, wide)
    assert {fault.rule for fault in patch.check(root, above).faults} == {"manifest-builds-on"}
    done = scratch.rebase(root, "above")
    assert (done.dropped, done.conflicts) == ((parent,), ())
    assert load_manifest(above).builds_on == ()
    assert "# for a reader" in (above / "submission.toml").read_text()
    assert (above / "patch.diff").read_bytes() == before, "the core is now what it was made on"
    assert patch.check(root, above).ok and patch.check(root, above).warnings == ()


def test_rebase_takes_up_a_parent_as_it_is_today_and_finds_the_old_one_in_history(root: Path, wide: Path) -> None:
    above = _stacked(root, wide)
    _commit(root)
    _edit(wide / "core" / "lm.py", "y = y + 1", "y = y + 2")
    scratch.pack(root, "wide")
    assert {fault.rule for fault in patch.check(root, above).faults} == {"manifest-builds-on"}
    with pytest.raises(SubmissionError) as refused:
        scratch.pack(root, "above")
    assert _rule(refused) == "manifest-builds-on"
    done = scratch.rebase(root, "above")
    assert done.dropped == () and done.packed is not None and (done.packed.added, done.packed.removed) == (1, 1)
    assert load_manifest(above).builds_on == (f"wide@{patch.patch_sha(wide)}",)
    assert patch.check(root, above).ok


def test_a_conflict_below_which_a_parent_became_core_is_packed_without_that_parent(root: Path, wide: Path) -> None:
    _commit(root)
    above = _stacked(root, wide)
    _edit(root / "model_core" / "lm.py", "WIDTH = 4", "WIDTH = 5")
    _edit(root / "model_core" / "muon.py", '"muon"', '"mood"')
    _promote(root, wide)
    assert scratch.rebase(root, "above").conflicts == ("submissions/above/core/muon.py",)
    (above / "core" / "muon.py").write_text('NAME = "moon"\n')
    scratch.pack(root, "above")
    assert load_manifest(above).builds_on == () and patch.check(root, above).ok


def test_what_is_part_of_the_core_is_not_rebased(root: Path, wide: Path) -> None:
    _commit(root)
    _edit(root / "model_core" / "lm.py", "WIDTH = 4", "WIDTH = 5")
    _promote(root, wide)
    with pytest.raises(UsageError, match="became part of the core on 2026-01-02"):
        scratch.rebase(root, "wide")


def _stacked(root: Path, below: Path) -> Path:
    """submissions/above, packed on top of another submission."""
    made = scratch.new(root, "above")
    parent = f"{below.name}@{patch.patch_sha(below)}"
    _edit(made.folder / "submission.toml", "base =", f'builds_on = ["{parent}"]  # why\n# for a reader\nbase =')
    _edit(made.scratch / "muon.py", '"muon"', '"moon"')
    assert scratch.rebase(root, "above").packed is not None
    return made.folder


def _promote(root: Path, folder: Path) -> None:
    """The record of it alone."""
    one = Promoted(slug=folder.name, patch_sha=patch.patch_sha(folder), evaluations=("e",))
    line = Promotion(date="2026-01-02", by="Ada", before="a" * 64, after="b" * 64, patches=(one,))
    store = root / "leaderboard"
    store.mkdir()
    (store / promotions.NAME).write_text(promotions.text_with(store, line))


def test_rebase_without_the_old_core_in_history_says_how_to_get_it(root: Path, wide: Path) -> None:
    _edit(root / "model_core" / "extra.py", "extra", "promoted")
    with pytest.raises(UsageError, match="unshallow"):
        scratch.rebase(root, "wide")


def test_a_disk_that_cannot_be_written_is_the_machines_fault(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(MachineError, match="No space left"):
        scratch.new(root, "idea")
    assert not (root / "submissions" / "idea").exists()


_COMMENTS = st.sampled_from(["", "# a", "# b", "# é 中", "#-- a", "#", "# diff --git a/x b/x", "# @@ -1 +1 @@"])
_FILES = st.lists(_COMMENTS, max_size=14).map("\n".join).flatmap(lambda text: st.sampled_from([text, text + "\n"]))
_CORES = st.dictionaries(st.sampled_from(["lm.py", "new.py", "kernels/__init__.py", "extra.py"]), _FILES, min_size=1)


@settings(max_examples=60, deadline=None)
@given(before=_FILES, edited=_CORES, drop=st.booleans())
def test_new_edit_pack_apply_gives_back_the_edited_copy(
    tmp_path_factory: pytest.TempPathFactory, before: str, edited: dict[str, str], drop: bool
) -> None:
    root = tmp_path_factory.mktemp("clone")
    (root / "submissions").mkdir()
    (root / "model_core").mkdir()
    for name in ("lm.py", "extra.py", "third.py"):
        (root / "model_core" / name).write_text(before, newline="")
    made = scratch.new(root, "idea")
    for name, text in edited.items():
        (made.scratch / name).parent.mkdir(exist_ok=True)
        (made.scratch / name).write_text(text, newline="")
    if drop:
        (made.scratch / "third.py").unlink()
    wanted = patch.read_core(made.scratch)
    if wanted == patch.read_core(root / "model_core"):
        return
    packed = scratch.pack(root, "idea")
    applied = patch.apply(root, made.folder, root / "copy")
    assert patch.read_core(applied.folder) == wanted
    assert (applied.patch_sha, applied.added, applied.removed) == (packed.patch_sha, packed.added, packed.removed)
