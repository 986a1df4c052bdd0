"""Artifacts are read as hostile: what is not exactly a page of this commit is refused, in one message."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bot.page import ENTRY, Page, parse_page, read_page
from harness.bot.zipped import zipped
from harness.errors import SubmissionError
from tests.bot.pages import CELL, JOB, SHA, done, values


def refused(content: bytes | str, pr: int = 7, sha: str = SHA) -> str:
    with pytest.raises(SubmissionError) as caught:
        parse_page(content.encode() if isinstance(content, str) else content, "result.json", pr, sha)
    assert caught.value.faults[0].rule == "pull-artifact" and len(str(caught.value)) < 600
    return str(caught.value)


def test_a_page_comes_back_as_it_was_written() -> None:
    page = Page.model_validate(values(jobs=[JOB, done()]))
    assert parse_page(page.to_json().encode(), "result.json", 7, SHA) == page


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" * 10_000, '"1"', "true", "[1]"])
@pytest.mark.parametrize("key", ["gain", "p", "time_ratio"])
def test_a_number_that_is_none_is_refused(key: str, number: str) -> None:
    text = json.dumps(values(jobs=[done(cells=[{**CELL, key: "HERE"}])])).replace('"HERE"', number)
    refused(text)


def test_what_is_no_json_has_no_place_to_name() -> None:
    said = refused("# A heading")
    assert said.startswith("result.json: 'Invalid JSON") and "''" not in said


def test_another_commit_or_pull_request_is_refused() -> None:
    text = json.dumps(values())
    assert "not of 8" in refused(text, pr=8)
    assert "not of 7 at ffff" in refused(text, sha="f" * 40)


def test_another_patch_than_the_checked_one_is_refused() -> None:
    assert "another patch" in refused(json.dumps({**values(), "patch": "+innocent\n"}))


@pytest.mark.parametrize(
    "changed",
    [
        {"slug": "../../etc"},
        {"slug": "a](http://x)"},
        {"sha": SHA[:12]},
        {"pr": -1},
        {"pr": 10**12},
        {"schema": 2},
        {"extra": 1},
        {"jobs": [{**JOB, "state": "excellent"}]},
        {"jobs": [{**JOB, "verdict": "BEST EVER"}]},
        {"jobs": [{**JOB, "live": "x" * 401}]},
        {"jobs": [JOB] * 201},
        {"currency": "<b>"},
        {"notes": ["x" * 401]},
        {"plans": [{"track": "t", "budget": "b", "metric": "fame", "pairs_at_most": 1}]},
        {"check": None},
    ],
)
def test_a_value_out_of_its_form_is_refused(changed: dict[str, Any]) -> None:
    refused(json.dumps({**values(), **changed}))


@pytest.mark.parametrize("text", ["", "null", "[]", "{", "[" * 100_000, '{"a":' * 50_000, "\xff"])
def test_what_is_no_page_is_refused(text: str) -> None:
    refused(text)


@given(st.binary(max_size=200))
def test_no_bytes_are_a_fault_of_the_reader(content: bytes) -> None:
    refused(content)


def test_a_page_is_read_from_a_file_or_from_a_zip(tmp_path: Path) -> None:
    text = json.dumps(values()).encode()
    (tmp_path / "a.json").write_bytes(text)
    (tmp_path / "a.zip").write_bytes(zipped({ENTRY: text, "leaderboard/ledger.jsonl": b""}))
    assert read_page(tmp_path / "a.json", 7, SHA) == read_page(tmp_path / "a.zip", 7, SHA)


def test_a_zip_without_the_page_and_one_that_leads_elsewhere_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"other.json": b"{}"}))
    with pytest.raises(SubmissionError, match="holds no"):
        read_page(tmp_path / "a.zip", 7, SHA)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(ENTRY, json.dumps(values()))
        archive.writestr("../result.json", "x")
    (tmp_path / "a.zip").write_bytes(made.getvalue())
    with pytest.raises(SubmissionError, match="leads elsewhere"):
        read_page(tmp_path / "a.zip", 7, SHA)
