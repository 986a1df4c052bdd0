"""The manifest: every value of a stranger's file is refused under its own rule, or is what it says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import SubmissionError
from harness.records.record import Claim
from harness.rules import RULES
from harness.submission.manifest import Author, json_schema, load_manifest, parse_manifest
from harness.tracks import BUDGETS, TRACKS

VALID = """title = "A wider model"
idea = "Wider is better."
authors = [{ name = "Ada", link = "https://example.org/ada" }]
base = ""

[[claims]]
track = "llm-tiny"
budget = "smoke"
metric = "loss"
"""
AUTHOR = '{ name = "Ada", link = "https://example.org/ada" }'
SECOND = VALID[VALID.index("[[claims]]") :]


def _faults(text: str) -> dict[str, str]:
    with pytest.raises(SubmissionError) as refused:
        parse_manifest(text)
    return {fault.rule: str(fault) for fault in refused.value.faults}


def _title(value: str) -> str:
    return VALID.replace('"A wider model"', value)


CASES = {
    "NaN": (_title("nan"), "manifest-value", "the number nan"),
    "infinity": (_title("-inf"), "manifest-value", "the number -inf"),
    "a float that overflows": (_title("1e999"), "manifest-value", "the number inf"),
    "a doubled key": ('title = "b"\n' + VALID, "manifest-toml", "same key"),
    "a doubled table": (VALID + "[authors]\n", "manifest-toml", "submission.toml:10"),
    "an unknown key": ('referenc = ["x"]\n' + VALID, "manifest-unknown-key", "did you mean `references`"),
    "an unknown key of a claim": (VALID + "metrc = 1\n", "manifest-unknown-key", "did you mean `metric`"),
    "a key below the claims": (VALID + 'supersedes = "abc"\n', "manifest-unknown-key", "above the first [[claims]]"),
    "a missing key": (VALID.replace('idea = "Wider is better."\n', ""), "manifest-missing-key", "has no `idea`"),
    "no claim": (VALID.replace(SECOND, "claims = []"), "manifest-missing-key", "`claims` is empty"),
    "no author": (
        VALID.replace('{ name = "Ada", link = "https://example.org/ada" }', ""),
        "manifest-missing-key",
        "auth",
    ),
    "a slug that climbs out": ('supersedes = "../x"\n' + VALID, "manifest-value", "../x"),
    "a parent that climbs out": (f'builds_on = ["../x@{"0" * 64}"]\n' + VALID, "manifest-value", "builds_on[0]"),
    "a 10,000-digit number": (_title("1" * 10_000), "manifest-size", "10008 characters"),
    "a 2,000-digit number": (_title("1" * 2_000), "manifest-value", "a whole number"),
    "2,000 brackets": (_title("[" * 2_000), "manifest-toml", "nested too deeply"),
    "100,000 brackets on many lines": (_title(("[" * 2_000 + "\n") * 50), "manifest-toml", "nested too deeply"),
    "a list for text": (_title('["a"]'), "manifest-value", "`title` is a list"),
    "a truth value for text": (_title("true"), "manifest-value", "truth value true"),
    "a date for text": (_title("2026-01-01"), "manifest-value", "a date"),
    "text for a list": ('references = "x"\n' + VALID, "manifest-value", "write a list"),
    "a number for an author": (VALID.replace("{ name", "1, { name"), "manifest-value", "authors[0]"),
    "a control character": (_title('"\\u001b[2J"'), "manifest-characters", "U+001B"),
    "a bidirectional character": (_title('"a\u202eb"'), "manifest-characters", "RIGHT-TO-LEFT OVERRIDE"),
    "one that is escaped": (_title('"a\\u202eb"'), "manifest-characters", "RIGHT-TO-LEFT OVERRIDE"),
    "a zero-width character": (VALID + "# \u200b\n", "manifest-characters", "submission.toml:10"),
    "a title of 121 characters": (_title(f'"{"x" * 121}"'), "manifest-size", "more than 120 characters"),
    "17 claims": (VALID + SECOND * 16, "manifest-size", "more than 16 entries"),
    "a title of two lines": (_title('"a\\nb"'), "manifest-value", "one line"),
    "a blank title": (_title('" "'), "manifest-value", "blank"),
    "an unknown track": (VALID.replace("llm-tiny", "llm-tny"), "manifest-claim", "did you mean llm-tiny"),
    "an unknown budget": (VALID.replace("smoke", "9M"), "manifest-claim", "The known ones are smoke, 1M"),
    "an unknown metric": (VALID.replace('"loss"', '"size"'), "manifest-claim", '"loss" or "speed"'),
    "the same claim twice": (VALID + SECOND, "manifest-claim", "submission.toml:10"),
    "a script as a link": (VALID.replace("https://example.org/ada", "javascript:alert(1)"), "manifest-value", "https"),
    "a requirement nobody knows": ('requires = ["rtx"]\n' + VALID, "manifest-value", "sm_89"),
    "a base that is no digest": (VALID.replace('base = ""', 'base = "abc"'), "manifest-value", "blueberry pack"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_manifest_is_refused_under_its_own_rule(case: str) -> None:
    text, rule, says = CASES[case]
    found = _faults(text)
    assert set(found) == {rule}
    assert says in found[rule]
    assert "submission.toml" in found[rule]


def test_a_whole_manifest_is_read_as_it_is_written() -> None:
    head = 'supersedes = "old-idea"\nrequires = ["sm_89"]\nreferences = ["arXiv 2410.00001"]\n'
    head += f'builds_on = ["abc@{"0" * 64}"]\n'
    manifest = parse_manifest(head + VALID + SECOND.replace("loss", "speed"))
    assert manifest.claims == (
        Claim(track="llm-tiny", budget="smoke", metric="loss"),
        Claim(track="llm-tiny", budget="smoke", metric="speed"),
    )
    assert manifest.authors == (Author(name="Ada", link="https://example.org/ada"),)
    assert (manifest.supersedes, manifest.requires, manifest.base) == ("old-idea", ("sm_89",), "")
    assert parse_manifest(VALID.replace("\n", "\r\n")) == parse_manifest(VALID)


def test_every_fault_names_its_line() -> None:
    text = VALID.replace('title = "A wider model"', "title = 3").replace('"smoke"', "4").replace("name =", "nam =")
    with pytest.raises(SubmissionError) as refused:
        parse_manifest(text, "submissions/x/submission.toml")
    places = {
        fault.where.split(" ")[0].removeprefix("submissions/x/submission.toml:") for fault in refused.value.faults
    }
    assert places == {"1", "3", "8"}


def test_a_list_of_ten_thousand_mistakes_is_told_in_ten() -> None:
    with pytest.raises(SubmissionError) as refused:
        parse_manifest("\n".join(["references = [", *["1,"] * 10_000, "]"]) + "\n" + VALID)
    assert len(refused.value.faults) <= 10


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"\xff\xfe", "manifest-encoding"),
        (b"title = '" + b"\xed\xa0\x80'", "manifest-encoding"),
        (b"[" * 100_000, "manifest-size"),
        (b"", "manifest-missing-key"),
    ],
)
def test_bytes_that_are_no_manifest_are_refused(
    content: bytes, rule: str, submit: Callable[..., Path], rules_of: Callable[[Path], dict[str, str]]
) -> None:
    assert rule in rules_of(submit(manifest=content))


def test_a_folder_that_is_no_slug_is_refused(submit: Callable[..., Path]) -> None:
    for name in ("core", "A", "-ab", "ab-", "a b", "x" * 41, "a.b"):
        with pytest.raises(SubmissionError) as refused:
            load_manifest(submit(name=name))
        assert refused.value.faults[0].rule == "manifest-slug"


def test_a_manifest_that_is_missing_or_a_link_is_refused(submit: Callable[..., Path], tmp_path: Path) -> None:
    folder = submit()
    for make in (lambda path: None, lambda path: path.symlink_to("/etc/passwd"), lambda path: path.mkdir()):
        (folder / "submission.toml").unlink(missing_ok=True)
        make(folder / "submission.toml")
        with pytest.raises(SubmissionError) as refused:
            load_manifest(folder)
        assert refused.value.faults[0].rule == "manifest-missing"


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(["a" + ".a" * 1_190 + f"{at} = 1" for at in range(26)]),
        "\n".join(f"[t{at}]" for at in range(8_000)),
        "[[a]]\n" * 10_000,
        "x = [" + "{a = 1},\n" * 7_000 + "]",
    ],
    ids=["dotted keys", "tables", "arrays of tables", "inline tables"],
)
def test_the_worst_64_kib_take_a_second_or_two_and_never_minutes(text: str) -> None:
    assert len(text.encode()) < 66_000
    start = time.perf_counter()
    _faults(text)
    assert time.perf_counter() - start < 5  # 17 s where dotted keys of any length are let through to tomllib


def test_the_published_schema_is_the_one_that_is_checked() -> None:
    folder = Path(__file__).resolve().parents[2] / "harness" / "submission" / "templates"
    assert json.loads((folder / "submission.schema.json").read_text()) == json_schema()
    claim = json_schema()["$defs"]["Claim"]["properties"]
    assert set(claim["track"]["enum"]) == set(TRACKS)
    assert set(claim["budget"]["enum"]) < set(BUDGETS) and "test" not in claim["budget"]["enum"]


_KEYS = ["title", "idea", "authors", "claims", "base", "builds_on", "supersedes", "requires", "references", "name"]
_VALUES = st.one_of(
    st.sampled_from(['"x"', "nan", "inf", "1", "true", "[]", "{}", '"""', "''", "[1, [2]]", "{a = {b = 1}}", "0x1F"]),
    st.sampled_from(["1979-05-27", "25:61:00", '"\\ud800"', '"\\U0010ffff"', '"../x"', "1_", "-", '"\\u202e"']),
    st.text(max_size=8).map(lambda text: f'"{text}"'),
)
_LINE = st.one_of(
    st.tuples(st.sampled_from(_KEYS), _VALUES).map(lambda pair: f"{pair[0]} = {pair[1]}"),
    st.sampled_from(["[[claims]]", "[claims]", "[[authors]]", "[a.b]", "[", "]]", "=", "# x", *VALID.split("\n")]),
    st.text(max_size=12),
)
_TEXT = st.one_of(st.lists(_LINE, max_size=12).map("\n".join), st.text(max_size=60))


def _read_or_refuse(text: str) -> None:
    try:
        manifest = parse_manifest(text)
    except SubmissionError as refused:
        assert refused.faults
        assert all(fault.rule in RULES and fault.what and fault.fix for fault in refused.faults)
        assert str(refused).isprintable() or "\n" in str(refused)
        assert "\x1b" not in str(refused) and "\u202e" not in str(refused)
    else:
        assert manifest.claims and all(claim.track in TRACKS for claim in manifest.claims)


@settings(max_examples=300, deadline=None)
@given(_TEXT)
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    _read_or_refuse(text)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(VALID)), st.integers(0, 12), st.text(max_size=6))
def test_any_edit_of_a_valid_manifest_is_read_or_refused_in_words(at: int, cut: int, put: str) -> None:
    _read_or_refuse(VALID[:at] + put + VALID[at + cut :])


@pytest.mark.long
@settings(max_examples=100_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(_TEXT)
def test_a_hundred_thousand_texts_are_read_or_refused_in_words(text: str) -> None:
    _read_or_refuse(text)
