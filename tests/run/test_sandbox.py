"""What a worker can reach, asked from inside: the same questions to every backend, in real processes."""

from __future__ import annotations

import errno
import json
import os
import queue
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cli import generate, submissions
from harness.confine import bubblewrap, closure, seccomp, watch
from harness.confine.job import ENTER, orders, python
from harness.errors import MachineError
from harness.run import doctor, sandbox
from tests.conftest import REPOSITORY

BACKENDS = [
    pytest.param(backend, marks=pytest.mark.skipif(bool(trouble), reason=f"{backend}: {trouble}"))
    for backend, trouble in sandbox.examined()
]
PREAMBLE = """
import ctypes, json, os, signal, socket, subprocess, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def tried(attempt):
    try: return ["open", str(attempt())[:200]]
    except BaseException as error: return ["closed", type(error).__name__]
def called(number, *arguments):
    if libc.syscall(number, *arguments) < 0: raise OSError(ctypes.get_errno(), "refused")
def say(value): print(json.dumps(value), flush=True)
"""
Inside = Callable[..., Any]


def start(folder: Path, body: str, backend: Any, descriptors: tuple[int, ...] = ()) -> sandbox.Worker:
    """A worker with this program."""
    arm = folder / f"arm-{time.monotonic_ns()}"
    arm.mkdir()
    for place in (arm, *arm.parents):
        if place.stat().st_uid == os.geteuid() and place != Path("/tmp"):
            place.chmod(place.stat().st_mode | 0o055)
    (arm / "worker.py").write_text(PREAMBLE + body)
    return sandbox.launch(arm, descriptors, 1, backend=backend)


def heard(worker: sandbox.Worker, word: str) -> None:
    """Waits until it has said so, for a while."""
    deadline = time.monotonic() + 20
    while word not in worker.printed and time.monotonic() < deadline:
        time.sleep(0.02)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def inside(tmp_path: Path, backend: str) -> Inside:
    """Runs a program in the sandbox and gives what it said last."""

    def run(body: str, *, seconds: float = 30.0, descriptors: tuple[int, ...] = ()) -> Any:
        worker = start(tmp_path, body, backend, descriptors)
        try:
            worker.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            worker.kill()
            raise
        worker.kill()
        lines = worker.printed.strip().splitlines()
        assert lines, "it said nothing"
        return json.loads(lines[-1])

    return run


@pytest.mark.skipif(os.environ.get("GITHUB_ACTIONS") != "true", reason="elsewhere one may do without")
def test_in_ci_no_backend_is_missing_so_that_no_test_of_it_is_left_out() -> None:
    assert dict(sandbox.examined()) == dict.fromkeys(sandbox.BACKENDS, "")


@pytest.mark.parametrize(("backend", "trouble"), sandbox.examined())
def test_a_backend_that_starts_leaves_no_door_open(backend: str, trouble: str) -> None:
    """Where a trial finds one, the tests of that backend would be left out."""
    assert not trouble.startswith("it could "), backend


def test_whoever_has_bubblewrap_is_not_told_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "trouble", lambda backend: "setting up uid map: Permission denied")
    monkeypatch.setattr(bubblewrap, "program", lambda: "/usr/bin/bwrap")
    assert "apparmor" in sandbox.mend()
    monkeypatch.setattr(bubblewrap, "program", lambda: None)
    assert "apt-get install bubblewrap" in sandbox.mend()


def test_the_network_is_closed(inside: Inside) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port, datagrams = server.getsockname()[1], other.getsockname()[1]
        found = inside(f"""
say({{
    "tcp": tried(lambda: socket.create_connection(("127.0.0.1", {port}), 2)),
    "udp": tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", {datagrams}))),
    "away": tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53))),
    "dns": tried(lambda: socket.getaddrinfo("example.org", 80)),
    "metadata": tried(lambda: socket.create_connection(("169.254.169.254", 80), 2)),
}})
""")
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(1)
    del found["udp"]  # may have gone to a loopback of its own
    assert {name: state for name, (state, _) in found.items()} == dict.fromkeys(found, "closed")


def test_sockets_that_no_network_namespace_holds_are_refused_by_the_filter(inside: Inside) -> None:
    """To the host of a virtual machine, into the kernel's ciphers, and whatever else there is: not for want of it."""
    found = inside("""
def refusal(family):
    try: socket.socket(family, socket.SOCK_SEQPACKET).close()
    except OSError as error: return error.errno
say({family: refusal(family) for family in (9, 38, 40, 44)})
""")
    assert found == dict.fromkeys(("9", "38", "40", "44"), errno.EPERM)


