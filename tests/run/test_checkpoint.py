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
