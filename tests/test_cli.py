"""The command line as programs and people meet it: exit codes, JSON on failure, one clear message, a fast start."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from harness.records import ledger
from harness.records.store import Store
from harness.run.arms import track_core_id
from harness.tracks import track_named
from tests.bot.measured import measured
from tests.conftest import COMMAND, REPOSITORY, Project


@pytest.fixture(scope="module")
def project(make_project: Callable[[str], Project]) -> Project:
    made = make_project("cli")
    made.submit("idea", ("lm.py", "import math\n", "import math  # an idea\n"))
    return made


USAGE = [
    (["run", "idea", "--track", "llm-9b"], "llm-tiny"),
    (["run", "idea", "--budget", "2M"], "smoke, 1M"),
    (["run", "idea", "--fit", "lots"], "--fit auto"),
    (["run", "idea", "--data", "files:/nowhere"], "/nowhere"),
    (["run", "idea", "--data", "magic"], "magic"),
    (["run", "missing"], "missing"),
    (["check", "../../etc"], "no submission of that name"),
    (["check", "Relu_Init"], "is no name of a submission: a-z, 0-9 and - alone"),
    (["verdict", "idea"], "blueberry run idea"),
    (["run", "idea", "--pairs", "1"], "--pairs"),
    (["run", "idea", "--log", "mlflow"], "tensorboard, wandb"),
    (["run", "idea", "--learning-rate", "1"], "--learning-rate"),
    (["fly"], "fly"),
]


@pytest.mark.parametrize(("arguments", "said"), USAGE, ids=[" ".join(arguments) for arguments, _ in USAGE])
def test_wrong_usage_is_one_message_with_exit_code_2(project: Project, arguments: list[str], said: str) -> None:
    faults = project.json(*arguments, exit_code=2)["faults"]
    assert len(faults) == 1 and set(faults[0]) == {"rule", "where", "what", "fix"}
    assert said in " ".join(faults[0].values())


@pytest.mark.parametrize(
    ("arguments", "verb"),
    [
        (["run", "idea", "--learning-rate", "1"], "blueberry run"),
        (["plan", "idea", "--pairs", "1"], "blueberry plan"),
        (["bot", "drain", "--learning-rate", "1"], "blueberry bot drain"),
        (["bot", "fly"], "blueberry bot"),
        (["fly"], "blueberry"),
    ],
)
def test_a_wrong_option_is_mended_by_the_help_of_its_own_verb(
    project: Project, arguments: list[str], verb: str
) -> None:
    (fault,) = project.json(*arguments, exit_code=2)["faults"]
    assert fault["fix"] == f"see `{verb} --help`"


@pytest.mark.parametrize("option", ["--price-per-hour", "--gain"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_plan_takes_no_price_and_no_gain_that_is_no_number(project: Project, option: str, value: str) -> None:
    (fault,) = project.json("plan", "idea", option, value, exit_code=2)["faults"]
    assert option in fault["what"] and fault["fix"] == "see `blueberry plan --help`"


def test_a_price_is_not_below_zero_and_from_the_environment_held_to_the_same(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fault,) = project.json("plan", "idea", "--price-per-hour", "-1", exit_code=2)["faults"]
    assert "--price-per-hour" in fault["what"]
    monkeypatch.setenv("BLUEBERRY_PRICE_PER_HOUR", "nan")
    (fault,) = project.json("plan", "idea", exit_code=2)["faults"]
    assert "BLUEBERRY_PRICE_PER_HOUR" in fault["what"]
    monkeypatch.setenv("BLUEBERRY_PRICE_PER_HOUR", "2.5")
    assert project.json("plan", "idea")["ok"]


def test_a_report_of_nothing_that_was_measured_says_whether_it_was_mistyped(project: Project) -> None:
    (fault,) = project.json("report", "submissions/idae", exit_code=2)["faults"]
    assert fault["fix"] == "did you mean idea?"
    (fault,) = project.json("report", "submissions/idea/", exit_code=2)["faults"]
    assert (fault["what"], fault["fix"]) == ("has no run files to report on", "blueberry run idea")


def test_people_are_told_the_same_on_stderr(project: Project) -> None:
    done = project.call("run", "idea", "--budget", "2M")
    assert done.returncode == 2
    assert "smoke, 1M" in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_budget_beyond_the_data_is_refused_before_anything_is_opened(project: Project) -> None:
    done = project.call("run", "idea", "--budget", "8M")
    assert done.returncode == 2 and "--epochs" in done.stderr and "Traceback" not in done.stderr
    assert not list((project.root / ".blueberry").glob("evaluations/*")), "it would stand in the way of a later run"


def test_fewer_pairs_than_a_verdict_takes_are_refused_before_anything_is_opened(project: Project) -> None:
    done = project.call("run", "idea", "--budget", "test", "--pairs", "2")
    assert done.returncode == 2 and "--pairs 3" in done.stderr and "Traceback" not in done.stderr
    assert not list((project.root / ".blueberry").glob("evaluations/*"))


def test_a_reader_that_stops_early_is_no_error(project: Project) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(
            [str(COMMAND), "tracks", "--json"], cwd=project.root, stdout=write_end, stderr=subprocess.PIPE, text=True
        )
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (0, "")


def test_outside_a_project_the_message_says_where_to_go(tmp_path_factory: pytest.TempPathFactory) -> None:
    done = Project(tmp_path_factory.mktemp("elsewhere")).call("tracks")
    assert done.returncode == 0, "the tracks need no project"
    done = Project(tmp_path_factory.mktemp("elsewhere")).call("check", "idea")
    assert done.returncode == 2 and "submissions/" in done.stderr


def test_check_answers_with_the_promised_keys(project: Project) -> None:
    answer = project.json("check", "idea")
    promised = {"ok", "slug", "core_id", "patch_sha", "added", "removed", "warnings", "faults"}
    assert set(answer) == promised
    assert (answer["ok"], answer["slug"], answer["added"], answer["removed"]) == (True, "idea", 1, 1)


def test_a_broken_manifest_is_the_submissions_fault(project: Project) -> None:
    project.submit("broken", ("lm.py", "import math\n", "import math  # broken\n"))
    path = project.root / "submissions/broken/submission.toml"
    path.write_text(path.read_text() + "\n[[[")
    answer = project.json("run", "broken", exit_code=1)
    assert answer["ok"] is False and answer["faults"][0]["rule"] == "manifest-toml"


def test_people_read_stderr_and_programs_read_stdout(project: Project) -> None:
    done = project.call("tracks")
    assert done.stdout == "" and "llm-tiny" in done.stderr
    assert "llm-tiny" in json.dumps(project.json("tracks"))


def test_the_plan_says_what_is_not_known_yet(project: Project) -> None:
    cell = project.json("plan", "idea")["cells"][0]
    assert cell["least_detectable"] is None and cell["max_pairs"] == 10
    assert "blueberry baseline" in project.call("plan", "idea").stderr


def test_a_second_harness_on_the_same_store_is_turned_away(project: Project) -> None:
    code = (
        "import sys; from pathlib import Path; from harness.records.store import Store\n"
        "with Store(Path(sys.argv[1])).lock(): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(project.root / ".blueberry")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        holder.stdout.readline()
        done = project.call("run", "idea")
        holder.stdin.close()
    assert done.returncode == 3 and f"process {holder.pid}" in done.stderr


@pytest.fixture
def board(make_project: Callable[[str], Project]) -> tuple[Project, str]:
    """A board with one confirmed record of the real one, and that evaluation's id."""
    made, name = make_project("board"), "wide-smear-llm-tiny-smoke-cf37b51970"
    store = Store(made.root / "leaderboard")
    (made.root / "leaderboard" / "evaluations").mkdir()
    shutil.copy(REPOSITORY / "leaderboard" / "evaluations" / f"{name}.json", store.folder / "evaluations")
    shutil.copytree(REPOSITORY / "leaderboard" / "runs" / name, store.folder / "runs" / name)
    ledger.append(store, name)
    return made, name


