import os
import struct
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.run import wire


@pytest.fixture
def ends() -> Iterator[tuple[wire.Channel, wire.Channel]]:
    left_read, right_write = os.pipe()
    right_read, left_write = os.pipe()
    left, right = wire.Channel(left_read, left_write), wire.Channel(right_read, right_write)
    for end in (left, right):
        end.deadline = time.monotonic() + 5
    yield left, right
    for end in (left, right):
        end.close()


def reader_of(data: bytes) -> wire.Channel:
    """A channel whose other side sent `data` and went away."""
    read_fd, write_fd = os.pipe()
    os.write(write_fd, data)
    os.close(write_fd)
    channel = wire.Channel(read_fd, os.open(os.devnull, os.O_WRONLY))
    channel.deadline = time.monotonic() + 5
    return channel


def frame(body: bytes) -> bytes:
    return struct.pack("<I", len(body)) + body


def test_a_frame_arrives_as_it_was_sent(ends: tuple[wire.Channel, wire.Channel]) -> None:
    left, right = ends
    left.send({"kind": "rows", "rows": 2}, b"abcd")
    header = right.receive()
    assert header == {"kind": "rows", "rows": 2, "bytes": 4}
    assert right.payload(header, 4) == b"abcd"


def test_a_payload_of_another_length_than_asked_for_is_an_error(ends: tuple[wire.Channel, wire.Channel]) -> None:
    left, right = ends
    left.send({"kind": "scores"}, b"abcd")
    with pytest.raises(wire.WireError, match="4 bytes where 8"):
        right.payload(right.receive(), 8)


def test_a_silent_peer_is_left_at_the_deadline(ends: tuple[wire.Channel, wire.Channel]) -> None:
    left, _ = ends
    left.deadline = time.monotonic() + 0.05
    with pytest.raises(wire.SilentError):
        left.receive()


def test_a_peer_that_never_reads_is_left_at_the_deadline(ends: tuple[wire.Channel, wire.Channel]) -> None:
    left, _ = ends
    left.deadline = time.monotonic() + 0.05
    with pytest.raises(wire.SilentError):
        left.send({"kind": "tokens"}, bytes(1 << 20))  # more than a pipe holds


def test_a_peer_that_ends_in_the_middle_of_a_frame_is_noticed() -> None:
    channel = reader_of(frame(b'{"kind": "done", "bytes": 0}')[:10])
    with pytest.raises(wire.ClosedError):
        channel.receive()


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe",
        b"[1, 2]",
        b'"text"',
        b'{"kind": "take"}',
        b'{"kind": "take", "bytes": 1.5}',
        b'{"kind": "drawn", "bytes": -1}',
        b'{"kind": "drawn", "bytes": true}',
        b'{"bytes": NaN}',
        b'{"bytes": 0, "loss": Infinity}',
        b"[" * 60_000,
        b'{"bytes": 1' + b"0" * 5_000 + b"}",
    ],
)
def test_a_malformed_header_is_one_error_and_never_a_crash(body: bytes) -> None:
    channel = reader_of(frame(body)[:65_000])
    with pytest.raises(wire.WireError):
        channel.receive()


def test_a_header_that_claims_to_be_huge_is_refused_before_it_is_read() -> None:
    with pytest.raises(wire.WireError, match="the limit is"):
        reader_of(struct.pack("<I", 0xFFFFFFFF)).receive()


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_end_in_a_header_or_a_wire_error(data: bytes) -> None:
    channel = reader_of(data)
    try:
        header = channel.receive()
    except wire.WireError:
        return
    finally:
        channel.close()
    assert type(header["bytes"]) is int and header["bytes"] >= 0
