"""Runs the jobs of a workflow file as GitHub's runner does: each `run:` for real, the few actions by what they do.

A job gets an empty workspace. `actions/checkout` clones the scratch origin into it, artifacts are kept by name, and
every other action of the list is passed over. What a step prints is read for workflow commands, as GitHub reads it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import REPOSITORY
from tests.workflows.expressions import STATUS, as_text, resolved, value_of

FILES = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
NEUTRAL = {"actions/setup-python", "actions/deploy-pages"}  # nothing that a later step of ours reads
REPO = "open/blueberry"
TOKEN = "ghs_not-a-real-token"


def load(path: Path) -> dict[str, Any]:
    """A workflow file. YAML 1.1 reads the key `on` as true."""
    found: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    found["on"] = found.pop(True)
    return found


@dataclass
class Step:
    """One executed, failed or skipped step."""

    name: str
    outcome: str
    said: str = ""
    obeyed: list[str] = field(default_factory=list)  # workflow commands that GitHub would have carried out


@dataclass
class Job:
    """One job's steps, and how it ended."""

    result: str
    steps: list[Step] = field(default_factory=list)
    workspace: Path | None = None

    @property
    def said(self) -> str:
        return "".join(step.said for step in self.steps)


@dataclass
class Runner:
    """A place for jobs: a scratch origin, what lies in every workspace beside the checkout, and kept artifacts."""

    folder: Path
    origin: Path
    furnish: Callable[[Path], None]
    tools: Path  # first on the PATH of every step
    artifacts: dict[str, Path] = field(default_factory=dict)

    def run(self, workflow: dict[str, Any], github: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Job]:
        """Every job, in the order of the file, which has to be that of `needs`."""
        done: dict[str, Job] = {}
        for name, job in workflow["jobs"].items():
            listed = job.get("needs", [])
            needs = {one: {"result": done[one].result} for one in ([listed] if isinstance(listed, str) else listed)}
            context = {"github": github, "inputs": inputs, "needs": needs, "steps": {}}
            fine = all(one["result"] == "success" for one in needs.values())
            if not _wanted(job.get("if"), context, fine):
                done[name] = Job("skipped")
            elif "uses" in job:
                given = {key: as_text(resolved(one, context)) for key, one in job["with"].items()}
                called = self.run(load(REPOSITORY / job["uses"]), github, given)
                done.update({f"{name}/{inner}": one for inner, one in called.items()})
                ends = {one.result for one in called.values()}
                done[name] = Job("failure" if "failure" in ends else "success")
            else:
                assert workflow["defaults"] == {"run": {"shell": "bash"}}, "GitHub's default shell has no pipefail"
                done[name] = self._job(name, job, context)
        return done

    def _job(self, name: str, job: dict[str, Any], context: dict[str, Any]) -> Job:
        place = self.folder / name
        ran = Job("success", workspace=place / "work")
        for part in ("work", "temp", "home"):
            (place / part).mkdir(parents=True)
        context["runner"] = {"temp": str(place / "temp")}
        for number, one in enumerate(job["steps"]):
            step = Step(one.get("name", str(number)), "skipped")
            ran.steps.append(step)
            if _wanted(one.get("if"), context, ran.result == "success"):
                step.outcome = "success" if self._step(one, step, place, context) else "failure"
            if step.outcome == "failure" and not one.get("continue-on-error"):
                ran.result = "failure"
            if "id" in one:
                context["steps"][one["id"]] = {"outcome": step.outcome}
        return ran

    def _step(self, one: dict[str, Any], step: Step, place: Path, context: dict[str, Any]) -> bool:
        if "uses" in one:
            given = {key: as_text(resolved(value, context)) for key, value in one.get("with", {}).items()}
            return self._action(one["uses"].partition("@")[0], given, place, context)
        script = place / "temp" / "step.sh"
        script.write_text(resolved(one["run"], context), encoding="utf-8")
        environment = _environment(place, self.tools, context["github"])
        environment |= {key: as_text(resolved(value, context)) for key, value in one.get("env", {}).items()}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=place / "work",
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=120,
            check=False,
        )
        script.unlink()
        step.said = done.stdout
        step.obeyed = commands(done.stdout)
        return done.returncode == 0

    def _action(self, action: str, given: dict[str, str], place: Path, context: dict[str, Any]) -> bool:
        if action == "actions/checkout":
            self._checkout(place / "work", given.get("ref") or context["github"]["sha"])
        elif action == "actions/upload-artifact":
            if not Path(given["path"]).is_file():
                return given["if-no-files-found"] != "error"
            kept = self.folder / Path(given["path"]).name
            self.artifacts[given["name"]] = Path(shutil.copy(given["path"], kept))
        elif action == "actions/download-artifact":
            kept = self.artifacts.get(given["name"])
            if kept is None:
                return False
            Path(given["path"]).mkdir(parents=True)
            shutil.copy(kept, Path(given["path"]) / kept.name)
        elif action == "actions/upload-pages-artifact":
            self.artifacts["github-pages"] = place / "work" / given["path"]
        else:
            assert action in NEUTRAL, f"this runner does not know {action}"
        return True

    def _checkout(self, workspace: Path, ref: str) -> None:
        git("clone", "--quiet", "--shared", "--no-checkout", str(self.origin), ".", cwd=workspace)
        git("checkout", "--quiet", ref, cwd=workspace)
        self.furnish(workspace)


def git(*arguments: str, cwd: Path) -> str:
    """Git without anybody's settings."""
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    named = {f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = ["git", "-c", "core.autocrlf=false", *arguments]
    done = subprocess.run(command, cwd=cwd, env=os.environ | quiet | named, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commands(output: str) -> list[str]:
    """The lines that GitHub obeys: those that begin with `::`, but between a stop and its own word only that word."""
    obeyed, word = [], None
    for line in output.splitlines():
        if word is not None:
            word = None if line == f"::{word}::" else word
        elif line.startswith("::stop-commands::"):
            word = line.removeprefix("::stop-commands::")
        elif line.startswith("::"):
            obeyed.append(line)
    return obeyed


def _wanted(condition: Any, context: Mapping[str, Any], fine: bool) -> bool:
    """Whether a job or step runs: without a status function in its condition only after success."""
    text = "" if condition is None else str(condition).removeprefix("${{").removesuffix("}}")
    known = {"always()": True, "cancelled()": False, "success()": fine, "failure()": not fine}
    if not text:
        return fine
    return (fine or bool(STATUS.search(text))) and bool(value_of(text, {**context, **known}))


def _environment(place: Path, tools: Path, github: Mapping[str, Any]) -> dict[str, str]:
    """What a step sees: nothing of this process but the way to its programs."""
    return {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "HOME": str(place / "home"),
        "CI": "true",
        "GITHUB_REPOSITORY": github["repository"],
        "GITHUB_REF": github["ref"],
        "RUNNER_TEMP": str(place / "temp"),
        "GIT_CONFIG_NOSYSTEM": "1",
    }
