"""The memory file that carries a checkpoint from one worker to the next, and the little that the judge reads of it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import re
import struct
from dataclasses import dataclass

HEADER_LIMIT = 1_000_000  # bytes of safetensors header that the judge will read
BYTES_LIMIT = 8 << 30  # the largest model of a track takes less than one
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


NAME = re.compile(r"[\w.]{1,200}", re.ASCII)  # of a tensor: a longer or freer one has room for a letter
BYTES = {"F32": 4, "F16": 2, "BF16": 2}  # of one number: what could hold several of them is no weight


@dataclass(frozen=True)
class _Tensor:
    """What a safetensors header says of one; anything else in the header has no place there."""

    dtype: str
    shape: list[int]
    data_offsets: list[int]


class CheckpointError(Exception):
    """The file that the worker left is not a safetensors checkpoint."""


@dataclass(frozen=True)
class Checkpoint:
    """A sealed checkpoint: nobody can change it any more, the judge included."""

    fd: int
    sha256: str
    parameters: int

    def close(self) -> None:
        os.close(self.fd)


def create() -> int:
    """Descriptor of an empty memory file that can be sealed."""
    return os.memfd_create("checkpoint", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def freeze(fd: int) -> None:
    """No byte of it can change from here on; raises CheckpointError while anybody maps it for writing.

    A worker may have sealed it itself, and only against further seals: what counts is that all of them are there.
    """
    try:
        if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEALS != SEALS:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    except OSError as error:
        raise CheckpointError("it is still being written after the run ended, or was sealed by the worker") from error


def duplicate(fd: int) -> int:
    """A frozen copy in a memory file of its own.

    Every stage gets one: on a shared file a scorer could leave word for the auditor in the offset or the metadata.
    """
    copy = create()
    size = os.fstat(fd).st_size
    for offset in range(0, size, 1 << 24):
        os.pwrite(copy, os.pread(fd, 1 << 24, offset), offset)
    freeze(copy)
    return copy


def seal(fd: int) -> Checkpoint:
    """Freezes, hashes and counts. Raises CheckpointError when it is no checkpoint."""
    freeze(fd)
    size = os.fstat(fd).st_size
    if size > BYTES_LIMIT:
        raise CheckpointError(f"{size} bytes; the limit is {BYTES_LIMIT}")
    parameters = _count_parameters(fd, size)
    digest = hashlib.sha256()
    for offset in range(0, size, 1 << 24):
        digest.update(os.pread(fd, 1 << 24, offset))
    return Checkpoint(fd, digest.hexdigest(), parameters)


def _count_parameters(fd: int, size: int) -> int:
    if size < 8:
        raise CheckpointError("no checkpoint was written")
    (length,) = struct.unpack("<Q", os.pread(fd, 8, 0))
    if length > min(HEADER_LIMIT, size - 8):
        raise CheckpointError(f"a header of {length} bytes")
    try:
        header = json.loads(os.pread(fd, length, 8))
        tensors = [_Tensor(**entry) for entry in header.values()]
        if any(type(extent) is not int or extent < 0 for tensor in tensors for extent in tensor.shape):
            raise ValueError("an extent that is no size")
        if any(0 in tensor.shape for tensor in tensors):
            raise CheckpointError("its tensors must not be empty: what is not counted has no place in it")
        if not all(NAME.fullmatch(name) for name in header):
            raise CheckpointError("the names of its tensors must be of 1 to 200 letters, digits, dots and _")
        if any(tensor.dtype not in BYTES for tensor in tensors):
            raise CheckpointError(f"its tensors must be of type {', '.join(BYTES)}: they are what is counted")
        end = 0
        for tensor in sorted(tensors, key=lambda tensor: tensor.data_offsets):
            first, end_before = tensor.data_offsets[0], end
            end = first + math.prod(tensor.shape) * BYTES[tensor.dtype]
            if [end_before, end] != list(tensor.data_offsets):
                raise CheckpointError("its tensors overlap, or leave gaps between them")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise CheckpointError("its header is not that of a safetensors file") from error
    if not tensors or end + 8 + length != size:
        raise CheckpointError("its length is not what its header says")
    return sum(math.prod(tensor.shape) for tensor in tensors)
