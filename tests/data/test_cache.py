import subprocess
import sys
import time

import pytest

from harness.data.cache import build_once, cache_root
from harness.errors import MachineError, UsageError


def ignore(line):
    pass


def build_slowly(folder):
    (folder / "half").write_text("half")
    time.sleep(0.5)
    (folder / "whole").write_text("whole")


PROCESS = """
import time
from harness.data.cache import build_once

def build(folder):
    print("builds", flush=True)
    time.sleep(1)
    (folder / "whole").write_text("whole")

print((build_once("key", build, print) / "whole").read_text())
"""


def test_the_cache_follows_xdg_and_falls_back_to_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_root() == tmp_path / "x" / "blueberry"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_root() == tmp_path / "home" / ".cache" / "blueberry"


def test_a_folder_is_built_once():
    def fail(folder):
        raise AssertionError("built again")

    first = build_once("key", build_slowly, ignore)
    assert build_once("key", fail, ignore) == first
    assert sorted(file.name for file in first.iterdir()) == ["half", "whole"]


def test_processes_that_prepare_at_once_build_once_and_all_get_the_whole():
    start = [sys.executable, "-c", PROCESS]
    processes = [subprocess.Popen(start, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    lines = sorted(process.communicate(timeout=60)[0].splitlines() for process in processes)
    waited = ["another process is preparing this data: waiting for it", "whole"]
    assert lines == [waited, waited, ["builds", "whole"]]


@pytest.mark.parametrize("error", [UsageError("a", "b", "c"), KeyboardInterrupt()])
def test_a_failed_build_leaves_nothing(cache, error):
    def fail(folder):
        (folder / "half").write_text("half")
        raise error

    with pytest.raises(type(error)):
        build_once("key", fail, ignore)
    assert [each.name for each in cache.iterdir()] == ["key.lock"]


def test_what_a_killed_process_left_is_cleared_away(cache):
    orphan = cache / "key.tmp-orphan"
    orphan.mkdir(parents=True)
    (orphan / "half").write_text("half")
    build_once("key", build_slowly, ignore)
    assert sorted(each.name for each in cache.iterdir()) == ["key", "key.lock"]


def test_a_cache_that_cannot_be_written_is_a_fault_of_the_machine(cache):
    cache.parent.mkdir()
    cache.write_text("a file where the folder should be")
    with pytest.raises(MachineError, match=r"cannot be written.*\n.*XDG_CACHE_HOME"):
        build_once("key", build_slowly, ignore)
