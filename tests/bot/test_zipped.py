"""Zips from elsewhere: only plain, small files with plain names come out."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bot import zipped as module
from harness.bot.zipped import read_bounded, unzip, zipped
from harness.errors import SubmissionError, UsageError


def make(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def refused(content: bytes) -> str:
    with pytest.raises(SubmissionError) as caught:
        unzip(content, "a.zip")
    assert caught.value.faults[0].rule == "pull-artifact"
    return str(caught.value)


NAMES = st.lists(st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,3}\.json", fullmatch=True), unique=True, max_size=5)


@given(NAMES, st.binary(max_size=200))
def test_what_is_packed_comes_out_again(names: list[str], content: bytes) -> None:
    files = dict.fromkeys(names, content)
    assert unzip(zipped(files), "a.zip") == files
    assert zipped(files) == zipped(dict(reversed(files.items())))


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a//b", "./a", "..\\x", "C:x", "a\nb", "x" * 201])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    assert "name" in refused(make((name, b"x")))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_way_of_compressing_that_python_reads_only_as_a_whole_is_refused(method: int) -> None:
    """Some hundred bytes of it are hundreds of megabytes, whatever the zip says of its sizes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        archive.writestr("a", bytes(1 << 10))
    assert "cannot read a part" in refused(made.getvalue())


def test_a_link_is_refused() -> None:
    link = zipfile.ZipInfo("a")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert "no regular file" in refused(make((link, b"/etc/passwd")))


def test_a_gigabyte_in_a_small_zip_is_refused_by_its_own_word() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("bomb", "w") as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
    content = made.getvalue()
    claimed = (1 << 30).to_bytes(4, "little")
    assert len(content) < 100_000
    assert "bytes" in refused(content.replace((64 << 20).to_bytes(4, "little"), claimed))


def test_a_bomb_that_understates_its_size_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    content = make(("bomb", bytes(1 << 20)))
    lied = content.replace((1 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert lied != content
    monkeypatch.setattr(module, "MAX_ENTRY", 1 << 10)
    refused(lied)


def test_many_files_and_much_in_all_of_them_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    assert "4 files" in refused(make(*((str(number), b"") for number in range(4))))
    monkeypatch.setattr(module, "MAX_TOTAL", 10)
    assert "more than" in refused(make(("a", b"123456"), ("b", b"123456")))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_same_name_twice_is_refused() -> None:
    assert "twice" in refused(make(("a", b"1"), ("a", b"2")))


@given(st.binary(max_size=300))
def test_no_bytes_are_a_fault_of_the_reader(content: bytes) -> None:
    for tried in (content, b"PK" + content, make(("a", b"1"))[: len(content)] + content):
        try:
            unzip(tried, "a.zip")
        except SubmissionError:
            continue


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "big", "wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(SubmissionError, match="larger than"):
        read_bounded(tmp_path / "big")


def test_a_path_that_cannot_be_opened_is_the_fault_of_who_typed_it(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(UsageError, match=r"cannot be read: .*\n.*name a file that is there"):
            read_bounded(path)
