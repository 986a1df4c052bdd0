"""Zip files from elsewhere, read as hostile: names, kinds, counts and true sizes are looked at before anything is kept.

Nothing is ever unpacked to a disk from here: a zip becomes bytes by name, or an error.
"""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from harness.errors import SubmissionError, UsageError
from harness.rules import fault

MAX_FILE = 16 * 1024 * 1024  # bytes of the zip itself
MAX_ENTRY = 4 * 1024 * 1024  # bytes of one file in it
MAX_TOTAL = 64 * 1024 * 1024  # bytes of all files in it
MAX_ENTRIES = 5_000
MAX_NAME = 200
_EPOCH = (1980, 1, 1, 0, 0, 0)


def read_bounded(path: Path, limit: int = MAX_FILE) -> bytes:
    """The bytes of a file of at most `limit`; raises UsageError where it cannot be opened, SubmissionError for a larger
    one."""
    try:
        with open(path, "rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise UsageError(str(path), f"cannot be read: {error.strerror}", "name a file that is there") from None
    if len(content) > limit:
        raise SubmissionError(fault("pull-artifact", str(path), f"is larger than {limit >> 20} MiB"))
    return content


def is_zip(content: bytes) -> bool:
    return content.startswith(b"PK")


def unzip(content: bytes, where: str) -> dict[str, bytes]:
    """The files of a zip by name; raises SubmissionError for one that is not plain, small and flat in its names."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            _refuse_bad(entries, where)
            return _contents(archive, entries, where)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, ValueError, OSError) as error:
        raise SubmissionError(fault("pull-artifact", where, f"is no readable zip: {str(error)[:100]!a}")) from None


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip that holds these files and no date: equal files make equal zips."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), files[name], zipfile.ZIP_DEFLATED)
    return made.getvalue()


def _refuse_bad(entries: list[zipfile.ZipInfo], where: str) -> None:
    names = [entry.filename for entry in entries]
    if len(names) > MAX_ENTRIES:
        raise SubmissionError(fault("pull-artifact", where, f"holds {len(names)} files"))
    if len(set(names)) != len(names):
        raise SubmissionError(fault("pull-artifact", where, "holds the same name twice"))
    for entry in entries:
        said = _wrong(entry)
        if said:
            raise SubmissionError(fault("pull-artifact", f"{where}: {entry.filename[:80]!a}", said))
    if sum(entry.file_size for entry in entries) > MAX_TOTAL:
        raise SubmissionError(fault("pull-artifact", where, f"holds more than {MAX_TOTAL >> 20} MiB"))


def _wrong(entry: zipfile.ZipInfo) -> str | None:
    parts = entry.filename.split("/")
    if (
        entry.filename.startswith("/")
        or "\\" in entry.filename
        or ":" in entry.filename
        or {"", ".", ".."} & set(parts)
    ):
        return "is a name that leads elsewhere"
    if len(entry.filename) > MAX_NAME or not entry.filename.isprintable():
        return "is no plain name"
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "is no regular file"
    if entry.flag_bits & 1:
        return "is encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is compressed in a way of which Python cannot read a part"  # a few bytes of bzip2 fill a memory
    if entry.file_size > MAX_ENTRY:
        return f"says that it has {entry.file_size:,} bytes"
    return None


def _contents(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], where: str) -> dict[str, bytes]:
    """What is really in there: the sizes of a zip's directory are its maker's word."""
    files: dict[str, bytes] = {}
    left = MAX_TOTAL
    for entry in entries:
        with archive.open(entry) as file:
            content = file.read(MAX_ENTRY + 1)
        left -= len(content)
        if len(content) > MAX_ENTRY or left < 0:
            raise SubmissionError(fault("pull-artifact", f"{where}: {entry.filename[:80]!a}", "is too large"))
        files[entry.filename] = content
    return files
