"""What this machine can do, found by looking and not by guessing, and what to install where something is missing."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.run import host, sandbox

NEEDED_DISK_BYTES = 2 << 30
NEEDED_MEMORY_BYTES = 4 << 30


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    subject: str
    ok: bool
    found: str
    fix: str = ""  # what to do, where something is missing


def examine(root: Path, cache: Path) -> tuple[Finding, ...]:
    """Everything that a run will depend on."""
    return (
        _torch(),
        _devices(),
        Finding("precision", True, host.precision()),
        _memory(),
        _disk("store", root),
        _disk("data cache", cache),
        _git(),
        _sandbox(),
    )


def _torch() -> Finding:
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return Finding("torch", False, "not installed", "make setup")
    return Finding("torch", True, version)


def _devices() -> Finding:
    cpu = f"{host.cpu_name()}, {host.threads()} threads"
    if shutil.which("nvidia-smi") is None:
        return Finding("devices", True, f"{cpu}; no GPU: the tiny tracks run here, the full ones do not")
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    if listed.returncode:
        return Finding("devices", False, f"{cpu}; nvidia-smi fails", "mend the NVIDIA driver")
    return Finding("devices", True, f"{cpu}; " + "; ".join(listed.stdout.strip().splitlines()))


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    enough = total >= NEEDED_MEMORY_BYTES
    return Finding("memory", enough, f"{total / 2**30:.0f} GiB", "" if enough else "4 GiB are needed for llm-tiny")


def _disk(subject: str, folder: Path) -> Finding:
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(existing).free
    writable = os.access(existing, os.W_OK)
    found = f"{folder}: {free / 2**30:.1f} GiB free{'' if writable else ', not writable'}"
    ok = writable and free >= NEEDED_DISK_BYTES
    return Finding(subject, ok, found, "" if ok else "free 2 GiB, or make the folder writable")


def _git() -> Finding:
    if shutil.which("git") is None:
        return Finding("git", False, "not installed", "install git (Debian: apt-get install git)")
    version = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return Finding("git", True, version)


def _sandbox() -> Finding:
    name = sandbox.name()
    tried = [f"{backend} does not: {trouble}" for backend, trouble in sandbox.examined() if trouble]
    if name == "none":
        found = "none works, so run only patches that you have read: " + "; ".join(tried)
        return Finding("sandbox", False, found, sandbox.mend())
    if exposed := sandbox.exposed():
        return Finding("sandbox", False, f"{name} works, but {exposed}", sandbox.MOVE)
    return Finding("sandbox", True, "; ".join([f"{name} works", *tried]), sandbox.mend())