def test_where_memory_runs_out_a_worker_goes_before_its_judge(inside: Inside) -> None:
    assert inside("say(open('/proc/self/oom_score_adj').read().strip())") == "1000"


def test_abstract_sockets_of_others_are_closed(inside: Inside) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0blueberry-test")
        server.listen()
        found = inside("say(tried(lambda: socket.socket(socket.AF_UNIX).connect('\\0blueberry-test')))")
    assert found[0] == "closed"


def test_files_of_the_machine_are_closed_and_the_arm_is_read_only(inside: Inside, tmp_path: Path) -> None:
    secret = tmp_path / "validation.npy"
    secret.write_text("held out")
    secret.chmod(0o644)
    repository = Path(sandbox.__file__).parent.parent
    found = inside(f"""
here = os.path.dirname(os.path.abspath(__file__))
say({{
    "held out": tried(lambda: open({str(secret)!r}).read()),
    "passwords": tried(lambda: open("/etc/passwd").read()),
    "home": tried(lambda: os.listdir({str(Path.home() / ".cache")!r})),
    "harness": tried(lambda: open({str(repository / "tracks.py")!r}).read()),
    "write harness": tried(lambda: open({str(repository / "tracks.py")!r}, "a")),
    "write arm": tried(lambda: open(os.path.join(here, "x"), "w")),
    "write usr": tried(lambda: open("/usr/lib/x", "w")),
    "write python": tried(lambda: open(os.path.join(os.path.dirname(os.__file__), "x.py"), "w")),
    "docker": tried(lambda: open("/var/run/docker.sock")),
}})
""")
    assert {name: state for name, (state, _) in found.items()} == dict.fromkeys(found, "closed")


def test_nothing_can_be_left_in_memory_for_the_next_stage(inside: Inside) -> None:
    found = inside("""
libc.shmget.restype = ctypes.c_int
def refused(name, *arguments):
    if getattr(libc, name)(*arguments) < 0: raise OSError(ctypes.get_errno(), "refused")
path = os.path.abspath(__file__).encode()
descriptor = os.open(path, os.O_RDONLY)
say({
    "shared memory": tried(lambda: refused("shmget", 0xB1EB, 4096, 0o1666)),
    "semaphores": tried(lambda: refused("semget", 0xB1EB, 1, 0o1666)),
    "messages": tried(lambda: refused("msgget", 0xB1EB, 0o1666)),
    "posix messages": tried(lambda: refused("mq_open", b"/b1eb", os.O_CREAT | os.O_RDWR, 0o666, None)),
    "out of the page cache": tried(lambda: os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)),
    "what is in the page cache": tried(lambda: os.preadv(descriptor, [bytearray(1)], 0, os.RWF_NOWAIT)),
})
""")
    assert {name: state for name, (state, _) in found.items()} == dict.fromkeys(found, "closed")


def test_a_file_cannot_be_marked_for_the_next_stage(inside: Inside) -> None:
    """By its mode, times, attributes or flags, or by which of its pages are in memory: also by whoever owns it."""
    found = inside("""
import fcntl, mmap, struct
path = os.path.abspath(__file__)
descriptor = os.open(path, os.O_RDONLY)
def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0: raise OSError(ctypes.get_errno(), "refused")
def advised(advice):
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as content: content.madvise(advice)
say({
    "mode": tried(lambda: os.chmod(path, 0o640)),
    "mode of what is open": tried(lambda: os.fchmod(descriptor, 0o640)),
    "mode of the folder": tried(lambda: os.chmod(os.path.dirname(path), 0o750)),
    "times": tried(lambda: os.utime(path, (1, 1))),
    "times of what is open": tried(lambda: os.utime(descriptor, (1, 1))),
    "attribute": tried(lambda: os.setxattr(path, "user.mark", b"x")),
    "attribute of what is open": tried(lambda: os.setxattr(descriptor, "user.mark", b"x")),
    "owner": tried(lambda: os.chown(path, os.getuid(), os.getgid())),
    "flags": tried(lambda: fcntl.ioctl(descriptor, 0x40086602, struct.pack("q", 0x40))),
    "cold": tried(lambda: advised(20)),
    "out of memory": tried(lambda: advised(21)),
    "counters of the machine": tried(lambda: open("/proc/vmstat").read() and 1 / len(open("/proc/vmstat").read())),
})
""")
    assert {name: state for name, (state, _) in found.items()} == dict.fromkeys(found, "closed")


