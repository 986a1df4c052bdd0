import fcntl
import json
import os
import struct

import pytest
import torch
from safetensors.torch import save

from harness.run import checkpoint


def memory_file(data: bytes) -> int:
    fd = checkpoint.create()
    os.write(fd, data)
    return fd


def test_a_checkpoint_is_counted_and_hashed_and_can_no_longer_be_written() -> None:
    fd = memory_file(save({"a": torch.zeros(3, 5), "b": torch.zeros(7, dtype=torch.bfloat16)}))
    sealed = checkpoint.seal(fd)
    assert sealed.parameters == 22
    with pytest.raises(PermissionError):
        os.write(fd, b"late")
    with pytest.raises(PermissionError):
        os.truncate(fd, 0)
    sealed.close()


def test_a_process_that_still_maps_the_file_for_writing_is_found_out() -> None:
    import mmap

    fd = memory_file(save({"a": torch.zeros(3)}))
    with mmap.mmap(fd, 0), pytest.raises(checkpoint.CheckpointError, match="still being written"):
        checkpoint.seal(fd)
    os.close(fd)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"short",
        struct.pack("<Q", 1 << 40) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 9) + b'{"a": 12}',
        struct.pack("<Q", 60) + b"[" * 60,
        b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system",  # a pickle
        save({"a": torch.zeros(3)}) + b"more",
        save({"a": torch.zeros(3)})[:-1],
    ],
)
def test_what_is_not_a_whole_safetensors_file_is_refused(data: bytes) -> None:
    fd = memory_file(data)
    if data == struct.pack("<Q", 2) + b"{}":  # an empty set of tensors is a whole file; loading it fails later
        os.write(fd, b"x")
    with pytest.raises(checkpoint.CheckpointError):
        checkpoint.seal(fd)
    os.close(fd)


def test_a_file_that_the_worker_sealed_against_sealing_alone_is_refused() -> None:
    fd = memory_file(save({"a": torch.zeros(3)}))
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL)  # it stays writable, and no seal can be added
    with pytest.raises(checkpoint.CheckpointError, match="sealed by the worker"):
        checkpoint.seal(fd)
    os.close(fd)


def test_what_one_stage_does_to_its_copy_is_not_seen_by_the_next() -> None:
    data = save({"a": torch.arange(5.0)})
    sealed = checkpoint.seal(memory_file(data))
    first, second = checkpoint.duplicate(sealed.fd), checkpoint.duplicate(sealed.fd)
    os.lseek(first, 7, os.SEEK_SET)
    os.fchmod(first, 0o600)
    with pytest.raises(PermissionError):
        os.pwrite(first, b"note", 0)
    assert os.lseek(second, 0, os.SEEK_CUR) == 0
    assert os.fstat(second).st_ino != os.fstat(first).st_ino
    assert os.pread(second, 1 << 20, 0) == data
    for fd in (first, second, sealed.fd):
        os.close(fd)


@pytest.mark.parametrize("extent", [-3, 1.5, "3", True, 10**30])
def test_a_shape_that_is_no_shape_is_refused(extent: object) -> None:
    head = json.dumps({"a": {"dtype": "F32", "shape": [extent], "data_offsets": [0, 12]}}).encode()
    fd = memory_file(struct.pack("<Q", len(head)) + head + bytes(12))
    with pytest.raises(checkpoint.CheckpointError):
        checkpoint.seal(fd)
    os.close(fd)


HEADERS = {
    "several weights in one number": {"a": {"dtype": "I64", "shape": [3], "data_offsets": [0, 24]}},
    "more bytes than numbers": {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 24]}},
    "a gap": {
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]},
    },
    "tensors over each other": {
        "a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]},
        "b": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]},
    },
    "a letter to the next stage": {
        "a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]},
        "__metadata__": {"note": "what the train worker saw"},
    },
    "a field that is no field": {"a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24], "note": "hello"}},
    "a name that is a letter": {"what the train worker saw": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}},
    "a name that is long": {"a" * 201: {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}},
    "a name in another script": {"\u0430": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}},
    "an empty tensor with a name": {
        "a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]},
        "seen": {"dtype": "F32", "shape": [4, 0], "data_offsets": [24, 24]},
    },
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_checkpoint_carries_what_is_counted_and_nothing_else(name: str) -> None:
    head = json.dumps(HEADERS[name]).encode()
    fd = memory_file(struct.pack("<Q", len(head)) + head + bytes(24))
    with pytest.raises(checkpoint.CheckpointError):
        checkpoint.seal(fd)
    os.close(fd)


def test_a_file_larger_than_any_checkpoint_is_refused_before_it_is_read() -> None:
    fd = checkpoint.create()
    os.truncate(fd, checkpoint.BYTES_LIMIT + 1)
    with pytest.raises(checkpoint.CheckpointError, match="the limit is 8589934592"):
        checkpoint.seal(fd)
    os.close(fd)
