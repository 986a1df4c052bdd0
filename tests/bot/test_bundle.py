"""Bundles: what leaves one machine arrives on the other, and what is anything else is refused whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.bot.bundle import (
    BOARD,
    ENTRY,
    Asked,
    Taken,
    asked_of,
    jobs_bundle,
    read_bundle,
    records,
    results_bundle,
    take_records,
)
from harness.bot.head import Head
from harness.bot.queue import Job
from harness.bot.zipped import unzip, zipped
from harness.errors import SubmissionError
from harness.records import ledger
from harness.records.store import Store, sha256
from harness.run.arms import track_core_id
from harness.tracks import track_named
from tests.bot.jobs import job
from tests.bot.measured import measured

REPOSITORY = Path(__file__).parents[2]
SLUG = "wide-smear"
SMEAR = "2e3002b102e94e1f5d8ecdc0eb5b9005ff4b2333bbe04acf686d6ee658ae660c"
ASKED = Asked(SLUG, SMEAR, "llm-tiny", "smoke")
Change = Callable[[dict[str, bytes]], None]


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    (tmp_path / "home" / BOARD).mkdir(parents=True)
    (tmp_path / "home" / "model_core").symlink_to(REPOSITORY / "model_core")
    return tmp_path / "home"


def results(path: Path, change: Change = lambda files: None) -> Path:
    """A results bundle of a submission that this repository has measured, changed on its way."""
    asked = job(slug=SLUG, state="done", patch_sha=SMEAR, budget="smoke")
    assert asked_of([asked]) == [ASKED]
    files = unzip(results_bundle("o/n", [asked], REPOSITORY), "x.zip")
    change(files)
    path.write_bytes(zipped(files))
    return path


def test_jobs_arrive_with_the_very_files_that_were_reviewed(tmp_path: Path) -> None:
    head = Head(job().sha, "an-idea", {"patch.diff": b"x\n", "submission.toml": b"y\n"})
    (tmp_path / "jobs.zip").write_bytes(jobs_bundle("o/n", [(job(), head)]))
    bundle = read_bundle(tmp_path / "jobs.zip")
    assert (bundle.kind, bundle.repository, bundle.jobs, bundle.heads) == ("jobs", "o/n", (job(),), {job().key: head})


def test_results_arrive_whole_once_and_under_the_ledger(tmp_path: Path, empty: Path) -> None:
    bundle = read_bundle(results(tmp_path / "r.zip"))
    new = take_records(empty, bundle.records, [ASKED], "r.zip").new
    assert new and records(empty, [ASKED]) == records(REPOSITORY, [ASKED])
    assert any(name.startswith("core-") for name in new), "the calibration that it stands on came along"
    assert take_records(empty, bundle.records, [ASKED], "r.zip") == Taken((), ())
    ledger.verify(Store(empty / BOARD))


def evaluation_of(files: dict[str, bytes]) -> str:
    return next(name for name in files if f"/evaluations/{SLUG}" in name)


def run_of(files: dict[str, bytes]) -> str:
    return next(name for name in files if f"/runs/{SLUG}" in name)


def better(files: dict[str, bytes]) -> None:
    name = run_of(files)
    files[name] = json.dumps({**json.loads(files[name]), "loss": 0.1}).encode()


def missing(files: dict[str, bytes]) -> None:
    del files[run_of(files)]


def unofficial(files: dict[str, bytes]) -> None:
    name = evaluation_of(files)
    files[name] = json.dumps({**json.loads(files[name]), "official": False}).encode()


def renamed(files: dict[str, bytes]) -> None:
    files[f"{BOARD}/evaluations/other.json"] = files.pop(evaluation_of(files))


def no_json(files: dict[str, bytes]) -> None:
    files[evaluation_of(files)] = b"{"


def not_a_number(files: dict[str, bytes]) -> None:
    name = run_of(files)
    files[name] = files[name].replace(b'"loss": ', b'"loss": NaN, "x": ', 1)


def another_place(files: dict[str, bytes]) -> None:
    files[f"{BOARD}/LEADERBOARD.md"] = b"we won"


def undecidable(files: dict[str, bytes]) -> None:
    """A claim on speed without an exchange rate: on the board, it would stop whoever decides it."""
    name = evaluation_of(files)
    files[name] = json.dumps({**json.loads(files[name]), "metrics": ["speed"], "kappa": None}).encode()


def another_salt(files: dict[str, bytes]) -> None:
    name = evaluation_of(files)
    files[name] = json.dumps({**json.loads(files[name]), "salt": "0" * 64}).encode()


def without_a_salt(files: dict[str, bytes]) -> None:
    name = evaluation_of(files)
    files[name] = json.dumps({**json.loads(files[name]), "salt": None}).encode()


def another_seed(files: dict[str, bytes]) -> None:
    """A run that was drawn until it pleased, with everything else made to fit."""
    run, name = run_of(files), evaluation_of(files)
    told = json.loads(files[run])
    files[run] = json.dumps({**told, "spec": {**told["spec"], "seed": 1}}).encode()
    record = json.loads(files[name])
    record["runs"][run.split("/")[3]] = sha256(files[run])
    files[name] = json.dumps(record).encode()


def a_stray_run(files: dict[str, bytes]) -> None:
    files[f"{BOARD}/runs/another/{run_of(files).split('/')[3]}"] = files[run_of(files)]


@pytest.mark.parametrize(
    "change",
    [
        better,
        missing,
        unofficial,
        renamed,
        no_json,
        not_a_number,
        another_place,
        another_salt,
        undecidable,
        without_a_salt,
        another_seed,
        a_stray_run,
    ],
    ids=lambda one: one.__name__,
)
def test_results_that_are_not_what_a_harness_writes_are_refused(tmp_path: Path, empty: Path, change: Change) -> None:
    bundle = read_bundle(results(tmp_path / "r.zip", change))
    with pytest.raises(SubmissionError) as caught:
        take_records(empty, bundle.records, [ASKED], "r.zip")
    assert caught.value.faults[0].rule == "pull-artifact"
    assert not list((empty / BOARD).rglob("*.json")), "nothing of it was used"


@pytest.mark.parametrize(
    "asked",
    [
        Asked("another", SMEAR, "llm-tiny", "smoke"),
        Asked(SLUG, "0" * 64, "llm-tiny", "smoke"),
        Asked(SLUG, None, "llm-tiny", "smoke"),
        Asked(SLUG, SMEAR, "llm-tiny", "1M"),
        Asked(SLUG, SMEAR, "llm-88m", "smoke"),
    ],
)
def test_what_nobody_asked_for_does_not_come_in(tmp_path: Path, empty: Path, asked: Asked) -> None:
    bundle = read_bundle(results(tmp_path / "r.zip"))
    with pytest.raises(SubmissionError, match="nobody asked for"):
        take_records(empty, bundle.records, [asked], "r.zip")


def test_what_was_measured_here_meanwhile_stands_once_on_the_board(tmp_path: Path, empty: Path) -> None:
    fields = {"provisional": False, "sandbox": "landlock"}
    measured(tmp_path / "box", "an-idea", "a" * 64, salt="box", **fields)
    measured(empty, "an-idea", "a" * 64, salt="home", **fields)
    asked = [Asked("an-idea", "a" * 64, "llm-tiny", "smoke")]
    taken = take_records(empty, records(tmp_path / "box", asked), asked, "r.zip")
    assert taken.new == () and " measures what an-idea-llm-tiny-smoke-" in taken.said


def test_of_two_draws_the_first_to_be_begun_is_named_whichever_came_home_first(tmp_path: Path, empty: Path) -> None:
    fields = {"provisional": False, "sandbox": "landlock"}
    measured(tmp_path / "box", "an-idea", "a" * 64, salt="box", opened="2026-01-01T00:00:00+00:00", **fields)
    measured(empty, "an-idea", "a" * 64, salt="home", opened="2026-01-02T00:00:00+00:00", **fields)
    asked = [Asked("an-idea", "a" * 64, "llm-tiny", "smoke")]
    taken = take_records(empty, records(tmp_path / "box", asked), asked, "r.zip")
    assert taken.new == () and "was begun BEFORE it" in taken.said


@pytest.mark.parametrize(
    ("earlier", "asked_for"),
    [
        ({}, {"alpha": 0.01}),  # a second try
        ({"close": False}, {"alpha": 0.01}),  # one of which only the beginning is known
        ({"title": "leaks"}, {"alpha": 0.01}),  # invalidated since
        ({"budget": "1M"}, {"alpha": 0.01, "k": 2}),  # another claim, added afterwards
    ],
)
def test_a_gain_that_was_held_to_less_than_its_earlier_tries_ask_for_does_not_come_in(
    tmp_path: Path, empty: Path, earlier: dict[str, Any], asked_for: dict[str, Any]
) -> None:
    today = track_core_id(REPOSITORY, track_named("llm-tiny"))
    fields = {"provisional": False, "sandbox": "landlock", "core_id": today, "program": None, "k": 1}
    asked = [Asked("an-idea", "b" * 64, "llm-tiny", "smoke")]
    first, later = {"opened": "2026-01-01T00:00:00+00:00"}, {"opened": "2026-01-02T00:00:00+00:00"}
    tried = measured(empty, "an-idea", "a" * 64, salt="home", **{**fields, **first, **earlier})
    if tried.title == "leaks":
        ledger.invalidate(Store(empty / BOARD), tried.id, "audit-causality: it leaks")
    measured(tmp_path / "box", "an-idea", "b" * 64, salt="box", **fields, **later)
    taken = take_records(empty, records(tmp_path / "box", asked), asked, "r.zip")
    assert taken.new == () and "was held to an error rate of 0.02 for 1 claims" in taken.said
    measured(tmp_path / "fair", "an-idea", "b" * 64, salt="fair", **{**fields, **later, **asked_for})
    assert len(take_records(empty, records(tmp_path / "fair", asked), asked, "r.zip").new) == 1


def test_what_was_lost_at_too_mild_a_rate_comes_in_and_counts_as_a_try(tmp_path: Path, empty: Path) -> None:
    today = track_core_id(REPOSITORY, track_named("llm-tiny"))
    fields = {"provisional": False, "sandbox": "landlock", "core_id": today, "program": None}
    asked = [Asked("an-idea", "b" * 64, "llm-tiny", "smoke")]
    measured(empty, "an-idea", "a" * 64, salt="home", **fields, opened="2026-01-01T00:00:00+00:00")
    later = {"opened": "2026-01-02T00:00:00+00:00", "revoked": True}
    measured(tmp_path / "box", "an-idea", "b" * 64, salt="box", **fields, **later)
    assert len(take_records(empty, records(tmp_path / "box", asked), asked, "r.zip").new) == 1


def test_an_evaluation_that_is_here_already_is_never_replaced(tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(REPOSITORY / BOARD, home / BOARD)

    def other(files: dict[str, bytes]) -> None:
        name = evaluation_of(files)
        files[name] = json.dumps({**json.loads(files[name]), "title": "another title"}).encode()

    with pytest.raises(SubmissionError, match="another evaluation than the one here"):
        take_records(home, read_bundle(results(tmp_path / "r.zip", other)).records, [ASKED], "r.zip")


@pytest.mark.parametrize(
    "files",
    [
        {},
        {ENTRY: b"[]"},
        {ENTRY: b'{"schema": 1, "kind": "jobs", "repository": "o/n", "jobs": [{"pr": 1}]}'},
        {ENTRY: b'{"schema": 2, "kind": "jobs", "repository": "o/n", "jobs": []}'},
        {ENTRY: b'{"schema": 1, "kind": "jobs", "repository": "o/n", "jobs": []}', "elsewhere/x": b""},
    ],
)
def test_what_is_no_bundle_is_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    (tmp_path / "b.zip").write_bytes(zipped(files))
    with pytest.raises(SubmissionError):
        read_bundle(tmp_path / "b.zip")


def test_a_job_with_other_files_than_a_submission_has_is_refused(tmp_path: Path) -> None:
    one: Job = job()
    head = Head(one.sha, one.slug, {"sitecustomize.py": b"x"})
    (tmp_path / "jobs.zip").write_bytes(jobs_bundle("o/n", [(one, head)]))
    with pytest.raises(SubmissionError, match="no part of a submission"):
        read_bundle(tmp_path / "jobs.zip")


def test_a_zip_without_an_entry_is_told_so_without_an_empty_place(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(zipped({"README.md": b"# A heading"}))
    with pytest.raises(SubmissionError) as caught:
        read_bundle(tmp_path / "x.zip")
    assert str(caught.value).startswith("x.zip: bundle.json: 'Invalid JSON")