def test_a_board_with_a_gain_that_knew_nothing_of_an_earlier_try_fails_its_check(
    make_project: Callable[[str], Project],
) -> None:
    """Two branches were merged, each measured with nothing but its own tries in sight."""
    project = make_project("merged")
    own = {"core_id": track_core_id(project.root, track_named("llm-tiny")), "provisional": False, "program": None}
    measured(project.root, "an-idea", "a" * 64, salt="1", opened="2026-01-01T00:00:00+00:00", revoked=True, **own)
    gain = measured(project.root, "an-idea", "b" * 64, salt="2", opened="2026-01-02T00:00:00+00:00", **own)
    (said,) = project.json("leaderboard")["lenient"]
    assert said.startswith(f"{gain.id} was held to an error rate of 0.02 for 1 claims, and earlier tries leave 0.01")
    checked = project.json("leaderboard", "--check", exit_code=1)
    assert checked["lenient"] == [said] and not checked["ok"]
    assert f"{said}: `blueberry invalidate` it under `drawn-twice`" in project.call("leaderboard", "--check").stderr
    project.json("invalidate", gain.id, "--rule", "drawn-twice", "--why", "an earlier try was not known")
    assert project.json("leaderboard")["lenient"] == [] and project.json("leaderboard", "--check")["ok"]


