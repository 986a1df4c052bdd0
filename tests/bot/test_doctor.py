"""What the doctor of the bot finds missing, and how it says to mend it."""

from __future__ import annotations

import pytest

from tests.bot.conftest import Hub


def test_every_gap_is_one_line_with_its_mend(hub: Hub) -> None:
    done = hub.bot("doctor")
    assert done.returncode == 3  # the emulated main is not protected
    lines = done.stderr.splitlines()
    assert any(line.startswith("ok  token") and "blueberry-bot" in line for line in lines)
    at = next(number for number, line in enumerate(lines) if line.startswith("NO  branch"))
    assert "protect main" in lines[at + 1]
    assert "ghp_" not in done.stderr + done.stdout


@pytest.mark.parametrize("gap", ["token", "caps", "harness"])
def test_a_gap_is_found(hub: Hub, gap: str) -> None:
    import subprocess

    from tests.conftest import COMMAND

    environment = hub.environment()
    if gap == "token":
        del environment["GITHUB_TOKEN"]
    elif gap == "caps":
        (hub.clone.root / "blueberry.toml").unlink()
    else:
        hub.clone.root.joinpath("x").write_text("x")
        subprocess.run(["git", "add", "x"], cwd=hub.clone.root, check=True)
        who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        subprocess.run(["git", *who, "commit", "-qm", "x"], cwd=hub.clone.root, check=True)
    command = [str(COMMAND), "bot", "doctor"]
    done = subprocess.run(command, cwd=hub.clone.root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 3 and any(line.startswith(f"NO  {gap}") for line in done.stderr.splitlines())