def test_what_ends_a_worker_cannot_be_held_up_by_it(inside: Inside) -> None:
    """The first process of its namespace, or the judge: not its priority, its processors, its limits."""
    found = inside("""
import resource
parent = os.getppid()
say({
    "priority": tried(lambda: os.setpriority(os.PRIO_PROCESS, parent, 19)),
    "scheduler": tried(lambda: os.sched_setscheduler(parent, os.SCHED_IDLE, os.sched_param(0))),
    "processors": tried(lambda: os.sched_setaffinity(parent, {0})),
    "limits": tried(lambda: resource.prlimit(parent, resource.RLIMIT_NPROC, (1, 1))),
})
""")
    assert {name: state for name, (state, _) in found.items()} == dict.fromkeys(found, "closed")


def test_only_what_is_bounded_can_be_written(inside: Inside) -> None:
    found = inside("""
def written(folder):
    with open(os.path.join(folder, "x"), "w") as file: file.write("x")
say({folder: tried(lambda: written(folder)) for folder in ("/", "/dev", "/proc/1", "/proc", "/usr")})
""")
    assert {name: state for name, (state, _) in found.items()} == dict.fromkeys(found, "closed")


def test_folders_too_deep_or_barred_neither_break_the_watch_nor_stay(tmp_path: Path, backend: str) -> None:
    worker = start(
        tmp_path,
        """
os.chdir(os.environ["HOME"])
for _ in range(1_300):
    os.mkdir("d"); os.chdir("d")
os.chdir(os.environ["HOME"])
os.mkdir("barred"); open("barred/x", "w").close(); os.mkdir("unlisted", 0o300); open("unlisted/x", "w").close()
say("made")
time.sleep(60)
""",
        backend,
    )
    heard(worker, "made")
    time.sleep(3 * watch.LOOK_EVERY_S)
    assert "made" in worker.printed and worker.process.poll() is None, worker.printed
    worker.kill()
    assert not worker.over and [path for path in tmp_path.iterdir() if path.name.startswith("home-")] == []


def test_a_share_that_cannot_be_read_counts_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that makes itself undumpable hides what it shares from whoever is not root."""
    held = bytearray(os.urandom(64 << 20))
    monkeypatch.setattr(Path, "read_text", _without("smaps_rollup", Path.read_text))
    assert watch.memory_of([os.getpid()], len(held))


def many() -> list[int]:
    return list(range(1 << 23, (1 << 23) + 65))  # beyond what a process can be numbered


def broken() -> list[int]:
    raise RecursionError


@pytest.mark.parametrize("processes", [many, broken])
def test_too_many_processes_and_a_broken_watch_end_a_worker(processes: Callable[[], list[int]]) -> None:
    ended: queue.Queue[bool] = queue.Queue()
    dog = watch.Watchdog(processes, watch.Bounds(1 << 60, 64), ended.put)
    assert ended.get(timeout=20) is True
    dog.stop()


def _without(name: str, read: Callable[..., str]) -> Callable[..., str]:
    def reading(path: Path, *arguments: Any) -> str:
        if path.name == name:
            raise PermissionError(errno.EACCES, "not for you")
        return read(path, *arguments)

    return reading


def test_a_worker_of_which_something_stays_ends_the_run_and_not_in_silence(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "KILL_LIMIT_S", 0.1)
    worker = start(tmp_path, "time.sleep(60)\n", backend)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        monkeypatch.setattr(worker, "processes", lambda: [other.pid])
        monkeypatch.setattr(os, "kill", lambda *_: None)  # as one that the kernel cannot end yet
        with pytest.raises(MachineError, match="1 processes of a worker are there"):
            worker.kill()
        monkeypatch.undo()
        other.kill()


def test_packages_that_hold_data_cannot_be_read_and_torch_can(inside: Inside) -> None:
    found = inside("""
import importlib
held = ("sklearn", "scipy", "pandas", "transformers", "matplotlib", "datasets", "huggingface_hub", "pip", "harness")
def found(name):
    module = importlib.import_module(name)
    return open(module.__file__).read()
