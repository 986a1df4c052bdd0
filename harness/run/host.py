"""This machine, as it stands in a run file, and the numbers that a worker is told instead of the secrets."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path

from harness.records.record import Host


def threads() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def describe(accelerator: str = "cpu") -> Host:
    return Host(
        accelerator=accelerator,
        cpu=cpu_name(),
        threads=threads(),
        torch=importlib.metadata.version("torch"),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
    )


def worker_seed(seed: int, init_key: int) -> int:
    """Seed of initialisation and dropout. The run's own seed, which also orders the data, never reaches a worker."""
    return int(hashlib.sha256(f"{seed}|worker|{init_key}".encode()).hexdigest()[:8], 16)


def precision() -> str:
    """What the core's `auto` precision comes to here: bf16 where the hardware has it, else fp16 on CUDA, else fp32."""
    capability = _compute_capability()
    if capability is not None:
        return "bf16" if capability >= 8.0 else "fp16"
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    return "bf16" if {"avx512_bf16", "amx_bf16"} & set(flags) else "fp32"


def _compute_capability() -> float | None:
    """Of the first CUDA device; None without one."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return float(lines[0]) if lines else None