def test_a_report_is_asked_for_by_slug_or_path_also_where_the_folder_is_gone(board: tuple[Project, str]) -> None:
    project, _ = board
    told = project.json("report", "submissions/wide-smear")
    assert told["slug"] == "wide-smear" and told["files"] == project.json("report", "wide-smear")["files"]
    assert not (project.root / "submissions" / "wide-smear").exists()


@pytest.mark.parametrize("changed", [{"track": "llm-9b"}, {"budget": "2M"}])
def test_a_record_of_another_harness_is_named_by_every_verb_that_reads_it(
    board: tuple[Project, str], changed: dict[str, str]
) -> None:
    project, name = board
    project.submit("idea", ("lm.py", "import math\n", "import math  # an idea\n"))
    path = project.root / "leaderboard" / "evaluations" / f"{name}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    for verb in (["status"], ["report", "wide-smear"], ["verdict", "idea"]):
        (fault,) = project.json(*verb, exit_code=3)["faults"]
        assert fault["where"] == str(path) and "was written by another harness" in fault["what"]


def test_an_evaluation_that_broke_a_rule_stays_on_the_board_with_the_reason_and_is_no_record(
    board: tuple[Project, str],
) -> None:
    project, name = board
    text = project.root / "leaderboard" / "LEADERBOARD.md"
    assert project.json("leaderboard")["ok"] and "it knew the text" not in text.read_text()
    asked = ("invalidate", name, "--rule", "audit-causality", "--why", "it knew the text")
    assert project.json(*asked) == {"ok": True, "evaluation": name}
    assert project.json("leaderboard", "--check", exit_code=1)["stale"], "the board still calls it a record"
    assert project.json("leaderboard")["ok"] and project.json("leaderboard", "--check")["ok"]
    assert "audit-causality: it knew the text" in text.read_text()
    lines = (project.root / "leaderboard" / "ledger.jsonl").read_text().splitlines()
    assert [json.loads(line)["evaluation"] for line in lines] == [name, name]
    (fault,) = project.json(*asked, exit_code=2)["faults"]
    assert "is invalidated already: audit-causality: it knew the text" in fault["what"]


@pytest.mark.parametrize(
    ("rule", "why", "said"),
    [
        ("dislike", "so", "there is no rule"),
        ("band", " ", "--why"),
        ("band", "a\nb", "--why"),
        ("band", "x" * 301, "--why"),
    ],
)
def test_nothing_is_invalidated_without_a_rule_and_a_reason(
    board: tuple[Project, str], rule: str, why: str, said: str
) -> None:
    project, name = board
    before = (project.root / "leaderboard" / "ledger.jsonl").read_bytes()
    (fault,) = project.json("invalidate", name, "--rule", rule, "--why", why, exit_code=2)["faults"]
    assert said in " ".join(fault.values())
    (fault,) = project.json("invalidate", "nothing", "--rule", "band", "--why", "so", exit_code=2)["faults"]
    assert "no closed evaluation" in fault["what"]
    assert (project.root / "leaderboard" / "ledger.jsonl").read_bytes() == before


def test_fast_verbs_import_neither_torch_nor_scipy_nor_pandas(project: Project) -> None:
    code = (
        "import sys; sys.argv = ['blueberry', 'check', 'idea']\n"
        "from harness.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "print(sorted({'torch', 'scipy', 'pandas', 'matplotlib', 'datasets', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project.root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_verb_explains_itself() -> None:
    listed = subprocess.run([str(COMMAND), "--help"], capture_output=True, text=True, check=True).stdout
    verbs = [line.split()[0] for line in listed.partition("Commands:")[2].strip().splitlines() if line[2] != " "]
    assert len(verbs) >= 15
    for verb in verbs:
        shown = subprocess.run([str(COMMAND), verb, "--help"], capture_output=True, text=True, check=True).stdout
        assert "--json" in shown or verb in ("data", "bot")