say({**{name: tried(lambda name=name: found(name)) for name in held},
    "torch": tried(lambda: importlib.import_module("torch").ones(2).sum().item()),
    "safetensors": tried(lambda: importlib.import_module("safetensors.torch").save({}))})
""")
    assert found.pop("torch") == ["open", "2.0"] and found.pop("safetensors")[0] == "open"
    assert {name: state for name, (state, _) in found.items()} == dict.fromkeys(found, "closed")


def test_no_other_package_of_any_python_here_can_be_read_by_its_path(inside: Inside) -> None:
    others = []
    for folder in closure.package_folders():
        files = (file for file in sorted(folder.rglob("*.py")) if not _shown(file))
        others += [str(file) for file in [next(files, None)] if file is not None]
    found = inside(f"say([tried(lambda: open(path).read())[0] for path in {others!r}])")
    assert others and set(found) == {"closed"}


def _shown(file: Path) -> bool:
    return any(package in (file, *file.parents) for package in closure.packages())


def test_the_allow_list_of_packages_is_torch_and_what_it_needs() -> None:
    names = set(closure.distributions())
    assert {"torch", "numpy", "safetensors", "sympy"} <= names
    assert not names & {"scipy", "pandas", "scikit-learn", "transformers", "datasets", "matplotlib", "huggingface-hub"}


def test_the_environment_is_nearly_empty_and_the_home_is_its_own(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLUEBERRY_GITHUB_TOKEN", "secret")
    found = inside("""
open(os.path.join(os.environ["HOME"], "note"), "w").write("x")
say([sorted(os.environ), os.environ["HOME"], tried(lambda: os.listdir(os.environ["HOME"]))])
""")
    names, home, listed = found
    assert "BLUEBERRY_GITHUB_TOKEN" not in names and len(names) < 15
    assert "note" in listed[1] and not (Path(home) / "note").exists()


def test_other_processes_can_neither_be_seen_nor_signalled_nor_traced(inside: Inside, backend: str) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as victim:
        found = inside(f"""
say({{
    "signal": tried(lambda: os.kill({victim.pid}, signal.SIGKILL)),
    "judge": tried(lambda: os.kill({os.getpid()}, signal.SIGTERM)),
    "memory": tried(lambda: open("/proc/{victim.pid}/mem", "rb")),
    "environment": tried(lambda: open("/proc/{os.getpid()}/environ").read()),
    "descriptors": tried(lambda: os.listdir("/proc/{os.getpid()}/fd")),
    "trace": tried(lambda: called(101, 16, {victim.pid}, 0, 0)),
    "parent's environment": tried(lambda: open(f"/proc/{{os.getppid()}}/environ").read()),
    "parent's memory": tried(lambda: open(f"/proc/{{os.getppid()}}/mem", "r+b")),
    "parent's memory by its thread": tried(lambda: open(f"/proc/{{os.getppid()}}/task/{{os.getppid()}}/mem", "r+b")),
    "parent's descriptors": tried(lambda: os.listdir(f"/proc/{{os.getppid()}}/fd")),
}})
""")
        assert victim.poll() is None
        victim.kill()
    assert {name: state for name, (state, _) in found.items()} == dict.fromkeys(found, "closed")


def test_where_only_the_filter_stands_between_them_a_worker_signals_nobody_but_itself() -> None:
    """As an ordinary user's worker under a Landlock that knows no scopes: the same user as the judge, no namespace."""
    if os.uname().machine not in seccomp.ARCHITECTURES:
        pytest.skip("no system call numbers")
    told = orders(None, 64, None, seccomp.program(namespaces=False, signals=False))
    body = """
import fcntl, threading
other = int(sys.argv[1])
mine, signalled = os.getpid(), []
signal.signal(signal.SIGUSR1, lambda *_: signalled.append(1))
reading, _ = os.pipe()
def owner(command, whom): fcntl.fcntl(reading, command, whom)
say({
    "signal": tried(lambda: os.kill(other, 0)),
    "everybody": tried(lambda: os.kill(-1, 0)),
    "another group": tried(lambda: os.kill(-other, 0)),
    "queued": tried(lambda: called(129, other, 0, ctypes.create_string_buffer(128))),
    "to a thread": tried(lambda: called(234, other, other, 0)),
    "about a descriptor": tried(lambda: owner(fcntl.F_SETOWN, other)),
    "by a descriptor": tried(lambda: signal.pidfd_send_signal(os.pidfd_open(other), 0)),
    "itself": tried(lambda: os.kill(mine, signal.SIGUSR1)),
    "raised": tried(lambda: signal.raise_signal(signal.SIGUSR1)),
    "its own group": tried(lambda: os.kill(0, 0)),
    "its own group by number": tried(lambda: os.killpg(mine, 0)),
})
"""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True) as other:
        command = python(str(ENTER), told, ["-c", PREAMBLE + body, str(other.pid)])
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, start_new_session=True, check=True)
        other.kill()
    found = {name: state for name, (state, _) in json.loads(done.stdout).items()}
    allowed = ("itself", "raised", "its own group", "its own group by number")
    assert found == {name: "open" if name in allowed else "closed" for name in found}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64")
