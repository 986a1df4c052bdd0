"""This machine, as it stands in a run file, and the numbers that a worker is told instead of the secrets."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path

from harness.records.record import Host

INSTRUCTION_SETS = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512 bf16", "avx512f": "AVX-512", "avx2": "AVX2"}


def threads() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def cpu_name() -> str:
    """Model and widest instruction set: rented machines call very different processors by one name."""
    facts: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    flags = set(facts.get("flags", "").split())
    widest = next((name for flag, name in INSTRUCTION_SETS.items() if flag in flags), None)
    name = facts.get("model name", platform.machine())
    return f"{name} with {widest}" if widest else name


def describe() -> Host:
    """This machine as the harness sees it; a worker's word on it is not asked for."""
    device = _cuda_device()
    return Host(
        accelerator=device[0] if device else "cpu",
        cpu=cpu_name(),
        threads=threads(),
        torch=importlib.metadata.version("torch"),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
    )


def worker_seed(secret: str, seed: int, init_key: int) -> int:
    """Seed of initialisation and dropout. The run's own seed, which also orders the data, never reaches a worker.

    Nor can it be found by trying all: the evaluation's secret, where there is one, is part of what is hashed.
    """
    return int(hashlib.sha256(f"{seed}|worker|{init_key}{secret}".encode()).hexdigest()[:8], 16)


def precision() -> str:
    """What the core's `auto` precision comes to here: bf16 where the hardware has it, else fp16 on CUDA, else fp32."""
    device = _cuda_device()
    if device is not None:
        return "bf16" if device[1] >= 8.0 else "fp16"
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    return "bf16" if {"avx512_bf16", "amx_bf16", "bf16"} & set(flags) else "fp32"  # the last one is Arm's


def visible_device() -> str:
    """Number or name of the CUDA device that torch takes, if there is one."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]


@functools.cache
def _cuda_device() -> tuple[str, float] | None:
    """Name, as torch has it too, and compute capability of the CUDA device that torch uses; None without one."""
    first = visible_device()
    if shutil.which("nvidia-smi") is None or first in ("", "-1"):
        return None
    command = ["nvidia-smi", f"--id={first}", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    name, _, capability = lines[0].partition(", ") if lines else ("", "", "")
    return (name, float(capability)) if capability.replace(".", "", 1).isdecimal() else None
