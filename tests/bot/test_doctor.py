"""What the doctor of the bot finds missing, and how it says to mend it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.bot import doctor
from harness.run.arms import track_core_id
from harness.tracks import TRACKS
from tests.bot.conftest import Hub
from tests.bot.gateway import Answer
from tests.bot.measured import REPOSITORY, measured


def test_every_gap_is_one_line_with_its_mend(hub: Hub) -> None:
    done = hub.bot("doctor")
    assert done.returncode == 3  # the emulated main is not protected
    lines = done.stderr.splitlines()
    assert any(line.startswith("ok  token") and "blueberry-bot" in line for line in lines)
    at = next(number for number, line in enumerate(lines) if line.startswith("NO  branch"))
    assert "protect main" in lines[at + 1]
    assert "ghp_" not in done.stderr + done.stdout


def test_a_ruleset_protects_a_branch_as_well(hub: Hub) -> None:
    def ruled(method: str, path: str) -> Answer | None:
        rules = b'[{"type": "pull_request"}]'
        return (200, {"Content-Type": "application/json"}, rules) if path.endswith("/rules/branches/main") else None

    hub.gateway.faults.append(ruled)
    assert "ok  branch      main is protected" in hub.bot("doctor").stderr


def test_cells_that_were_calibrated_on_todays_core_are_named(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "model_core", tmp_path / "model_core", ignore=shutil.ignore_patterns("__pycache__"))
    assert not doctor._baselines(tmp_path).ok and "baseline --track" in doctor._baselines(tmp_path).fix
    core = track_core_id(tmp_path, TRACKS["llm-tiny"])
    for budget, changed in (("1M", {}), ("smoke", {}), ("8M", {"core_id": "0" * 64}), ("20M", {"invalidated": "x"})):
        fields = {"core_id": core, "kind": "calibration", **changed}
        measured(tmp_path, "core", "a" * 64, budget, salt=budget, **fields)
    assert doctor._baselines(tmp_path).found == "llm-tiny at smoke, 1M"


@pytest.mark.parametrize("gap", ["token", "caps", "harness", "baselines"])
def test_a_gap_is_found(hub: Hub, gap: str) -> None:
    import subprocess

    from tests.conftest import COMMAND

    environment = hub.environment()
    if gap == "token":
        del environment["GITHUB_TOKEN"]
    elif gap == "caps":
        (hub.clone.root / "blueberry.toml").unlink()
    elif gap == "harness":
        hub.clone.root.joinpath("x").write_text("x")
        subprocess.run(["git", "add", "x"], cwd=hub.clone.root, check=True)
        who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        subprocess.run(["git", *who, "commit", "-qm", "x"], cwd=hub.clone.root, check=True)
    command = [str(COMMAND), "bot", "doctor"]
    done = subprocess.run(command, cwd=hub.clone.root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 3 and any(line.startswith(f"NO  {gap}") for line in done.stderr.splitlines())