def test_calls_that_reach_the_kernel_are_refused(inside: Inside) -> None:
    numbers = {
        "unshare user": (272, 0x10000000),
        "clone user": (56, 0x10000000 | 17, 0, 0, 0, 0),
        "mount": (165, 0, 0, 0, 0, 0),
        "bpf": (321, 0, 0, 0),
        "io_uring": (425, 1, 0),
        "userfaultfd": (323, 0),
        "perf": (298, 0, 0, -1, -1, 0),
        "keyring": (250, 0, -3, 0),
        "module": (313, 0, 0, 0),
        "clock": (227, 0, 0),
        "x32": (0x40000000 + 39,),
    }
    found = inside(f"say({{name: tried(lambda c=c: called(*c)) for name, c in {numbers!r}.items()}})")
    assert {name: state for name, (state, _) in found.items()} == dict.fromkeys(found, "closed")


def test_no_capability_is_left_and_none_can_be_had(inside: Inside, backend: str) -> None:
    found = inside("""
lines = [line.split() for line in open("/proc/self/status") if line.startswith(("Cap", "NoNew", "Seccomp:"))]
say([{line[0]: line[1] for line in lines},
    tried(lambda: os.chown(os.environ["HOME"], 1, 1)), tried(lambda: os.setgroups([0]))])
""")
    status, chown, groups = found
    assert status["CapEff:"] == status["CapPrm:"] == "0000000000000000"
    if os.geteuid() == 0 or backend == "bubblewrap":  # nobody else may empty it; NoNewPrivs makes it worthless
        assert status["CapBnd:"] == "0000000000000000"
    assert status["NoNewPrivs:"] == "1" and status["Seccomp:"] == "2"
    assert chown[0] == groups[0] == "closed"


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user has none to give up")
def test_a_root_that_has_to_stay_root_has_no_capability_left() -> None:
    """As under Landlock where no other user could reach the interpreter."""
    told = orders(None, 64, None, None)
    body = 'say([line.split()[1] for line in open("/proc/self/status") if line.startswith("Cap")] + [os.getuid()])'
    done = subprocess.run(python(str(ENTER), told, ["-c", PREAMBLE + body]), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["0" * 16] * 5 + [0]


def test_threads_processes_and_compilers_of_honest_code_work(inside: Inside) -> None:
    found = inside("""
import threading
thread = threading.Thread(target=lambda: None); thread.start(); thread.join()
child = os.fork()
if child == 0: os._exit(7)
say([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]),
    tried(lambda: subprocess.run(["/bin/true"], check=True).returncode),
    tried(lambda: open(os.environ["TMPDIR"] + "/kernel.py", "w").write("x = 1"))])
""")
    assert found == [7, ["open", "0"], ["open", "5"]]


def test_a_descriptor_that_is_given_is_there_and_no_other(inside: Inside) -> None:
    given, own = os.memfd_create("given"), os.memfd_create("own", 0)
    os.set_inheritable(own, True)
    found = inside(
        f"""
open("/proc/self/fd/{given}", "wb").write(b"weights")
say([sys.argv[1], tried(lambda: os.fstat({own}))[0]])
""",
        descriptors=(given,),
    )
    assert found == [str(given), "closed"]
    assert os.pread(given, 100, 0) == b"weights"
    os.close(given)
    os.close(own)


def test_an_ordinary_users_threads_are_counted_as_the_kernel_counts_them() -> None:
    """By trying: with a limit of one more than there are, a process of two may start one thread and no second."""
    body = """
import resource, threading
from harness.confine import watch
stop = threading.Event()
threading.Thread(target=stop.wait, daemon=True).start()
resource.setrlimit(resource.RLIMIT_NPROC, (watch.threads_of_this_user() + 1,) * 2)
for _ in range(2):
    try: threading.Thread(target=stop.wait, daemon=True).start(); print("started")
    except RuntimeError: print("refused")
"""
    if os.geteuid() == 0:
        pytest.skip("root has no such limit")
    done = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["started", "refused"]


def test_everything_that_a_worker_started_is_gone_when_it_is_killed(tmp_path: Path, backend: str) -> None:
    worker = start(
        tmp_path,
        """
if os.fork() == 0:
    try: os.setsid()
    except OSError: pass
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        libc.prctl(1, 0, 0, 0, 0)
        while True: time.sleep(0.01)
    os._exit(0)
say("started")
time.sleep(60)
""",
        backend,
    )
    heard(worker, "started")
    mine = worker.processes()
    assert len(mine) >= 2
    worker.kill()
    assert not [process for process in mine if sandbox.alive(process)]


def test_a_bomb_of_processes_does_not_take_the_machine(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "default_bounds", lambda: watch.Bounds(1 << 30, 64))
    allowed = 64 + 20 + (watch.threads_of_this_user() if os.geteuid() else 0)
    worker = start(
        tmp_path,
        """
say("begun")
while True:
    try: os.fork()
    except OSError: time.sleep(0.1)
""",
        backend,
    )
    try:
        for _ in range(10):
            time.sleep(0.1)
            assert len(worker.processes()) <= allowed
    finally:
        worker.kill()


def test_memory_beyond_the_bound_ends_the_worker_and_nothing_else(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "default_bounds", lambda: watch.Bounds(256 << 20, 64))
    worker = start(tmp_path, "held = []\nwhile True: held.append(bytearray(os.urandom(1 << 22)))\n", backend)
    worker.process.wait(timeout=60)
    assert worker.kill() != 0


def test_without_cgroups_a_watchdog_holds_the_bound(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "default_bounds", lambda: watch.Bounds(256 << 20, 64))
    monkeypatch.setattr(watch, "_made", lambda bounds: [])
    body = "held = []\nfor _ in range(400): held.append(bytearray(os.urandom(1 << 20)))\ntime.sleep(60)\n"
    worker = start(tmp_path, body, backend)
    worker.process.wait(timeout=60)
    worker.kill()
    assert worker.over


@pytest.mark.skipif(bool(sandbox.trouble("landlock")), reason="no Landlock")
@pytest.mark.parametrize("hidden", [False, True])
def test_a_worker_that_fills_the_disk_is_ended_and_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hidden: bool
) -> None:
    monkeypatch.setattr(watch, "default_bounds", lambda: watch.Bounds(1 << 30, 64, scratch_bytes=8 << 20))
    if hidden:  # deleted, and held open: seen in the free space alone
        left = iter([10 << 30])
        monkeypatch.setattr(watch, "_free", lambda folder: next(left, watch.LEAST_FREE_BYTES - 1))
    place = "os.environ['HOME'] + '/' + " + ("'small'" if hidden else "'bomb'")
    body = f"open({place}, 'wb').write(bytes({1 if hidden else 32} << 20))\ntime.sleep(60)\n"
    worker = start(tmp_path, body, "landlock")
    worker.process.wait(timeout=30)
    worker.kill()
    assert worker.over


