"""Patches into the core, on a small clone with the real git: merged in order, refused whole, never half-written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import MachineError, SubmissionError, UsageError
from harness.records import promotions
from harness.records.promotions import Promoted, Promotion
from harness.submission import scratch
from harness.submission.patch import check, core_digest, digest, patch_sha, read_core
from harness.submission.promote import HISTORY, moved_tracks, promoted_core, standings, write
from harness.tracks import TRACKS

TABLE = "# Revisions\n\n| date | core | what |\n|---|---|---|\n| 2026-01-01 | `0000` | The first core. |\n"
PATCH = Promoted(slug="wide", patch_sha="1" * 64, evaluations=("e",))
PROMOTION = Promotion(date="2026-01-02", by="Ada", before="a" * 64, after="b" * 64, patches=(PATCH,))
ROW = "| 2026-01-02 | `1111` | Wide. |"

Pack = Callable[..., Path]


@pytest.fixture
def packed(root: Path) -> Pack:
    """submissions/SLUG, packed: `old` replaced by `new` in a file of the core."""

    def make(slug: str, old: str, new: str, name: str = "lm.py") -> Path:
        made = scratch.new(root, slug)
        text = (made.scratch / name).read_text()
        assert old in text
        (made.scratch / name).write_text(text.replace(old, new))
        scratch.pack(root, slug)
        return made.folder

    return make


def test_a_batch_is_merged_in_order_where_strict_patches_would_have_moved_apart(root: Path, packed: Pack) -> None:
    packed("taller", '"""A model."""\n', '"""A model."""\n\nimport math\n')
    packed("wide", "WIDTH = 4", "WIDTH = 5")  # two lines further down once `taller` is in
    core = read_core(root / "model_core")
    after = promoted_core(root, ["taller", "wide"], core)
    text = after["model_core/lm.py"].decode()
    assert "import math" in text and "WIDTH = 5" in text
    assert after == promoted_core(root, ["wide", "taller"], core)
    assert read_core(root / "model_core") == core, "nothing is written yet"


def test_patches_that_conflict_are_refused_by_name_and_file(root: Path, packed: Pack) -> None:
    packed("wide", "WIDTH = 4", "WIDTH = 5")
    packed("wider", "WIDTH = 4", "WIDTH = 6")
    with pytest.raises(UsageError, match=r"promote wider: conflicts with those before it in model_core/lm\.py") as no:
        promoted_core(root, ["wide", "wider"], read_core(root / "model_core"))
    assert "blueberry rebase wider" in no.value.faults[0].fix


def test_the_same_change_twice_is_refused(root: Path, packed: Pack) -> None:
    packed("wide", "WIDTH = 4", "WIDTH = 5")
    packed("as-wide", "WIDTH = 4", "WIDTH = 5")
    with pytest.raises(UsageError, match="as-wide: changes nothing after those before it"):
        promoted_core(root, ["wide", "as-wide"], read_core(root / "model_core"))


def test_two_halves_that_are_no_python_together_are_refused(root: Path, packed: Pack) -> None:
    (root / "model_core" / "extra.py").write_text("if True:\n    first = 1\n    # between\n    second = 2\n")
    packed("one", "    first = 1\n", "", "extra.py")
    packed("two", "    second = 2\n", "", "extra.py")
    with pytest.raises(SubmissionError) as refused:
        promoted_core(root, ["one", "two"], read_core(root / "model_core"))
    assert [fault.rule for fault in refused.value.faults] == ["patch-syntax"]


def test_a_patch_on_top_of_another_follows_it_in_the_batch(root: Path, packed: Pack) -> None:
    wide = packed("wide", "WIDTH = 4", "WIDTH = 5")
    above = scratch.new(root, "above")
    manifest = above.folder / "submission.toml"
    manifest.write_text(manifest.read_text().replace("base =", f'builds_on = ["wide@{patch_sha(wide)}"]\nbase ='))
    lm = above.scratch / "lm.py"
    lm.write_text(lm.read_text().replace("WIDTH = 4", "WIDTH = 6"))
    with pytest.raises(SubmissionError, match="other patches"):
        scratch.pack(root, "above")  # it would take back what `wide` does
    rebased = scratch.rebase(root, "above")
    assert rebased.conflicts == ("submissions/above/core/lm.py",)
    text = lm.read_text()
    lm.write_text(text[: text.index("<<<")] + "WIDTH = 6\n" + text[text.index("today's core\n") + 13 :])
    scratch.pack(root, "above")
    core = read_core(root / "model_core")
    with pytest.raises(UsageError, match="above: builds on wide, which is not part of the core"):
        promoted_core(root, ["above"], core)
    after = promoted_core(root, ["wide", "above"], core)
    assert b"WIDTH = 6" in after["model_core/lm.py"]


def test_open_submissions_are_told_apart_by_what_the_new_core_does_to_them(root: Path, packed: Pack) -> None:
    wide = packed("wide", "WIDTH = 4", "WIDTH = 5")
    packed("wider", "WIDTH = 4", "WIDTH = 6")
    packed("other-file", '"extra"', '"more"', "extra.py")
    scratch.new(root, "draft")
    broken = packed("broken", '"moe"', '"mob"', "moe.py")
    (broken / "patch.diff").write_text("nonsense\n")
    before = read_core(root / "model_core")
    inside = [f"wide@{patch_sha(wide)}"]
    found = standings(root, before, promoted_core(root, ["wide"], before), inside)
    assert {one.slug: (one.before, one.after) for one in found} == {
        "broken": (False, False),
        "other-file": (True, True),
        "wider": (True, False),
    }


def test_only_the_tracks_that_run_a_changed_file_have_a_new_core(root: Path, packed: Pack) -> None:
    packed("experts", '"moe"', '"mob"', "moe.py")
    core = read_core(root / "model_core")
    after = promoted_core(root, ["experts"], core)
    assert [track.name for track in moved_tracks(core, after)] == ["llm-moe"]


def test_a_file_that_no_track_names_belongs_to_every_track(root: Path, packed: Pack) -> None:
    """A promotion may add one, and a later one change nothing else: the rows before are not of that core."""
    core = read_core(root / "model_core")
    helped = {**core, "model_core/helper.py": b"SCALE = 1\n"}
    changed = {**core, "model_core/helper.py": b"SCALE = 2\n"}
    for before, after in ((core, helped), (helped, changed), (changed, core)):
        assert [track.name for track in moved_tracks(before, after)] == list(TRACKS)
    (root / "model_core" / "helper.py").write_text("SCALE = 1\n")
    first = core_digest(root / "model_core", ["lm.py"])
    assert first != digest({"model_core/lm.py": core["model_core/lm.py"]})
    (root / "model_core" / "helper.py").write_text("SCALE = 2\n")
    assert core_digest(root / "model_core", ["lm.py"]) != first
    other = packed("helped", "SCALE = 2", "SCALE = 3", "helper.py")
    assert not [said for said in check(root, other).warnings if "touches no file" in said]


def test_core_history_and_record_are_written_together(root: Path, packed: Pack) -> None:
    packed("wide", "WIDTH = 4", "WIDTH = 5")
    (root / HISTORY).write_text(TABLE)
    before = read_core(root / "model_core")
    after = promoted_core(root, ["wide"], before)
    write(root, before, after, PROMOTION, ROW)
    assert read_core(root / "model_core") == after and digest(after) != digest(before)
    assert (root / HISTORY).read_text().splitlines()[3:] == ["|---|---|---|", ROW, TABLE.splitlines()[-1]]
    assert promotions.read(root / "leaderboard") == (PROMOTION,)


def test_a_history_without_its_table_stops_everything(root: Path, packed: Pack) -> None:
    packed("wide", "WIDTH = 4", "WIDTH = 5")
    before = read_core(root / "model_core")
    with pytest.raises(MachineError, match="no table of revisions"):
        write(root, before, promoted_core(root, ["wide"], before), PROMOTION, ROW)
    assert read_core(root / "model_core") == before
    assert not (root / "leaderboard").exists()
