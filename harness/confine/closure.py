"""What of this machine a worker may read: the interpreter, shared libraries, and of the Python packages torch's own.

An allow-list: other packages hold data that tracks are made of (docstrings, digits), and whatever else is installed.
"""

from __future__ import annotations

import functools
import os
import site
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOTS = ("torch", "numpy", "safetensors")
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
SETTINGS = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives")
HARDWARE = ("/sys/devices/system/cpu", "/sys/devices/system/node")


def distributions() -> dict[str, metadata.Distribution]:
    """The installed distributions that torch and the worker's own code need, by canonical name."""
    found: dict[str, metadata.Distribution] = {}
    wanted = list(ROOTS)
    while wanted:
        name = canonicalize_name(wanted.pop())
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # of another platform, or optional
            continue
        requirements = map(Requirement, found[name].requires or ())
        wanted += [r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


@functools.cache
def packages() -> tuple[Path, ...]:
    """Files and folders, directly in a folder of packages, that belong to these distributions."""
    found: set[Path] = set()
    for distribution in distributions().values():
        for file in distribution.files or ():
            if file.parts[0] not in ("..", "__pycache__"):
                found.add(Path(str(distribution.locate_file(file.parts[0]))))
    return tuple(sorted(path for path in found if path.exists()))


def interpreter() -> tuple[Path, ...]:
    """The folders and files of Python itself: the installation, and of a virtual environment what makes it one."""
    base, prefix = Path(sys.base_prefix), Path(sys.prefix)
    if base == prefix:
        return (base,)
    return (base, *sorted((prefix / "bin").glob("python*")), prefix / "pyvenv.cfg")


def trees() -> tuple[Path, ...]:
    """Folders of which a worker may read everything, but for the packages in them."""
    places = {place.resolve() for place in (*map(Path, SYSTEM), *interpreter())}
    return tuple(sorted(place for place in places if place.is_dir()))


def package_folders() -> tuple[Path, ...]:
    """Every folder that packages may be installed in, of the environment and of the interpreter below it."""
    folders = {Path(folder) for folder in site.getsitepackages()}
    folders.update(Path(sysconfig.get_paths(vars={"base": sys.base_prefix})[key]) for key in ("purelib", "platlib"))
    for prefix in (sys.base_prefix, "/usr", "/usr/local"):
        folders.update(Path(prefix).glob("lib*/python3*/[ds]i[st][te]-packages"))
    conda = (Path(sys.base_prefix) / name for name in ("pkgs", "envs"))
    folders.update(folder for folder in conda if not Path(sys.prefix).is_relative_to(folder))
    return tuple(sorted(folder for folder in folders if folder.is_dir()))


def devices() -> tuple[Path, ...]:
    """Device nodes of GPUs."""
    found = [*Path("/dev").glob("nvidia*"), *Path("/dev").glob("dri/*"), *Path("/dev").glob("kfd")]
    return tuple(sorted(found)) if os.environ.get("CUDA_VISIBLE_DEVICES") != "" else ()