def test_when_the_machine_runs_out_of_memory_the_worker_is_ended_and_blamed_only_if_it_has_it(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "available_memory", lambda: 0)
    worker = start(tmp_path, "time.sleep(60)\n", backend)
    worker.process.wait(timeout=30)
    worker.kill()
    assert not worker.over
    monkeypatch.setattr(watch, "total_memory", lambda: 1 << 20)
    monkeypatch.setattr(watch, "default_bounds", lambda: watch.Bounds(1 << 40, 64))
    worker = start(tmp_path, "held = bytes(1 << 24)\ntime.sleep(60)\n", backend)
    worker.process.wait(timeout=30)
    worker.kill()
    assert worker.over


@pytest.mark.skipif(bool(sandbox.trouble("bubblewrap")), reason="no bubblewrap")
def test_memory_file_systems_are_a_share_of_the_memory(tmp_path: Path) -> None:
    program = "say([os.statvfs(p).f_blocks * os.statvfs(p).f_frsize for p in ('/tmp', '/dev/shm')])"
    worker = start(tmp_path, program, "bubblewrap")
    worker.process.wait(timeout=30)
    worker.kill()
    sizes = json.loads(worker.printed.splitlines()[-1])
    assert all(0 < size <= watch.total_memory() // 16 + 4096 for size in sizes)


@pytest.mark.parametrize(
    ("own", "counted", "expected"),
    [
        ("/", "", ""),
        ("/a.slice/b.scope", "a.slice", "a.slice"),
        ("/a.slice/b.scope", "a.slice/b.scope", "a.slice/b.scope"),
    ],
)
def test_a_unified_cgroup_is_made_where_its_own_groups_limits_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, counted: str, expected: str
) -> None:
    groups, told = tmp_path / "cgroup", tmp_path / "self"
    (groups / "a.slice" / "b.scope").mkdir(parents=True)
    for folder in (groups, groups / "a.slice", groups / "a.slice" / "b.scope"):
        (folder / "cgroup.controllers").write_text("cpu memory pids\n")
        (folder / "cgroup.subtree_control").write_text("cpu\n")
    (groups / counted / "cgroup.subtree_control").write_text("cpu memory pids\n")
    told.write_text(f"0::{own}\n")
    monkeypatch.setattr(watch, "CGROUPS", groups)
    monkeypatch.setattr(watch, "OWN", told)
    with watch.cgroup(watch.Bounds(1 << 30, 64)) as joined:
        assert [one.parent.parent for one in joined] == [groups / expected]
        limits = {
            name: (joined[0].parent / name).read_text() for name in ("memory.max", "memory.oom.group", "pids.max")
        }
    assert limits == {"memory.max": str(1 << 30), "memory.oom.group": "1", "pids.max": "64"}


