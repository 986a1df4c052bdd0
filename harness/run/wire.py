"""Frames between the judge and a worker: a small JSON header, then raw bytes of a length that the reader knows.

Both sides use this file, so it needs the standard library alone. Nothing is ever unpickled: a connection that unpickles
runs the other side's code. The reader states how many payload bytes it will take; a header that disagrees is an error,
so a worker cannot make the judge allocate or wait for more than the judge asked for.
"""

from __future__ import annotations

import json
import os
import select
import struct
import time
from collections.abc import Iterator
from typing import Any, NoReturn

HEADER_LIMIT = 65_536  # bytes; the largest honest header is below 2 kB
PIECE_BYTES = 1 << 20


class WireError(Exception):
    """The other side broke the protocol."""


class ClosedError(WireError):
    """The other side is gone."""


class SilentError(WireError):
    """The other side did not answer in time."""


def _refuse_constant(name: str) -> NoReturn:
    raise WireError(f"{name} in a header")


class Channel:
    """One end of a pair of pipes. `deadline` is a time.monotonic() value, or None to wait for ever."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self.deadline: float | None = None
        self.patience_s = 0.0  # for an answer; what the judge's side makes its deadlines of
        os.set_blocking(write_fd, False)

    def close(self) -> None:
        os.close(self._read_fd)
        os.close(self._write_fd)

    def _wait(self, fd: int, event: int) -> None:
        poll = select.poll()
        poll.register(fd, event)
        while True:
            left = None if self.deadline is None else self.deadline - time.monotonic()
            if left is not None and left <= 0:
                raise SilentError("no answer in time")
            if poll.poll(None if left is None else min(left * 1000.0, 1e6)):
                return

    def send(self, header: dict[str, Any], payload: bytes | memoryview = b"") -> None:
        """Sends one frame; raises ClosedError when nobody reads any more."""
        head = json.dumps({**header, "bytes": len(payload)}, allow_nan=False).encode()
        self._write(struct.pack("<I", len(head)) + head)
        self._write(payload)

    def _write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            self._wait(self._write_fd, select.POLLOUT)
            try:
                view = view[os.write(self._write_fd, view) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as error:
                raise ClosedError("the other side closed its pipe") from error

    def receive(self) -> dict[str, Any]:
        """One header. Call `payload` next where its "bytes" is not 0."""
        (length,) = struct.unpack("<I", self._read(4))
        if length > HEADER_LIMIT:
            raise WireError(f"a header of {length} bytes; the limit is {HEADER_LIMIT}")
        try:
            header = json.loads(self._read(length), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise WireError("a header that is not JSON") from error
        length = header.get("bytes") if isinstance(header, dict) else None
        if type(length) is not int or length < 0:
            raise WireError("a header that is not an object with its payload's length")
        return dict(header)

    def payload(self, header: dict[str, Any], size: int) -> bytes:
        """The payload of `header`, which must be exactly `size` bytes long."""
        if header["bytes"] != size:
            raise WireError(f"a payload of {str(header['bytes'])[:40]} bytes where {size} were asked for")
        return self._read(size)

    def pieces(self, header: dict[str, Any]) -> Iterator[bytes]:
        """The payload of `header`, whose length the caller has looked at, in pieces: it need not fit into memory."""
        left = header["bytes"]
        while left:
            yield self._read(min(left, PIECE_BYTES))
            left -= min(left, PIECE_BYTES)

    def _read(self, size: int) -> bytes:
        buffer = bytearray(size)
        view = memoryview(buffer)
        while view:
            self._wait(self._read_fd, select.POLLIN)
            count = os.readv(self._read_fd, [view])
            if count == 0:
                raise ClosedError("the other side closed its pipe")
            view = view[count:]
        return bytes(buffer)