def test_where_no_group_may_be_counted_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cgroup.controllers").write_text("memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("\n")
    told = tmp_path / "self"
    told.write_text("0::/\n")
    monkeypatch.setattr(watch, "CGROUPS", tmp_path)
    monkeypatch.setattr(watch, "OWN", told)
    with watch.cgroup(watch.Bounds(1 << 30, 64)) as joined:
        assert joined == ()


def test_a_stage_leaves_nothing_for_the_next(inside: Inside) -> None:
    places = ["/tmp/left", "/dev/shm/left", "/var/tmp/left"]
    leave = f"say([tried(lambda p=p: open(p, 'w').write('x')) for p in {places!r} + [os.environ['HOME'] + '/left']])"
    inside(leave)
    look = f"say([os.path.exists(p) for p in {places!r} + [os.environ['HOME'] + '/left']])"
    assert inside(look) == [False] * 4


@pytest.mark.parametrize("verb", ["check", "generate", "quality"])
def test_in_ci_nothing_of_a_submission_is_run_where_nothing_works(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "name", lambda: "none")
    monkeypatch.setenv("CI", "true")
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(MachineError, match="bubblewrap"):
        if verb == "check":
            submissions.check("token-smear", probe=True)
        else:
            generate.app([verb, "flow-tiny/smoke/core"], standalone_mode=False)


def test_official_runs_are_refused_where_nothing_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "name", lambda: "none")
    with pytest.raises(MachineError, match="bubblewrap"):
        sandbox.require()


@pytest.mark.parametrize("what", ["this clone", "the data cache"])
def test_where_workers_could_read_what_the_judge_keeps_strangers_code_is_refused(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container whose clone lies in /usr/src: every worker reads all of /usr."""
    readable, elsewhere = tmp_path / "usr", tmp_path / "home"
    for folder in (readable, elsewhere):
        for part in ("submissions", "model_core"):
            (folder / "src" / part).mkdir(parents=True)
    monkeypatch.setattr(closure, "SYSTEM", (str(readable),))
    monkeypatch.setattr(sandbox, "name", lambda: "bubblewrap")
    monkeypatch.chdir(elsewhere / "src")
    monkeypatch.setenv("XDG_CACHE_HOME", str(elsewhere / "cache"))
    sandbox.require()
    if what == "this clone":
        monkeypatch.chdir(readable / "src")
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", str(readable / "cache"))
    with pytest.raises(MachineError, match=f"{what}, .*lies below {readable}.*\n.*XDG_CACHE_HOME"):
        sandbox.require()
    assert not next(finding for finding in doctor.examine(tmp_path, tmp_path) if finding.subject == "sandbox").ok
